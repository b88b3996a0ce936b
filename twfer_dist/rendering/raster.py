"""A z-buffer in numpy: which triangle is visible at each pixel, and where in it."""

import numpy as np


def rasterise(points: np.ndarray, triangles: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Visible triangles of a mesh on a square grid of `size` pixels.

    points: float32 (N, 3): x right, y down in pixels (pixel k covers k to k+1), z grows towards the viewer.
    triangles: int32 (M, 3), counter-clockwise as seen from outside with y up; others face away and are not drawn.

    Returns the flat numbers of the covered pixels (int64 (P,), ascending), the triangle at each (int64 (P,)) and the
    weights of its corners (float32 (P, 3)).
    """
    a, b, c = triangles.T
    x, y, z = np.ascontiguousarray(points.T)
    ax, ay = x[a], y[a]
    bx, by, cx, cy = x[b] - ax, y[b] - ay, x[c] - ax, y[c] - ay
    area = bx * cy - cx * by
    facing = np.flatnonzero(area < -1e-9)
    a, b, c, ax, ay, bx, by, cx, cy, area = (values[facing] for values in (a, b, c, ax, ay, bx, by, cx, cy, area))
    drawn, which, column, row = _candidates(ax, ay, bx, by, cx, cy, size)
    # The weights of b and c are affine in the pixel's centre.
    inverse = 1 / area[drawn]
    at_x = column.astype(np.float32) + np.float32(0.5) - ax[drawn][which]
    at_y = row.astype(np.float32) + np.float32(0.5) - ay[drawn][which]
    w1 = (cy[drawn] * inverse)[which] * at_x - (cx[drawn] * inverse)[which] * at_y
    w2 = (bx[drawn] * inverse)[which] * at_y - (by[drawn] * inverse)[which] * at_x
    inside = np.flatnonzero((w1 >= 0) & (w2 >= 0) & (w1 + w2 <= 1))
    which, w1, w2 = drawn[which[inside]], w1[inside], w2[inside]
    pixel = row[inside].astype(np.int64) * size + column[inside]
    za = z[a][which]
    depth = za + w1 * (z[b][which] - za) + w2 * (z[c][which] - za)
    seen, winner = _nearest(pixel, depth, size)
    w1, w2 = w1[winner], w2[winner]
    return seen, facing[which[winner]], np.stack([1 - w1 - w2, w1, w2], 1)


def _candidates(
    ax: np.ndarray, ay: np.ndarray, bx: np.ndarray, by: np.ndarray, cx: np.ndarray, cy: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The triangles whose bounding boxes hold a pixel's centre, and an entry for each pixel of each box: the index into
    these triangles, column and row. b and c are relative to a.
    """
    zero = np.float32(0)
    left = np.maximum(np.ceil(ax + np.minimum(np.minimum(bx, cx), zero) - 0.5), 0).astype(np.int32)
    top = np.maximum(np.ceil(ay + np.minimum(np.minimum(by, cy), zero) - 0.5), 0).astype(np.int32)
    wide = np.minimum(np.floor(ax + np.maximum(np.maximum(bx, cx), zero) - 0.5), size - 1).astype(np.int32) - left + 1
    high = np.minimum(np.floor(ay + np.maximum(np.maximum(by, cy), zero) - 0.5), size - 1).astype(np.int32) - top + 1
    drawn = np.flatnonzero((wide > 0) & (high > 0))
    wide, counts = wide[drawn], wide[drawn] * high[drawn]
    which = np.repeat(np.arange(len(drawn)), counts)
    offset = np.arange(len(which), dtype=np.int32) - np.repeat(np.cumsum(counts) - counts, counts).astype(np.int32)
    across = wide[which]
    down = offset // across
    return drawn, which, left[drawn][which] + offset - down * across, top[drawn][which] + down


def _nearest(pixel: np.ndarray, depth: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The covered pixels, ascending, and the index of the nearest entry at each."""
    nearest = np.full(size * size, -np.inf, np.float32)
    np.maximum.at(nearest, pixel, depth)
    winner = np.full(size * size, -1, np.int64)
    front = np.flatnonzero(depth == nearest[pixel])
    winner[pixel[front]] = front
    seen = np.flatnonzero(winner >= 0)
    return seen, winner[seen]
