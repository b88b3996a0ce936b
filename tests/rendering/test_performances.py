"""Performances of the seven expressions, to learn expressions from."""

import numpy as np
import pytest

from twfer_dist.core.prototypes import prototype
from twfer_dist.core.taxonomy import ACTION_UNITS, EXPRESSIONS, NEUTRAL
from twfer_dist.rendering import plan
from twfer_dist.rendering.performances import VARIANTS, perform
from twfer_dist.rendering.plan import ClayConfig, action_units

CONFIG = ClayConfig(plan="performances", figures=30, scenes=1)


def performed(expression: str, intensity: float, count: int) -> np.ndarray:
    return np.stack([perform(expression, intensity, np.random.default_rng(k))[0] for k in range(count)])


def test_each_scene_shows_each_expression_once() -> None:
    rows = plan.plan(CONFIG).to_pylist()
    assert len(rows) == 30 * len(EXPRESSIONS)
    assert [row["label"] for row in rows[:7]] == list(range(1, 8))
    assert all((row["intensity"] == 0) == (row["label"] == NEUTRAL) for row in rows)


@pytest.mark.parametrize("expression", EXPRESSIONS[:-1])
def test_performances_vary_around_their_prototype(expression: str) -> None:
    units, direction = performed(expression, 1.0, 300), prototype(expression)
    assert np.corrcoef(units.mean(0), direction)[0, 1] > 0.8
    assert len(np.unique(units > 0.5, axis=0)) > 20  # whole and partial, with and without optional units
    assert units.min() >= 0 and units.max() <= 5
    assert performed(expression, 0.3, 300).mean() < 0.5 * units.mean()


def test_variants_name_units_that_are_measured() -> None:
    assert list(VARIANTS) == list(EXPRESSIONS)
    for variants in VARIANTS.values():
        for variant in variants:
            assert set(variant.units) | set(variant.optional) <= set(ACTION_UNITS)


def test_a_resting_face_belongs_to_its_figure() -> None:
    """A figure's units at rest are in all its images, so that its neutral face is seldom quite still."""
    neutral = {row["image_id"]: row for row in plan.plan(CONFIG).to_pylist() if row["label"] == NEUTRAL}
    units = np.stack([action_units(CONFIG, image_id, NEUTRAL, 0.0)[0] for image_id in neutral])
    assert 0.2 < (units > 0.5).any(1).mean() and 0 < (units[:, ACTION_UNITS.index("AU23")] > 0.3).mean() < 0.5
