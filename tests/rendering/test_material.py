"""Skin folds of Action Units, and how often each unit is present in the heads to learn from."""

import numpy as np
import pytest

from twfer_dist.core.taxonomy import ACTION_UNITS
from twfer_dist.rendering import plan, scenes
from twfer_dist.rendering.dress import Dress
from twfer_dist.rendering.facs import varied
from twfer_dist.rendering.figure import Workshop
from twfer_dist.rendering.material import wrinkles
from twfer_dist.rendering.plan import ClayConfig
from twfer_dist.rendering.render import draw, project

NO_FOLDS = np.zeros(17, np.float32)

FOLDED = {  # |x| and y of the mean head between which a unit folds the skin: forehead, between the brows, ...
    "AU01": ((0, 3.6), (6.9, 10.8)),
    "AU02": ((2.2, 6.2), (6.9, 10.8)),
    "AU04": ((0.2, 1.4), (4.4, 7.4)),
    "AU06": ((4.5, 7.5), (1.5, 5.3)),
    "AU07": ((1.7, 4.8), (1.8, 3.1)),
    "AU09": ((0, 1.5), (1.8, 4.9)),
    "AU12": ((0.8, 4.2), (-3.8, -0.4)),
    "AU14": ((2.1, 4.3), (-4.6, -2.4)),
    "AU15": ((2.4, 3.9), (-5.8, -3.7)),
    "AU17": ((0, 1.8), (-7.2, -5.0)),
}


@pytest.mark.parametrize("unit", FOLDED)
def test_a_unit_folds_the_skin_where_it_does_in_people(unit: str) -> None:
    x, y = (values.ravel() for values in np.meshgrid(np.arange(0, 8, 0.1), np.arange(-9, 13, 0.1)))
    folds = np.zeros(17, np.float32)
    assert not wrinkles(x, y, folds).any()
    folds[ACTION_UNITS.index(unit)] = 1
    height = np.abs(wrinkles(x, y, folds))
    (left, right), (low, high) = FOLDED[unit]
    within = (left <= x) & (x <= right) & (low <= y) & (y <= high)
    assert height[within].max() > 0.04 and height[~within].max() < 0.01


def test_skin_folds_show_in_the_plans_for_training(workshop: Workshop) -> None:
    units = np.full(17, 5, np.float32)
    learned, shown = ClayConfig(plan="units", materials=("skin",)), ClayConfig(plan="expressions")
    depths = [plan.folds(learned, f"figure-{number}", units).max() for number in range(40)]
    assert depths == [plan.folds(ClayConfig(plan="changes"), f"figure-{number}", units).max() for number in range(40)]
    assert min(depths) == 0 and max(depths) > 0.8 and len(set(depths)) > 20  # the young have none
    assert not any(plan.folds(shown, f"figure-{number}", units).any() for number in range(40))
    figure = workshop.figure(Dress("bald", "bare", "none", "blank", False), np.random.default_rng(5))
    scene = scenes.scene(learned, "b")
    view = plan.view(learned, "b", project(figure.vertices, scene)[1][figure.landmarks])
    smooth, old = (
        draw(figure, figure.vertices, folds, scene, view, 96).astype(int) for folds in (NO_FOLDS, NO_FOLDS + 1)
    )
    assert np.abs(old - smooth).max() > 10


def test_each_unit_is_present_in_20_to_45_percent_of_faces() -> None:
    rng = np.random.default_rng(0)
    present = np.mean([varied(rng)[0] >= 0.5 for _ in range(4000)], axis=0)
    assert (0.20 < present).all() and (present < 0.45).all()
