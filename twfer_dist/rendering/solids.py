"""Simple closed surfaces to dress a head: shells and bands that follow the skull, superellipsoids, rings.

A solid is its vertices (float32 (K, 3), model units) and its triangles (int32 (L, 3), counter-clockwise from outside).
"""

import numpy as np
from scipy.spatial import cKDTree

from twfer_dist.rendering.head import Head

Solid = tuple[np.ndarray, np.ndarray]
Line = tuple[float, float, float, float, float]
"""A line around the skull: degrees of elevation at azimuths 0 (front), 50, 82, 112 and 160 (back)."""

_AZIMUTHS = (0, 50, 82, 112, 160)
_CENTRE = np.array([0, 5, 0], np.float32)  # of the skull
_TOP, _BOTTOM = 90, -55  # degrees of elevation that the skull's grid spans


class Skull:
    """How far the skin lies from the skull's centre in each direction of a grid, for shells of hair and cloth."""

    columns, rows = 120, 80

    def __init__(self, head: Head) -> None:
        offset = head.neutral_vertices - _CENTRE
        ears = (np.abs(offset[:, 0]) > 6.6) & (offset[:, 1] < 0) & (offset[:, 2] < 3.6) & (offset[:, 1] > -8)
        self.vertices = np.flatnonzero((head.vertex_part <= 1) & ~ears & (offset[:, 1] > -12))
        around, up = np.meshgrid(
            np.linspace(-np.pi, np.pi, self.columns, endpoint=False), np.radians(np.linspace(_TOP, _BOTTOM, self.rows))
        )
        direction = np.stack([np.cos(up) * np.sin(around), np.sin(up), np.cos(up) * np.cos(around)], -1).reshape(-1, 3)
        unit = offset[self.vertices] / np.linalg.norm(offset[self.vertices], axis=1, keepdims=True)
        distance, self.near = cKDTree(unit).query(direction, 6)
        weight = 1 / (distance + 0.01)
        self.weight = weight / weight.sum(1, keepdims=True)
        self.direction, self.around, self.up = direction, np.abs(np.degrees(around)), np.degrees(up)

    def radius(self, skin: np.ndarray) -> np.ndarray:
        """Distance of the skin from the centre in each direction (rows * columns,). skin: (N, 3) of a figure."""
        return (np.linalg.norm(skin[self.vertices] - _CENTRE, axis=1)[self.near] * self.weight).sum(1)

    def height(self, skin: np.ndarray, x: float, z: float) -> float:
        """y of the top of a figure's skull above the point x, z."""
        points = skin[self.vertices[skin[self.vertices, 1] > _CENTRE[1]]]
        near = np.argsort(np.hypot(points[:, 0] - x, points[:, 2] - z))[:8]
        return float(points[near, 1].mean())

    def band(self, skin: np.ndarray, line: Line, out: float, thick: float) -> Solid:
        """A tube of radius `thick` along a line, `out` above the skin."""
        around = np.linspace(-np.pi, np.pi, self.columns, endpoint=False)
        up = np.interp(np.abs(np.degrees(around)), _AZIMUTHS, line)
        row = (_TOP - up) / (_TOP - _BOTTOM) * (self.rows - 1)
        radius, column = self.radius(skin).reshape(self.rows, self.columns), np.arange(self.columns)
        low = row.astype(int)
        reach = radius[low, column] * (1 - row + low) + radius[low + 1, column] * (row - low) + out
        across = np.linspace(np.pi, -np.pi, 13)[:, None]
        away, rise = (
            reach * np.cos(np.radians(up)) + thick * np.cos(across),
            reach * np.sin(np.radians(up)) + thick * 1.3 * np.sin(across),
        )
        points = np.stack([away * np.sin(around), rise, away * np.cos(around)], -1).reshape(-1, 3) + _CENTRE
        return points.astype(np.float32), _grid(self.columns, 13)

    def shell(self, skin: np.ndarray, line: Line, thickness: float, soft: float, ragged: float = 0) -> Solid:
        """A layer above a line.

        soft: degrees over which the layer grows to its thickness. ragged: degrees by which locks break the line.
        """
        radius = self.radius(skin)
        locks = np.sin(self.around * 0.42) + np.sin(self.around * 0.19 + self.up * 0.25)
        edge = np.interp(self.around, _AZIMUTHS, line) + ragged * locks
        height = np.clip((self.up - edge) / soft + 0.5, 0, 1).reshape(-1)
        height = height * height * (3 - 2 * height)
        points = (
            _CENTRE
            + self.direction
            * (radius + thickness * height * (1 + 0.05 * ragged * locks.reshape(-1)) - 0.8 * (1 - height))[:, None]
        )
        faces = _grid(self.columns, self.rows)
        return points.astype(np.float32), faces[
            (height[faces] > 0).any(1)
        ]  # none under the skin, or they fill the mouth

    def curtain(
        self, skin: np.ndarray, face: tuple[float, float], thick: float, bottom: float, waves: float = 0
    ) -> Solid:
        """What falls from the head beside the face and behind: long hair, a veil.

        face: degrees of azimuth that stay free at the top and at the bottom. thick: out from the skull. bottom: y of
        its lower edge. waves: depth of its folds.
        """
        around = np.linspace(-np.pi, np.pi, self.columns, endpoint=False)
        level = self.radius(skin).reshape(self.rows, self.columns)[
            round((_TOP - 8) / (_TOP - _BOTTOM) * (self.rows - 1))
        ]
        down = np.linspace(0, 1, 36)[:, None]
        free = face[0] + (face[1] - face[0]) * down
        cover = np.clip((np.abs(np.degrees(around)) - free) / 5 + 0.5, 0, 1)
        lock = np.sin(around * 26 + 2.2 * np.sin(5 * down))
        turned_in = 1 - 0.5 * np.clip((down - 0.88) / 0.12, 0, 1) ** 2
        radius = (level + thick * (1 + 0.5 * down)) * (1 + waves * lock * down) * turned_in
        radius = radius * cover + 0.45 * level * (1 - cover)
        y = 6.5 + (bottom - 6.5) * down + 0.6 * np.sin(around * 9) * down
        points = np.stack([radius * np.sin(around), y, radius * np.cos(around)], -1).reshape(-1, 3)
        faces = _grid(self.columns, 36)
        return points.astype(np.float32), faces[(cover.reshape(-1)[faces] > 0).any(1)]


