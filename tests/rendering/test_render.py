"""Rendered figures: every headgear and material, framing, and points that follow the Action Units."""

import dataclasses

import numpy as np
import pytest

from twfer_dist.core.crop import SPAN
from twfer_dist.core.taxonomy import ACTION_UNITS
from twfer_dist.rendering import plan, scenes
from twfer_dist.rendering.dress import HEADGEAR, Dress
from twfer_dist.rendering.eyes import EYES
from twfer_dist.rendering.facial_hair import MOUSTACHES
from twfer_dist.rendering.facs import shape_weights
from twfer_dist.rendering.figure import Workshop
from twfer_dist.rendering.material import MATERIALS
from twfer_dist.rendering.plan import ClayConfig
from twfer_dist.rendering.render import draw, project

NO_FOLDS = np.zeros(17, np.float32)


@pytest.mark.parametrize("headgear", HEADGEAR)
def test_every_headgear_and_material_can_be_rendered(workshop: Workshop, headgear: str) -> None:
    means = {}
    for number, material in enumerate(MATERIALS):
        config = ClayConfig(size=48, framing="portrait", materials=(material,))
        dress = Dress(headgear, ("armour", "robe", "bare")[number % 3], MOUSTACHES[number % 4], EYES[number % 3], True)
        figure = workshop.figure(dress, np.random.default_rng(4))
        scene = dataclasses.replace(scenes.scene(config, "a"), ground=((0, 0, 0), (0, 0, 0)), noise=0.0)
        view = plan.view(config, "a", project(figure.vertices, scene)[1][figure.landmarks])
        picture = draw(figure, figure.vertices, NO_FOLDS, scene, view, 48)
        assert picture.shape == (48, 48, 3) and picture.dtype == np.uint8
        assert picture[:2, :2].max() <= 1 and 0.12 < (picture.max(2) > 4).mean() < 0.9
        means[material] = picture[picture.max(2) > 4].mean()
    assert means["marble"] > means["terracotta"] > means["basalt"]


def test_points_follow_the_units_in_a_fixed_frame(workshop: Workshop) -> None:
    config = ClayConfig(size=64)
    figure = workshop.figure(Dress("bald", "bare", "none", "blank", False), np.random.default_rng(5))
    scene = scenes.scene(config, "b")
    neutral = project(figure.vertices, scene)[1][figure.landmarks]
    view = plan.view(config, "b", neutral)

    def points(vertices: np.ndarray) -> np.ndarray:
        return project(vertices[figure.landmarks], scene)[1] @ view[:, :2].T + view[:, 2]

    still = points(figure.vertices)
    assert np.ptp(still, axis=0).max() / 64 == pytest.approx(SPAN, rel=0.12)
    units = np.zeros(17, np.float32)
    units[ACTION_UNITS.index("AU26")] = 5
    dropped = points(workshop.posed(figure, shape_weights(units, workshop.head.expression_names)))
    assert dropped[66, 1] - still[66, 1] > 3 and abs(dropped[62, 1] - still[62, 1]) < 1
    units[:] = 0
    units[ACTION_UNITS.index("AU12")] = 5
    smile = points(workshop.posed(figure, shape_weights(units, workshop.head.expression_names)))
    assert smile[48, 1] < still[48, 1] - 0.5 and smile[54, 1] < still[54, 1] - 0.5
    smiling = workshop.posed(figure, shape_weights(units, workshop.head.expression_names))
    before, after = (draw(figure, v, NO_FOLDS, scene, view, 64).astype(int) for v in (figure.vertices, smiling))
    changed = np.abs(after - before)
    assert changed[36:58].max() > 8 and changed[:16].max() == 0  # only the mouth has moved
