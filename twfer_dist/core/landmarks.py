"""Where a face sits in its square crop: one framing for rendered heads, detected faces and aligned data sets.

The box around the 68 points (brow to chin, ear to ear) is centred in the crop, and its longer side spans `SPAN` of
it, which is close to RAF-DB's aligned faces.
"""

import numpy as np


def apply_affine(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points (..., 2) after the 2x3 matrix."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def resample_jawline(points: np.ndarray) -> np.ndarray:
    """The 68 points (68, 2) with those of the jaw spread evenly along the jaw line on either side of the chin, as
    iBUG's annotators spread them (Sagonas et al. 2013); the head model's crowd at the corners of the jaw.
    """
    spread = points.copy()
    for side in (slice(0, 9), slice(8, 17)):
        line = points[side]
        along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
        places = np.linspace(0, along[-1], len(line))
        spread[side] = np.column_stack([np.interp(places, along, line[:, axis]) for axis in (0, 1)])
    return spread
