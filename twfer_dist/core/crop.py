"""The square crop of a face, cut from the photograph at full resolution."""

import math

import cv2
import numpy as np

from twfer_dist.core.landmarks import apply_affine

_REACH = 3  # pixels, of the crop or the picture, that cubic interpolation may look beyond the edge, and one to spare


def warp_crop(picture: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """The crop of `picture` (uint8 RGB) that `matrix` describes: uint8 (size, size, 3).

    matrix: 2x3, upright photograph -> crop, a similarity (`framing`). What is reduced is averaged over areas first,
    since cv2.warpAffine samples single pixels. Beyond the photograph's edge its last pixels are repeated.
    """
    turn, shift = matrix[:, :2].astype(np.float64), matrix[:, 2].astype(np.float64)
    scale = math.sqrt(abs(np.linalg.det(turn)))
    height, width = picture.shape[:2]
    beyond = _REACH * max(1.0, scale)
    corners = np.array([(x, y) for x in (-beyond, size + beyond) for y in (-beyond, size + beyond)])
    seen = (corners - shift) @ np.linalg.inv(turn).T
    left, top = np.floor(seen.min(0)).astype(int)
    right, bottom = np.ceil(seen.max(0)).astype(int)
    x0, y0 = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
    x1, y1 = min(max(right, x0 + 1), width), min(max(bottom, y0 + 1), height)
    picture = picture[y0:y1, x0:x1]  # of a panorama too: cv2.warpAffine takes no side of 32,767 pixels or more
    shift = turn @ np.array([x0, y0]) + shift
    if scale < 1:
        small = max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale))
        picture = cv2.resize(picture, small, interpolation=cv2.INTER_AREA)
        # A pixel's middle is at its whole number: u of the window is at (u + 0.5) * ratio - 0.5 of the reduced one.
        ratio = np.array([small[0] / (x1 - x0), small[1] / (y1 - y0)])
        shift = turn @ (0.5 / ratio - 0.5) + shift
        turn = turn / ratio
    matrix = np.column_stack([turn, shift])
    return cv2.warpAffine(picture, matrix, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def full_frame_matrix(picture: np.ndarray, size: int) -> np.ndarray:
    """The matrix of the crop of `size` pixels that shows all of a photograph which is a face crop already (RAF-DB's
    aligned images).

    Its longer side fills the crop, enlarged or reduced; beside the shorter side, in the middle, the edge is repeated.
    """
    height, width = picture.shape[:2]
    scale = size / max(height, width)
    # The middle of the photograph, in whole-number pixel places, to the middle of the crop.
    shift = [(size - 1) / 2 - scale * (side - 1) / 2 for side in (width, height)]
    return np.array([[scale, 0, shift[0]], [0, scale, shift[1]]], np.float32)


SPAN = 0.8


def crop_matrix(points_box: np.ndarray, size: int) -> np.ndarray:
    """The 2x3 float32 matrix (for `cv2.warpAffine`) that takes an image to its crop of `size` pixels.

    points_box: x, y, width, height in pixels of the box around the face's 68 points.
    """
    x, y, width, height = (float(v) for v in points_box)
    scale = SPAN * size / max(width, height)
    middle = size / 2
    return np.array(
        [[scale, 0, middle - scale * (x + width / 2)], [0, scale, middle - scale * (y + height / 2)]], np.float32
    )


STILL = (27, 28, 29, 30, 31, 33, 35, 36, 39, 42, 45)
"""The points that expressions hardly move: the nose and the corners of the eyes."""


_STILL_MEAN = np.array([(0, -5.16), (0, -3.90), (0, -2.72), (0, -1.28), (-1.47, 0.55), (0, 0.62), (1.47,
    0.55), (-5.04, -4.67), (-2.10, -4.50), (2.10, -4.50), (5.04, -4.67)] ) / 15.99  # fmt: skip
"""Where they are on the mean head (ICT-FaceKit's), from the middle of the box of its 68 points, whose longer side is
1.
"""


def aligned_matrix(points: np.ndarray, size: int) -> np.ndarray:
    """The 2x3 float32 matrix that takes an image to the crop of `size` pixels in which the face is upright.

    points: (68, 2), x and y in pixels. It is the similarity that brings the still points nearest to the mean head's, in
    the framing of `crop_matrix` (Umeyama 1991): a dropped jaw changes nothing, and faces of photographs and of rendered
    heads sit alike.
    """
    found = points[list(STILL)].astype(np.float64) @ (1, 1j)
    wanted = _STILL_MEAN @ (1, 1j) * SPAN * size + (1 + 1j) * size / 2
    middle = found.mean()
    # In complex numbers the least-squares similarity is a regression on one number.
    turn = np.vdot(found - middle, wanted - wanted.mean()) / max(np.vdot(found - middle, found - middle).real, 1e-12)
    shift = wanted.mean() - turn * middle
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]], np.float32)


def quarter_turns(number: int, width: int, height: int) -> np.ndarray:
    """The 2x3 matrix that takes an image of `width` x `height` pixels to `np.rot90(image, number)`: turned against the
    clock.
    """
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
    """The 2x3 matrix that does what `first` does, and then `matrix`."""
    return np.column_stack([matrix[:, :2] @ first[:, :2], apply_affine(first[:, 2], matrix)])
