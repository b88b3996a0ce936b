"""The z-buffer."""

import numpy as np

from twfer_dist.rendering.raster import rasterise


def test_the_nearer_triangle_hides_the_farther_one() -> None:
    far = [(0, 0, 1), (0, 8, 1), (8, 0, 1)]  # counter-clockwise with y up, as y points down here
    near = [(0, 0, 2), (0, 4, 2), (4, 0, 2)]
    points = np.array([*far, *near], np.float32)
    seen, which, weights = rasterise(points, np.array([[0, 1, 2], [3, 4, 5]], np.int32), 8)
    at = dict(zip(seen.tolist(), which.tolist(), strict=True))
    assert at[0] == 1 and at[6] == 0 and 63 not in at
    corners = points[np.array([[0, 1, 2], [3, 4, 5]])[which]]
    centres = np.einsum("pc,pcn->pn", weights, corners)[:, :2]
    np.testing.assert_allclose(centres, np.stack([seen % 8 + 0.5, seen // 8 + 0.5], 1), atol=1e-4)
    assert len(rasterise(points, np.array([[0, 2, 1]], np.int32), 8)[0]) == 0


def test_no_gap_between_neighbouring_triangles() -> None:
    rng = np.random.default_rng(3)
    inner = rng.uniform(3, 29, (1, 2)).astype(np.float32)
    square = np.array([(0, 0), (0, 32), (32, 32), (32, 0)], np.float32)
    points = np.column_stack([np.concatenate([square, inner]), np.zeros(5, np.float32)])
    fan = np.array([[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]], np.int32)
    assert len(rasterise(points, fan, 32)[0]) == 32 * 32
