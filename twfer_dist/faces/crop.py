"""The square crop of a face, cut from the photograph at full resolution."""

import math

import cv2
import numpy as np

QUALITY = 95
"""Of the JPEG that a crop is stored as."""

_REACH = 3  # pixels of the crop that cubic interpolation may look beyond its edge, and one to spare


def cut(picture: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """The crop of `picture` (uint8 RGB) that `matrix` describes: uint8 (size, size, 3).

    matrix: 2x3, upright photograph -> crop, a scale and a shift (`framing.crop_matrix`). What is reduced is averaged over
    areas first, since cv2.warpAffine samples single pixels. Beyond the photograph's edge its last pixels are repeated.
    """
    scale, (right, down) = float(matrix[0, 0]), (float(v) for v in matrix[:, 2])
    if scale < 1:
        height, width = picture.shape[:2]
        left, top = (math.floor((-_REACH - shift) / scale) for shift in (right, down))
        reach = math.ceil((size + 2 * _REACH) / scale)
        x0, y0 = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
        x1, y1 = min(max(left + reach, x0 + 1), width), min(max(top + reach, y0 + 1), height)
        small = max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale))
        picture = cv2.resize(picture[y0:y1, x0:x1], small, interpolation=cv2.INTER_AREA)
        # A pixel's middle is at its whole number: u of the window is at (u + 0.5) * ratio - 0.5 of the reduced one.
        across, along = small[0] / (x1 - x0), small[1] / (y1 - y0)
        matrix = np.array(
            [
                [scale / across, 0, right + scale * (x0 - 0.5 + 0.5 / across)],
                [0, scale / along, down + scale * (y0 - 0.5 + 0.5 / along)],
            ]
        )
    return cv2.warpAffine(picture, matrix, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def whole(picture: np.ndarray, size: int) -> tuple[np.ndarray, int]:
    """The matrix and size of the crop that shows all of a photograph which is a face crop already (RAF-DB's aligned images).

    It keeps its resolution up to `size`; the shorter side of one that is not square is filled up.
    """
    height, width = picture.shape[:2]
    longest = max(height, width)
    out = min(size, longest)
    scale = out / longest
    # The middle of the photograph, in whole-number pixel places, to the middle of the crop.
    shift = [(out - 1) / 2 - scale * (side - 1) / 2 for side in (width, height)]
    return np.array([[scale, 0, shift[0]], [0, scale, shift[1]]], np.float32), out


def encode(crop: np.ndarray) -> bytes:
    """The crop (uint8 RGB) as JPEG."""
    return cv2.imencode(".jpg", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
