"""Photographs that the tests of faces read, and what the worker of the faces stage makes of photographs."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import twfer_dist
from twfer_dist.core import schema
from twfer_dist.core.status import TOO_LARGE, TOO_SMALL, UNREADABLE
from twfer_dist.corpus.corpus import open_corpus
from twfer_dist.faces import detector_models
from twfer_dist.faces.decode import DecodeError, decode, on_grey
from twfer_dist.faces.finder import FaceFinder, FacesConfig
from twfer_dist.measurement.analyzer import SHIPPED

MALFORMED = Path(__file__).parent / "data" / "malformed"
TRIALS = Path(__file__).parent / "data" / "trials"
TW58 = Path(twfer_dist.__file__).parent / "demo" / "tw58"
MANY = 100_000_000  # pixels

with (MALFORMED / "malformed.csv").open(encoding="utf-8") as _file:
    EXPECTED = {row["file"]: row["expected"] for row in csv.DictReader(_file)}
STATUS = {
    "truncated.jpg": UNREADABLE,
    "truncated.png": UNREADABLE,
    "empty.jpg": UNREADABLE,
    "wrong_crc.png": UNREADABLE,
    "text.jpg": UNREADABLE,
    "one_pixel.png": TOO_SMALL,
    "bomb_20000x20000.png": TOO_LARGE,
    "huge_header.jpg": TOO_LARGE,
}
"""The status of each file of MALFORMED that is not ok."""

Row = dict[str, Any]


def seen(data: bytes) -> np.ndarray:
    """The decoded photograph as RGB."""
    return on_grey(decode(data, MANY).pixels)


def malformed(name: str) -> np.ndarray:
    return seen((MALFORMED / name).read_bytes())


def refusal(data: bytes, max_pixels: int = MANY) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        decode(data, max_pixels)
    return caught.value


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    sink = io.BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()


def truth(table: str) -> dict[str, dict[str, str]]:
    """The rows of a table of the shipped corpus tw58 by file name."""
    with (TW58 / table).open(encoding="utf-8") as file:
        return {Path(row["path"]).name: row for row in csv.DictReader(file)}


def true_points(row: Mapping[str, str]) -> np.ndarray:
    """The 68 points of a row of landmarks.csv, where pixel centres have whole-number coordinates."""
    return np.array([(float(row[f"x_{k}"]), float(row[f"y_{k}"])) for k in range(68)]) - 0.5


def find_faces(
    folder: Path, pictures: Mapping[str, np.ndarray], *, units: list[float] | None = None, **settings: Any
) -> tuple[dict[str, Row], dict[str, list[Row]]]:
    """The photographs, and the faces of each, that the stage's worker makes of pictures by file name.

    units: the Action Units that the corpus knows of each.
    """
    folder.mkdir(exist_ok=True)
    for name, picture in pictures.items():
        Image.fromarray(picture).save(folder / name)
    corpus, config = open_corpus(str(folder)), FacesConfig(**settings)
    choice = None if config.aligned else detector_models.choose("centerface")
    finder = FaceFinder({corpus.name: corpus.root}, config, choice, SHIPPED if config.measure else None)
    index = schema.CORPUS.get_field_index("action_units")
    field = schema.CORPUS.field(index)
    tables = finder(corpus.table.set_column(index, field, pa.array([units] * len(corpus.table), field.type)))
    faces: dict[str, list[Row]] = {}
    for row in tables["faces"].to_pylist():
        faces.setdefault(row["path"], []).append(row)
    return {row["path"]: row for row in tables["photographs"].to_pylist()}, faces