def _grid(across: int, down: int) -> np.ndarray:
    """Triangles (K, 3) of a grid of `across` columns, closed around, by `down` rows."""
    column, row = np.meshgrid(np.arange(across), np.arange(down - 1))
    a, b = row * across + column, row * across + (column + 1) % across
    c, d = a + across, b + across
    return np.concatenate([np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d], -1).reshape(-1, 3)]).astype(
        np.int32
    )


def sheet(across: int, down: int) -> np.ndarray:
    """Triangles (K, 3) of an open grid of `across` columns, left to right as seen from outside, by `down` rows."""
    column, row = np.meshgrid(np.arange(across - 1), np.arange(down - 1))
    a = row * across + column
    b, c, d = a + 1, a + across, a + across + 1
    return np.concatenate([np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d], -1).reshape(-1, 3)]).astype(
        np.int32
    )


def tube(middle: np.ndarray, beside: np.ndarray, out: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A tube of elliptic section, flat on its underside: points (S * 12, 3), the angle of each (S * 12,) from -pi to
    pi, 0 where `beside` points, and triangles.

    middle: (S, 3), its spine. beside: (S, 3), half axes along the ground, spine x out. out: (S, 3), half axes away.
    """
    around = np.linspace(-np.pi, np.pi, 12, endpoint=False)
    cosine, sine = np.cos(around)[None, :, None], np.sin(around)[None, :, None]
    points = middle[:, None] + beside[:, None] * cosine + out[:, None] * np.where(sine > 0, sine, 0.35 * sine)
    return points.reshape(-1, 3), np.tile(around, len(middle)), _grid(12, len(middle))


def blob(
    centre: np.ndarray,
    radii: tuple[float, float, float],
    power: float,
    roll: float = 0,
    steps: tuple[int, int] = (40, 24),
) -> Solid:
    """A superellipsoid: power 1 is an ellipsoid, towards 0 a box. roll: degrees around z."""
    around, up = np.meshgrid(
        np.linspace(-np.pi, np.pi, steps[0], endpoint=False), np.linspace(np.pi / 2, -np.pi / 2, steps[1])
    )

    def bent(value: np.ndarray) -> np.ndarray:
        return np.sign(value) * np.abs(value) ** power

    x, y, z = bent(np.cos(up)) * bent(np.sin(around)), bent(np.sin(up)), bent(np.cos(up)) * bent(np.cos(around))
    points = np.stack([x, y, z], -1).reshape(-1, 3) * np.array(radii)
    turn = np.radians(roll)
    turned = points @ np.array([[np.cos(turn), np.sin(turn), 0], [-np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    return (turned + centre).astype(np.float32), _grid(*steps)


def ring(
    centre: tuple[float, float, float] | np.ndarray,
    radii: tuple[float, float],
    thick: float,
    tilt: float = 0,
    dip: float = 0,
) -> Solid:
    """A torus around y, raised in front by `tilt` degrees, its front pulled down to a point by `dip`."""
    around, across = np.meshgrid(np.linspace(-np.pi, np.pi, 64, endpoint=False), np.linspace(np.pi, -np.pi, 13))
    x = (radii[0] + thick * np.cos(across)) * np.sin(around)
    z = (radii[1] + thick * np.cos(across)) * np.cos(around)
    y = (
        thick * 1.2 * np.sin(across)
        + z * np.sin(np.radians(tilt)) * 0.6
        - dip * np.clip(1 - np.abs(around) / 1.5, 0, 1) ** 1.4
    )
    points = np.stack([x, y, z], -1).reshape(-1, 3) + np.array(centre)
    return points.astype(np.float32), _grid(64, 13)
