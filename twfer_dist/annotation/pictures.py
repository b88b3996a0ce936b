"""The pictures of the labelling page: a crop of each face, and its photograph in small."""

import base64
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from twfer_dist.core import images
from twfer_dist.core.crop import warp_crop
from twfer_dist.engine.artifact import Artifact
from twfer_dist.faces.decode import DecodeError, decode, on_grey, read
from twfer_dist.faces.finder import ALIGNED, FacesConfig

MOST_PHOTOGRAPHS = 1000
"""Faces on a page that has their photographs too: reading a photograph again takes about a tenth of a second."""

_SIDES = (384, 320, 256, 192)  # of crops
_BUDGET = 27_000_000  # bytes of all crops: a third more in base64
_BYTES_PER_PIXEL = 0.14  # of crops, as measured on photographs of sculpture
_QUALITY = 80
_PHOTOGRAPH_SIDE, _PHOTOGRAPH_QUALITY = 280, 70


def picture_side(faces: int) -> int:
    """The side in pixels of the crops on a page of so many faces."""
    return next((side for side in _SIDES if side * side * _BYTES_PER_PIXEL * faces <= _BUDGET), _SIDES[-1])


class Pictures:
    """Crops as base64 JPEG, and the photographs that they are from, each once.

    Where the photograph can be read, and is the one that the face was found in, the crop is cut from it again at `side`
    pixels; else the stored crop is used.
    """

    def __init__(self, faces: Artifact, roots: Mapping[str, str], side: int, count: int) -> None:
        config = faces.manifest.config if faces.manifest.stage == "faces" else {}
        self._max_pixels = config.get("max_pixels", FacesConfig().max_pixels)
        self._roots = roots if count <= MOST_PHOTOGRAPHS else {}
        self._side = side
        self._last: tuple[str, np.ndarray | None] = ("", None)
        self.photographs: list[str] = []
        self._number: dict[str, int] = {}

    def of(
        self, row: Mapping[str, Any], stored: bytes, size: tuple[int, int]
    ) -> tuple[str, int | None, list[float] | None]:
        """The crop of a face (a row of FACES), the number of its photograph, and the face's box in it as left, top,
        width and height in per cent. size: width and height of the photograph in which the face was found.
        """
        photograph = None if row["detector"] == ALIGNED else self._photograph(row, size)
        if photograph is None:
            crop = images.decode(stored)
            assert crop is not None  # of our own tables
            return _jpeg(images.resize_square(crop, min(self._side, len(crop))), _QUALITY), None, None
        if row["photo_id"] not in self._number:
            self._number[row["photo_id"]] = len(self.photographs)
            self.photographs.append(_jpeg(_reduced(photograph), _PHOTOGRAPH_QUALITY))
        width, height = size
        x, y, w, h = row["box"]
        frame = [round(100 * value, 2) for value in (x / width, y / height, w / width, h / height)]
        stored_side = len(images.decode(stored))  # type: ignore[arg-type]
        matrix, side = _enlarged(np.array(row["crop_matrix"], np.float64).reshape(2, 3), stored_side, self._side)
        return _jpeg(warp_crop(photograph, matrix, side), _QUALITY), self._number[row["photo_id"]], frame

    def _photograph(self, row: Mapping[str, Any], size: tuple[int, int]) -> np.ndarray | None:
        """The photograph of a face, RGB; None where it cannot be read or has changed its size."""
        if row["corpus"] not in self._roots or not row["box"]:
            return None
        if self._last[0] != row["photo_id"]:
            try:
                data = read(self._roots[row["corpus"]], row["path"], self._max_pixels)
                pixels = on_grey(decode(data, self._max_pixels).pixels)
                self._last = row["photo_id"], pixels if pixels.shape[1::-1] == size else None
            except DecodeError:
                self._last = row["photo_id"], None
        return self._last[1]


def _enlarged(matrix: np.ndarray, stored: int, side: int) -> tuple[np.ndarray, int]:
    """The crop's matrix for `side` pixels, or for as many as the photograph has of the face."""
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))  # crop pixels for a pixel of the photograph
    side = max(min(side, round(stored / scale)), min(stored, side))
    ratio = side / stored
    enlarged = matrix * ratio
    enlarged[:, 2] += (ratio - 1) / 2  # a pixel's centre has whole-number coordinates
    return enlarged, side


def _reduced(photograph: np.ndarray) -> np.ndarray:
    ratio = _PHOTOGRAPH_SIDE / max(photograph.shape[:2])
    if ratio >= 1:
        return photograph
    size = [max(1, round(length * ratio)) for length in photograph.shape[1::-1]]
    return cv2.resize(photograph, size, interpolation=cv2.INTER_AREA)


def _jpeg(image: np.ndarray, quality: int) -> str:
    return base64.b64encode(images.encode_jpeg(image, quality)).decode()
