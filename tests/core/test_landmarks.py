"""The 68 points: the jawline spread evenly, and the mirror image."""

import numpy as np
from tiny_head import mean_points, turned

from twfer_dist.core.landmarks import MIRRORED, interocular_distance, resample_jawline


def test_the_jawline_is_spread_evenly_on_both_sides() -> None:
    crowded = mean_points()
    crowded[1:8] = crowded[0] + (crowded[8] - crowded[0]) * (np.arange(1, 8)[:, None] / 8) ** 0.4
    for points in (crowded, turned(crowded, 40, 3.0, (100, 50))):
        spread = resample_jawline(points)
        for side in (spread[:9], spread[8:17]):
            steps = np.linalg.norm(np.diff(side, axis=0), axis=1)
            assert steps.max() / steps.min() < 1.1
        np.testing.assert_array_equal(spread[[0, 8, *range(16, 68)]], points[[0, 8, *range(16, 68)]])
    np.testing.assert_allclose(resample_jawline(resample_jawline(crowded)), resample_jawline(crowded), atol=0.05)


def test_the_mirror_swaps_left_and_right() -> None:
    twice = np.array(MIRRORED)[list(MIRRORED)]
    assert twice.tolist() == list(range(68))
    np.testing.assert_allclose((mean_points() * (-1, 1))[list(MIRRORED)], mean_points(), atol=0.35)


def test_interocular_distance_scales_with_the_face() -> None:
    points = mean_points()
    assert np.isclose(interocular_distance(turned(points, 30, 2.0, (5, 5))), 2 * interocular_distance(points))
