"""The skin unrolled around the vertical axis, and solids that hold on to it and move with it.

A place on the skin is (across, y): `across` is 10 times the azimuth in radians, which near the mouth is about x, and y
is the height on the mean head. It depends on no mesh's numbering.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates

from twfer_dist.rendering.raster import rasterise

TURN = 10.0  # across = TURN * azimuth
_REACH, _TOP, _CELL = 16.0, 14.0, 0.1  # half of the map's width, its upper edge, and its cells, in model units
_SIZE = int(2 * _REACH / _CELL)
_SMOOTH = 6.0  # cells


@dataclass(frozen=True)
class Attached:
    """A solid that holds on to the skin: K vertices, L triangles (counter-clockwise from outside)."""

    corners: np.ndarray  # int32 (K, 3): the skin's vertices that each follows
    hold: np.ndarray  # float32 (K, 3): their weights, which sum to 1
    offset: np.ndarray  # float32 (K, 3): from the place held, model units
    template: np.ndarray  # float32 (K, 3): across and along the hair, for carving and texture
    faces: np.ndarray  # int32 (L, 3)

    def on(self, skin: np.ndarray) -> np.ndarray:
        """Vertices, float32 (K, 3), on a skin (N, 3)."""
        return self.moved(skin) + self.offset

    def moved(self, field: np.ndarray) -> np.ndarray:
        """A field (N, 3) of the skin, for instance its motion, at the places held: float32 (K, 3)."""
        return np.einsum("kc,kcn->kn", self.hold, field[self.corners])


class Unrolled:
    """The outermost triangle of a head's skin at each place around the axis.

    template: float32 (N, 3), where the vertices lie on the mean head. skin: int32 (M, 3), triangles.
    """

    def __init__(self, template: np.ndarray, skin: np.ndarray) -> None:
        x, y, z = template.T
        around = np.arctan2(x, z)
        triangles = skin[np.abs(around[skin]).max(1) < (_REACH + 1) / TURN]
        flat = np.stack([(around * TURN + _REACH) / _CELL, (_TOP - y) / _CELL, np.hypot(x, z)], 1)
        seen, which, weights = rasterise(flat.astype(np.float32), triangles, _SIZE)
        empty = np.ones(_SIZE * _SIZE, bool)
        empty[seen] = False
        number = np.zeros(_SIZE * _SIZE, np.int64)
        number[seen] = np.arange(len(seen))
        row, column = distance_transform_edt(empty.reshape(_SIZE, _SIZE), return_distances=False, return_indices=True)
        filled = number[(row * _SIZE + column).reshape(-1)]
        self.corners, self.hold = triangles[which][filled], weights[filled]
        self.template = template
        self.radius = np.einsum("pc,pc->p", self.hold, np.hypot(x, z)[self.corners]).reshape(_SIZE, _SIZE)
        self.smooth = gaussian_filter(self.radius, _SMOOTH)

    def places(self, across: np.ndarray, y: np.ndarray, smooth: float = 0.0) -> np.ndarray:
        """Positions (P, 3) on the mean head's skin; `smooth` 1 evens lips and chin out."""
        at = np.stack([(_TOP - y) / _CELL - 0.5, (across + _REACH) / _CELL - 0.5])
        radius = (1 - smooth) * map_coordinates(self.radius, at, order=1, mode="nearest")
        radius += smooth * map_coordinates(self.smooth, at, order=1, mode="nearest")
        return np.stack([radius * np.sin(across / TURN), y, radius * np.cos(across / TURN)], 1)

    def attach(
        self, points: np.ndarray, across: np.ndarray, y: np.ndarray, template: np.ndarray, faces: np.ndarray
    ) -> Attached:
        """The solid of `points` (K, 3), each on the mean head, held at the places (across, y), each (K,)."""
        row = np.clip((_TOP - y) / _CELL, 0, _SIZE - 1).astype(int)
        column = np.clip((across + _REACH) / _CELL, 0, _SIZE - 1).astype(int)
        cell = row * _SIZE + column
        corners, hold = self.corners[cell], self.hold[cell]
        held = np.einsum("kc,kcn->kn", hold, self.template[corners])
        return Attached(
            corners.astype(np.int32),
            hold.astype(np.float32),
            (points - held).astype(np.float32),
            template.astype(np.float32),
            faces.astype(np.int32),
        )


def outward(across: np.ndarray) -> np.ndarray:
    """Unit vectors (P, 3) away from the axis."""
    return np.stack([np.sin(across / TURN), np.zeros_like(across), np.cos(across / TURN)], 1)
