"""A picture of many faces with their points, to see at a glance what a detector and the network made of a corpus."""

import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath

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
_FINER = 3  # binary digits of a circle's place beyond whole pixels


def sheet(faces: Iterable[pa.Table]) -> bytes | None:
    """The first `FACES` faces (FACES rows) as one JPEG, `COLUMNS` in a row; None where there are none.

    Below each stand its number among the rows of faces.csv and the name of its photograph. A face that is not fit to be
    read has a red frame and red points.
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
    picture = np.vstack([np.hstack(tiles[start : start + columns]) for start in range(0, len(tiles), columns)])
    return images.encode_jpeg(picture, 88)


def _tile(row: dict) -> np.ndarray:
    crop = images.decode(row["image"])
    assert crop is not None  # our own picture
    scale = TILE / len(crop)
    tile = images.resize_square(crop, TILE)
    if row["landmarks68"]:
        matrix = np.array(row["crop_matrix"], np.float32).reshape(2, 3)
        points = (apply_affine(np.array(row["landmarks68"], np.float32), matrix) + 0.5) * scale - 0.5
        for x, y in np.clip(np.round(points * (1 << _FINER)), -(1 << 14), 1 << 14).astype(int).tolist():
            cv2.circle(tile, (x, y), 1 << _FINER, _POINT if row["status"] == OK else _REFUSED, -1, cv2.LINE_AA, _FINER)
    if row["status"] != OK:
        cv2.rectangle(tile, (0, 0), (TILE - 1, TILE - 1), _REFUSED, _FRAME)
    return tile


def _caption(text: str) -> np.ndarray:
    """A strip with `text` in one line, its middle left out where it is too long. The font knows ASCII alone."""
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
