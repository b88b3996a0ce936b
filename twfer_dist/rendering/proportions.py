"""Proportions beyond the scanned people's: features made larger or smaller, moved and flattened, as sculptors do.

Each feature is a soft region of the mean head (`template`), so that its movements are scaled with it. Lengths are model
units.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class _Feature:
    centre: tuple[float, float]  # x (of the subject's left, 0 in the middle) and y on the mean head's front
    reach: tuple[float, float]  # standard deviations of the region along x and y
    scale: tuple[float, float, float]  # standard deviation of the logarithm of its scale along x, y and z
    shift: tuple[float, float, float]  # standard deviation of its displacement


_FEATURES = (
    _Feature((3.25, 3.5), (1.9, 1.5), (0.12, 0.16, 0.05), (0.12, 0.12, 0.10)),  # eyes
    _Feature((3.6, 5.9), (2.2, 1.1), (0.06, 0.10, 0.12), (0.10, 0.22, 0.15)),  # brows
    _Feature((0.0, 0.6), (1.7, 2.2), (0.12, 0.08, 0.18), (0.0, 0.15, 0.10)),  # nose
    _Feature((0.0, -3.4), (2.6, 1.5), (0.12, 0.16, 0.15), (0.0, 0.20, 0.12)),  # mouth
    _Feature((0.0, -6.8), (2.6, 1.8), (0.10, 0.12, 0.12), (0.0, 0.25, 0.15)),  # chin
    _Feature((4.6, -0.2), (2.2, 2.4), (0.05, 0.05, 0.12), (0.10, 0.10, 0.20)),  # cheeks
)
_DEPTH = 4.5  # z on the mean head from which a position belongs to the face: ears and the back of the head stay
_WHOLE = 0.06  # standard deviation of the logarithm of the head's scale along x and z
_MIDDLE = np.array([0, 0, 4], np.float32)  # of the head


def restyle(
    vertices: np.ndarray, template: np.ndarray, strength: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A head in other proportions, both sides of the face alike.

    vertices: (N, 3), neutral; template: (N, 3), the same on the mean head. strength: 0 for the scanned people's
    proportions, 1 for a sculptor's. Returns the vertices and the factors on their movements, both float32 (N, 3).
    """
    front = np.clip((template[:, 2] - np.float32(_DEPTH)) / np.float32(2.5), 0, 1)
    whole = (np.exp(strength * rng.normal(0, _WHOLE, 3) * (1, 0, 1)) - 1).astype(np.float32)
    factors = np.ones_like(template) + whole
    moved = vertices + (vertices - _MIDDLE) * whole
    face = np.flatnonzero(front)
    at, still = template[face, :2], vertices[face]
    for feature in _FEATURES:
        scale = (np.exp(strength * rng.normal(0, 1, 3) * feature.scale) - 1).astype(np.float32)
        offset = (strength * rng.normal(0, 1, 3) * feature.shift).astype(np.float32)
        for side in (1, -1) if feature.centre[0] else (1,):
            away = (at - np.array((side * feature.centre[0], feature.centre[1]), np.float32)) / np.array(
                feature.reach, np.float32
            )
            weight = (front[face] * np.exp(-0.5 * (away**2).sum(1)))[:, None]
            centre = (weight * still).sum(0) / weight.sum()
            moved[face] += weight * ((still - centre) * scale + offset * np.array((side, 1, 1), np.float32))
            factors[face] += weight * scale
    return moved, factors
