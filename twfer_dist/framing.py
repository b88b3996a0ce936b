"""Where a face sits in its square crop: one framing for rendered heads, detected faces and aligned data sets.

The box around the 68 points (brow to chin, ear to ear) is centred in the crop, and its longer side spans `SPAN` of
it, which is close to RAF-DB's aligned faces.
"""

import numpy as np

SPAN = 0.8


def crop_matrix(points_box: np.ndarray, size: int) -> np.ndarray:
    """The 2x3 float32 matrix (for `cv2.warpAffine`) that takes an image to its crop of `size` pixels.

    points_box: x, y, width, height in pixels of the box around the face's 68 points.
    """
    x, y, width, height = (float(v) for v in points_box)
    scale = SPAN * size / max(width, height)
    middle = size / 2
    return np.array([[scale, 0, middle - scale * (x + width / 2)], [0, scale, middle - scale * (y + height / 2)]], np.float32)


STILL = (27, 28, 29, 30, 31, 33, 35, 36, 39, 42, 45)
"""The points that expressions hardly move: the nose and the corners of the eyes."""

_STILL_MEAN = np.array(
    [(0, -5.16), (0, -3.90), (0, -2.72), (0, -1.28), (-1.47, 0.55), (0, 0.62), (1.47, 0.55), (-5.04, -4.67), (-2.10, -4.50), (2.10, -4.50),
     (5.04, -4.67)]
) / 15.99  # fmt: skip
"""Where they are on the mean head (ICT-FaceKit's), from the middle of the box of its 68 points, whose longer side is 1."""


def aligned_matrix(points: np.ndarray, size: int) -> np.ndarray:
    """The 2x3 float32 matrix that takes an image to the crop of `size` pixels in which the face is upright.

    points: (68, 2), x and y in pixels. It is the similarity that brings the still points nearest to the mean head's, in the framing
    of `crop_matrix` (Umeyama 1991): a dropped jaw changes nothing, and faces of photographs and of rendered heads sit alike.
    """
    found = points[list(STILL)].astype(np.float64) @ (1, 1j)
    wanted = _STILL_MEAN @ (1, 1j) * SPAN * size + (1 + 1j) * size / 2
    middle = found.mean()
    # In complex numbers the least-squares similarity is a regression on one number.
    turn = np.vdot(found - middle, wanted - wanted.mean()) / max(np.vdot(found - middle, found - middle).real, 1e-12)
    shift = wanted.mean() - turn * middle
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]], np.float32)


def moved(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points (..., 2) after the 2x3 matrix."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def even_jaw(points: np.ndarray) -> np.ndarray:
    """The 68 points (68, 2) with those of the jaw spread evenly along the jaw line on either side of the chin, as iBUG's annotators
    spread them (Sagonas et al. 2013); the head model's crowd at the corners of the jaw.
    """
    spread = points.copy()
    for side in (slice(0, 9), slice(8, 17)):
        line = points[side]
        along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
        places = np.linspace(0, along[-1], len(line))
        spread[side] = np.column_stack([np.interp(places, along, line[:, axis]) for axis in (0, 1)])
    return spread


def quarter_turns(number: int, width: int, height: int) -> np.ndarray:
    """The 2x3 matrix that takes an image of `width` x `height` pixels to `np.rot90(image, number)`: turned against the clock."""
    return np.array(
        [
            [[1, 0, 0], [0, 1, 0]],
            [[0, 1, 0], [-1, 0, width - 1]],
            [[-1, 0, width - 1], [0, -1, height - 1]],
            [[0, -1, height - 1], [1, 0, 0]],
        ][number],
        np.float32,
    )


def after(matrix: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The 2x3 matrix that does what `first` does, and then `matrix`."""
    return np.column_stack([matrix[:, :2] @ first[:, :2], moved(first[:, 2], matrix)])
