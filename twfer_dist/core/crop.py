"""The square crop of a face, cut from the photograph at full resolution.

One framing serves rendered heads, detected faces and aligned data sets: the box around the 68 points (brow to chin,
ear to ear) is centred in the crop and its longer side spans `SPAN` of it, close to RAF-DB's aligned faces. Matrices
are 2x3 and map pixels of the upright photograph to pixels of the crop; a pixel's centre has whole-number coordinates.
"""

import math

import cv2
import numpy as np

from twfer_dist.core.landmarks import apply_affine

SPAN = 0.8

_MARGIN = 3  # pixels around what is seen: cubic interpolation reaches two beyond the edge

STILL = (27, 28, 29, 30, 31, 33, 35, 36, 39, 42, 45)
"""The points that expressions hardly move: the nose and the corners of the eyes."""

_STILL_MEAN = np.array([(0, -5.16), (0, -3.90), (0, -2.72), (0, -1.28), (-1.47, 0.55), (0, 0.62), (1.47,
    0.55), (-5.04, -4.67), (-2.10, -4.50), (2.10, -4.50), (5.04, -4.67)] ) / 15.99  # fmt: skip
"""Where `STILL` lies on the mean head (ICT-FaceKit's), from the centre of the box of its 68 points, whose longer side
is 1.
"""


def warp_crop(image: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """The crop of `image` (uint8 RGB) that `matrix`, a similarity, describes: uint8 (size, size, 3).

    An image that shrinks is averaged over areas first, since cv2.warpAffine samples single pixels. Beyond the edge of
    the image its last pixels are repeated.
    """
    linear, shift = matrix[:, :2].astype(np.float64), matrix[:, 2].astype(np.float64)
    scale = math.sqrt(abs(np.linalg.det(linear)))
    height, width = image.shape[:2]
    margin = _MARGIN * max(1.0, scale)
    corners = np.array([(x, y) for x in (-margin, size + margin) for y in (-margin, size + margin)])
    seen = (corners - shift) @ np.linalg.inv(linear).T
    left, top = np.floor(seen.min(0)).astype(int)
    right, bottom = np.ceil(seen.max(0)).astype(int)
    x0, y0 = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
    x1, y1 = min(max(right, x0 + 1), width), min(max(bottom, y0 + 1), height)
    image = image[y0:y1, x0:x1]  # cv2.warpAffine takes no side of 32,767 pixels or more, as panoramas have
    shift = linear @ np.array([x0, y0]) + shift
    if scale < 1:
        small = max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale))
        image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
        # Pixel u of the window is at (u + 0.5) * ratio - 0.5 of the reduced one.
        ratio = np.array([small[0] / (x1 - x0), small[1] / (y1 - y0)])
        shift = linear @ (0.5 / ratio - 0.5) + shift
        linear = linear / ratio
    matrix = np.column_stack([linear, shift])
    return cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def full_frame_matrix(image: np.ndarray, size: int) -> np.ndarray:
    """The matrix of the crop that shows all of a photograph which is a face crop already (RAF-DB's aligned images).

    Its longer side fills the crop; the shorter one is centred and its edges are repeated.
    """
    height, width = image.shape[:2]
    scale = size / max(height, width)
    shift = [(size - 1) / 2 - scale * (side - 1) / 2 for side in (width, height)]
    return np.array([[scale, 0, shift[0]], [0, scale, shift[1]]], np.float32)


def crop_matrix(points_box: np.ndarray, size: int) -> np.ndarray:
    """The float32 matrix of the crop of `size` pixels around the box of a face's 68 points: x, y, width, height."""
    x, y, width, height = (float(v) for v in points_box)
    scale = SPAN * size / max(width, height)
    middle = size / 2
    return np.array(
        [[scale, 0, middle - scale * (x + width / 2)], [0, scale, middle - scale * (y + height / 2)]], np.float32
    )


def aligned_matrix(points: np.ndarray, size: int) -> np.ndarray:
    """The float32 matrix of the crop of `size` pixels in which the face is upright. points: (68, 2), x and y in pixels.

    It is the similarity that brings the still points nearest to the mean head's in the framing of `crop_matrix`
    (Umeyama 1991). A dropped jaw does not move the crop, and faces of photographs and of rendered heads are framed
    alike.
    """
    still = points[list(STILL)].astype(np.float64) @ (1, 1j)
    target = _STILL_MEAN @ (1, 1j) * SPAN * size + (1 + 1j) * size / 2
    mean = still.mean()
    # In complex numbers the least-squares similarity is a regression on one number.
    factor = np.vdot(still - mean, target - target.mean()) / max(np.vdot(still - mean, still - mean).real, 1e-12)
    shift = target.mean() - factor * mean
    return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]], np.float32)


def quarter_turns(number: int, width: int, height: int) -> np.ndarray:
    """The matrix that takes an image of `width` x `height` pixels to `np.rot90(image, number)`: counter-clockwise."""
    return np.array(
        [
            [[1, 0, 0], [0, 1, 0]],
            [[0, 1, 0], [-1, 0, width - 1]],
            [[-1, 0, width - 1], [0, -1, height - 1]],
            [[0, -1, height - 1], [1, 0, 0]],
        ][number],
        np.float32,
    )


def compose_affine(matrix: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The matrix that applies `first`, then `matrix`."""
    return np.column_stack([matrix[:, :2] @ first[:, :2], apply_affine(first[:, 2], matrix)])
