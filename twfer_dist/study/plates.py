"""Plates: for each Action Unit the faces that show it most and least, to be judged by eye."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc

from twfer_dist.core.images import jpeg_uri, thumbnail
from twfer_dist.core.schema import FACES
from twfer_dist.core.taxonomy import ACTION_UNIT_MOVEMENTS, ACTION_UNITS, MAX_INTENSITY
from twfer_dist.engine.artifact import Artifact
from twfer_dist.study.measured import MeasuredFaces

PICTURES = 6
"""Faces at each end of a plate."""

OPEN = 4
"""Plates that the page shows unfolded."""

PIXELS = 96
"""Of a picture's side: 204 of them are less than a megabyte."""


@dataclass(frozen=True)
class PlateFace:
    """A face on a plate, and the unit's value with the ends of its 90 % interval (None where there is none)."""

    face_id: str
    corpus: str
    path: str
    value: float
    low: float | None
    high: float | None
    image: str | None  # a JPEG as a data URI


@dataclass(frozen=True)
class Plate:
    """The faces that show a unit most and least, the extreme ones first; each of another figure."""

    unit: str
    name: str
    strongest: list[PlateFace]
    weakest: list[PlateFace]

    def as_json(self) -> dict[str, Any]:
        """The plate without its pictures."""
        sides = {"strongest": self.strongest, "weakest": self.weakest}
        values = {
            name: [{k: v for k, v in vars(f).items() if k != "image"} for f in side] for name, side in sides.items()
        }
        return {"unit": self.unit, "name": self.name, **values}


def plates(faces: MeasuredFaces, outputs: Sequence[Artifact]) -> list[Plate]:
    """A plate for each unit; none without a measured face. outputs: those that `faces` were read from.

    The strongest faces have the highest low ends of their intervals and the weakest the lowest high ends, so that a
    doubtful measurement is on neither side; where these ends are equal, the values decide. No figure is on both sides.
    """
    chosen = [extremes(faces, unit) for unit in range(len(ACTION_UNITS))] if faces.figures else []
    pictures = _pictures(faces, outputs, {row for sides in chosen for side in sides for row in side})
    return [
        Plate(
            unit=ACTION_UNITS[k],
            name=ACTION_UNIT_MOVEMENTS[k],
            strongest=[_face(faces, row, k, pictures) for row in strongest],
            weakest=[_face(faces, row, k, pictures) for row in weakest],
        )
        for k, (strongest, weakest) in enumerate(chosen)
    ]


def extremes(faces: MeasuredFaces, unit: int) -> tuple[list[int], list[int]]:
    """The rows of the strongest and of the weakest faces of a unit."""
    value, half = faces.values[:, unit], faces.half_widths[:, unit]
    downwards = np.lexsort((-value, -np.maximum(value - half, 0)))
    upwards = np.lexsort((value, np.minimum(value + half, MAX_INTENSITY)))
    strongest = _first_of_figures(downwards, faces, min(PICTURES, -(-faces.figures // 2)))
    return strongest, _first_of_figures(upwards, faces, PICTURES, without=faces.figure[strongest].tolist())


def _first_of_figures(order: np.ndarray, faces: MeasuredFaces, limit: int, without: Iterable[int] = ()) -> list[int]:
    """The first rows in an order, each of another figure."""
    seen = set(without)
    rows: list[int] = []
    for row in order.tolist():
        figure = int(faces.figure[row])
        if figure not in seen:
            seen.add(figure)
            rows.append(row)
        if len(rows) == limit or len(seen) == faces.figures:
            break
    return rows


def _pictures(faces: MeasuredFaces, outputs: Sequence[Artifact], rows: set[int]) -> dict[int, Mapping[str, Any]]:
    """corpus, path and image of the faces in some rows. Faces are read one by one: their ids lie far apart, and a
    range of ids would read every picture between them.
    """
    found: dict[int, Mapping[str, Any]] = {}
    scans = [output.scan("faces", FACES) for output in outputs]
    for row in sorted(rows):
        wanted = pc.field("face_id") == faces.face_ids[row].as_py()
        table = scans[faces.output[row]].to_table(columns=["corpus", "path", "image"], filter=wanted)
        found[row] = table.slice(0, 1).to_pylist()[0]
    return found


def _face(faces: MeasuredFaces, row: int, unit: int, pictures: Mapping[int, Mapping[str, Any]]) -> PlateFace:
    value, half = float(faces.values[row, unit]), float(faces.half_widths[row, unit])
    picture = pictures[row]
    return PlateFace(
        face_id=faces.face_ids[row].as_py(),
        corpus=picture["corpus"],
        path=picture["path"] or "",
        value=round(value, 3),
        low=round(max(0.0, value - half), 3) if half else None,
        high=round(min(MAX_INTENSITY, value + half), 3) if half else None,
        image=jpeg_uri(thumbnail(picture["image"], PIXELS)) if picture["image"] else None,
    )
