"""Action Units of the head model's shapes."""

import numpy as np

from twfer_dist.core.taxonomy import ACTION_UNITS
from twfer_dist.rendering.facs import GAINS, free, possible, shape_weights
from twfer_dist.rendering.head import EXPRESSION_SHAPES


def test_every_unit_moves_shapes_in_proportion() -> None:
    names = np.array(EXPRESSION_SHAPES)
    assert tuple(GAINS) == ACTION_UNITS
    for index in range(len(ACTION_UNITS)):
        units = np.zeros(17, np.float32)
        units[index] = 5
        full = shape_weights(units, names)
        assert full.max() > 0.2
        np.testing.assert_allclose(shape_weights(units * 0.4, names), full * 0.4, rtol=1e-5)


def test_opposed_units_weaken_each_other() -> None:
    for seed in range(200):
        units = free(np.random.default_rng(seed))
        assert units.dtype == np.float32 and units.min() >= 0 and units.max() <= 5
        assert units[ACTION_UNITS.index("AU25")] >= 0.8 * units[ACTION_UNITS.index("AU26")] - 1e-6
    both = np.zeros(17)
    both[[ACTION_UNITS.index("AU05"), ACTION_UNITS.index("AU45")]] = 4, 3
    assert possible(both)[ACTION_UNITS.index("AU45")] == 1
