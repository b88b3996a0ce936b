"""The square crop of a face, cut from the photograph at full resolution."""

import math

import cv2
import numpy as np

QUALITY = 95
"""Of the JPEG that a crop is stored as."""

_REACH = 3  # pixels, of the crop or the picture, that cubic interpolation may look beyond the edge, and one to spare


def cut(picture: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """The crop of `picture` (uint8 RGB) that `matrix` describes: uint8 (size, size, 3).

    matrix: 2x3, upright photograph -> crop, a similarity (`framing`). What is reduced is averaged over areas first, since
    cv2.warpAffine samples single pixels. Beyond the photograph's edge its last pixels are repeated.
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


def whole(picture: np.ndarray, size: int) -> np.ndarray:
    """The matrix of the crop of `size` pixels that shows all of a photograph which is a face crop already (RAF-DB's aligned images).

    Its longer side fills the crop, enlarged or reduced; beside the shorter side, in the middle, the edge is repeated.
    """
    height, width = picture.shape[:2]
    scale = size / max(height, width)
    # The middle of the photograph, in whole-number pixel places, to the middle of the crop.
    shift = [(size - 1) / 2 - scale * (side - 1) / 2 for side in (width, height)]
    return np.array([[scale, 0, shift[0]], [0, scale, shift[1]]], np.float32)


def encode(crop: np.ndarray) -> bytes:
    """The crop (uint8 RGB) as JPEG."""
    return cv2.imencode(".jpg", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
