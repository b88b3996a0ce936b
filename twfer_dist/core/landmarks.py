"""The 68 iBUG points: their indices (Sagonas et al. 2013), and how they move with a picture.

Left and right are the subject's. Points are arrays (..., 68, 2) of x and y in pixels.
"""

import numpy as np

JAW, RIGHT_BROW, LEFT_BROW, NOSE = slice(0, 17), slice(17, 22), slice(22, 27), slice(27, 36)
RIGHT_EYE, LEFT_EYE, BOTH_EYES = slice(36, 42), slice(42, 48), slice(36, 48)
MOUTH, OUTER_LIPS = slice(48, 68), slice(48, 60)

CHIN, AROUND_CHIN = 8, slice(6, 11)
JAW_ENDS = 0, 16
OUTER_EYE_CORNERS = 36, 45
INNER_LIPS_MIDDLE = 62, 66  # of the upper and the lower lip

MIRRORED = (*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1), 45, 44, 43, 42,
    47, 46, 39, 38, 37, 36, 41, 40, *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), 67, 66,
    65)  # fmt: skip
"""The point of a mirrored face that each point becomes."""


def interocular_distance(points: np.ndarray) -> float:
    """The distance between the outer corners of the eyes of one face, (68, 2): the unit of landmark errors."""
    right, left = OUTER_EYE_CORNERS
    return float(np.linalg.norm(points[left] - points[right]))


def apply_affine(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points (..., 2) after the 2x3 matrix."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def resample_jawline(points: np.ndarray) -> np.ndarray:
    """The 68 points (68, 2) with those of the jaw spread evenly along the jaw line on either side of the chin, as
    iBUG's annotators spread them; the head model's crowd at the corners of the jaw.
    """
    spread = points.copy()
    for side in (slice(JAW.start, CHIN + 1), slice(CHIN, JAW.stop)):
        line = points[side]
        lengths = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
        even = np.linspace(0, lengths[-1], len(line))
        spread[side] = np.column_stack([np.interp(even, lengths, line[:, axis]) for axis in (0, 1)])
    return spread
