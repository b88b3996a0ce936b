"""A picture of many faces with their points, to see at a glance what a detector and the network made of a corpus."""

from collections.abc import Iterable

import cv2
import numpy as np
import pyarrow as pa

from twfer_dist.framing import moved
from twfer_dist.schema import OK

FILE = "sheet.jpg"
FACES, COLUMNS, TILE = 120, 12, 112

_POINT, _REFUSED, _EMPTY = (90, 255, 120), (200, 40, 30), (217, 210, 197)  # RGB
_FRAME = 4
_FINER = 3  # binary digits of a circle's place beyond whole pixels


def sheet(faces: Iterable[pa.Table]) -> bytes | None:
    """The first `FACES` faces (FACES rows) as one JPEG, `COLUMNS` in a row; None where there are none.

    A face that is not fit to be read has a red frame.
    """
    tiles: list[np.ndarray] = []
    for table in faces:
        for row in table.slice(0, FACES - len(tiles)).to_pylist():
            tiles.append(_tile(row))
        if len(tiles) == FACES:
            break
    if not tiles:
        return None
    columns = min(COLUMNS, len(tiles))
    tiles += [np.full((TILE, TILE, 3), _EMPTY, np.uint8)] * (-len(tiles) % columns)
    picture = np.vstack([np.hstack(tiles[start : start + columns]) for start in range(0, len(tiles), columns)])
    return cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()


def _tile(row: dict) -> np.ndarray:
    crop = cv2.imdecode(np.frombuffer(row["image"], np.uint8), cv2.IMREAD_COLOR)
    assert crop is not None  # our own picture
    scale = TILE / len(crop)
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    tile = cv2.cvtColor(cv2.resize(crop, (TILE, TILE), interpolation=interpolation), cv2.COLOR_BGR2RGB)
    if row["landmarks68"]:
        matrix = np.array(row["crop_matrix"], np.float32).reshape(2, 3)
        points = (moved(np.array(row["landmarks68"], np.float32), matrix) + 0.5) * scale - 0.5
        for x, y in np.clip(np.round(points * (1 << _FINER)), -(1 << 14), 1 << 14).astype(int).tolist():
            cv2.circle(tile, (x, y), 1 << _FINER, _POINT, -1, cv2.LINE_AA, _FINER)
    if row["status"] != OK:
        cv2.rectangle(tile, (0, 0), (TILE - 1, TILE - 1), _REFUSED, _FRAME)
    return tile
