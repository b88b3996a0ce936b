"""A contact sheet of faces with their points: what detector and network made of a corpus, at a glance."""

import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from PIL import Image, ImageDraw, ImageFont

from twfer_dist.core import images
from twfer_dist.core.landmarks import apply_affine
from twfer_dist.core.status import OK

FILE = "sheet.jpg"
FACES, COLUMNS, TILE = 120, 12, 112
CAPTION = 15  # pixels below each face, for its name

_POINT, _REFUSED, _EMPTY, _INK = (90, 255, 120), (200, 40, 30), (217, 210, 197), (35, 32, 28)  # RGB
_FRAME = 4
_SUBPIXEL_BITS = 3  # of the centres of circles


def sheet(faces: Iterable[pa.Table]) -> bytes | None:
    """The first `FACES` faces (FACES rows) as one JPEG, `COLUMNS` in a row; None without faces.

    Each caption is the face's row number in faces.csv and its photograph's name. A face whose status is not ok has a
    red frame and red points.
    """
    tiles: list[np.ndarray] = []
    for table in faces:
        for row in table.slice(0, FACES - len(tiles)).to_pylist():
            tiles.append(np.vstack([_tile(row), _caption(f"{len(tiles) + 1} {PurePosixPath(row['path']).stem}")]))
        if len(tiles) == FACES:
            break
    if not tiles:
        return None
    columns = min(COLUMNS, len(tiles))
    tiles += [np.full((TILE + CAPTION, TILE, 3), _EMPTY, np.uint8)] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[start : start + columns]) for start in range(0, len(tiles), columns)]
    return images.encode_jpeg(np.vstack(rows), 88)


def _tile(row: Mapping[str, Any]) -> np.ndarray:
    crop = images.decode(row["image"])
    assert crop is not None  # of our own tables
    scale = TILE / len(crop)
    tile = images.resize_square(crop, TILE)
    if row["landmarks68"]:
        matrix = np.array(row["crop_matrix"], np.float32).reshape(2, 3)
        points = (apply_affine(np.array(row["landmarks68"], np.float32), matrix) + 0.5) * scale - 0.5
        one = 1 << _SUBPIXEL_BITS
        colour = _POINT if row["status"] == OK else _REFUSED
        for x, y in np.clip(np.round(points * one), -(1 << 14), 1 << 14).astype(int).tolist():
            cv2.circle(tile, (x, y), one, colour, -1, cv2.LINE_AA, _SUBPIXEL_BITS)
    if row["status"] != OK:
        cv2.rectangle(tile, (0, 0), (TILE - 1, TILE - 1), _REFUSED, _FRAME)
    return tile


def _caption(text: str) -> np.ndarray:
    """`text` in one line, its middle elided where it is too long. The font has only ASCII, so accents are dropped."""
    strip = Image.new("RGB", (TILE, CAPTION), _EMPTY)
    draw, font = ImageDraw.Draw(strip), ImageFont.load_default(10)
    plain = (letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
    text = "".join(letter if " " <= letter <= "~" else "_" for letter in plain)
    left, right = text, ""
    while draw.textlength(left + right, font) > TILE - 4:
        kept = (len(text) if not right else len(left) + len(right) - 1) - 1
        left, right = text[: (kept + 1) // 2], "…" + text[len(text) - kept // 2 :]
    draw.text((2, 1), left + right, _INK, font)
    return np.asarray(strip)
