"""Pictures for the report: a fixed sample of faces with their predictions, and strips of animated faces.

An id begins with a hash of corpus and path, so the first ids of a sorted table are a random sample that is the same in
every run, and millions of faces cost no more than the few that are shown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from twfer_dist.core import contact_sheet
from twfer_dist.core.images import data_uri, jpeg_uri, thumbnail
from twfer_dist.core.landmarks import apply_affine
from twfer_dist.core.schema import ANIMATED, FACES, PREDICTIONS, READINGS, figures
from twfer_dist.core.status import LOW_QUALITY, OK, REJECTED
from twfer_dist.core.taxonomy import ACTION_UNIT_MOVEMENTS, ACTION_UNITS, EXPRESSIONS, MAX_INTENSITY
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.reading.reader import NAME as READER
from twfer_dist.study.answers import with_readings
from twfer_dist.study.credits import credit_lines

FACE_PIXELS = 144
LARGE_PIXELS = 320
TILE_PIXELS = 72
PRESENT = 0.5
"""The intensity from which an Action Unit is named in words."""

REFUSED = (LOW_QUALITY, REJECTED)
"""The statuses of faces that are not given to a model, for their picture or their landmarks."""

_GAP = 2
_FACE_COLUMNS = ["face_id", "path", "image", "width", "crop_matrix", "landmarks68", "action_units",
    "action_units_from", "action_units_half_width_90"]  # fmt: skip


@dataclass(frozen=True)
class Unit:
    """The intensity of an Action Unit, 0 to 5, with its 90 % interval; low and high are None where there is none."""

    name: str
    words: str
    value: float
    low: float | None
    high: float | None
    present: bool  # at least PRESENT


@dataclass(frozen=True)
class Card:
    """A face as the page shows it, with the prediction of one model."""

    face_id: str
    corpus: str
    path: str | None
    figure_id: str
    groups: dict[str, str]
    truth: str | None
    predicted: str | None
    confidence: float | None
    probabilities: list[float] | None  # (7,)
    status: str
    error: str | None
    refused: bool
    others: list[dict[str, Any]]  # the other models' answers: model, predicted, confidence, accepted
    reason: str  # the Action Units that decided the reader's answer; empty where it is not the reader's
    relative: str | None  # the reader's answer relative to the corpus's median face
    credit: str  # whose photograph it is, where its licence demands to say so
    image: str | None  # a JPEG as a data URI; None where there is no face
    points: list[tuple[float, float]]  # 68 landmarks in percent of the image, or none
    action_units: list[Unit]
    action_units_from: str | None


@dataclass(frozen=True)
class Sheet:
    """The contact sheet of one output of faces."""

    image: str  # a JPEG as a data URI
    shown: int
    faces: int


@dataclass(frozen=True)
class Strip:
    """All frames of a face that is animated towards one expression, weak to strong, side by side."""

    expression: str
    intensities: list[float]
    image: str  # a JPEG as a data URI


@dataclass(frozen=True)
class AnimatedFace:
    figure_id: str
    image: str | None  # the face itself, a JPEG as a data URI
    strips: list[Strip]


# Faces


def sample_cards(
    predictions: Sequence[Artifact], faces: Sequence[Artifact], images: pa.Table, model: str | None, limit: int
) -> list[Card]:
    """The first `limit` of `images` (column image_id) by id for which `model` has a row, sorted by predicted
    expression.
    """
    ids = sorted({image for p in predictions for image in _first_ids(p, images, model, limit)})[:limit]
    cards = cards_of([(face_id, model) for face_id in ids], predictions, faces, FACE_PIXELS)
    return sorted(cards, key=lambda c: (c.status != OK, _order(c.predicted), -(c.confidence or 0), c.face_id))


def cards_of(
    chosen: Sequence[tuple[str, str | None]], predictions: Sequence[Artifact], faces: Sequence[Artifact], pixels: int
) -> list[Card]:
    """The cards of these pairs of a face's id and a model, with pictures of at most `pixels`; none where the model has
    no row.
    """
    ids = [face_id for face_id, _ in chosen]
    rows = [row for p in predictions for row in p.table(".", PREDICTIONS, ids=ids).to_pylist()]
    tables = [output.table("faces", FACES, columns=_FACE_COLUMNS, ids=ids) for output in faces]
    tables += [output.table("readings", READINGS, ids=ids) for output in with_readings(predictions)]
    by_id: dict[str, dict[str, Any]] = {face_id: {} for face_id in ids}
    for row in (row for table in tables for row in table.to_pylist()):
        by_id[row["face_id"]] |= row
    for face_id, line in credit_lines(ids, faces).items():
        by_id[face_id]["credit"] = line
    of_model = {(row["image_id"], row["model"]): row for row in rows}
    found = [of_model[pair] for pair in chosen if pair in of_model]
    return [_card(row, by_id[row["image_id"]], rows, pixels) for row in found]


def _first_ids(predictions: Artifact, images: pa.Table, model: str | None, limit: int) -> list[str]:
    wanted = images["image_id"].combine_chunks()
    ids: list[str] = []
    for batch in predictions.scan(".", PREDICTIONS).to_batches(columns=["image_id"], filter=pc.field("model") == model):
        ids += batch["image_id"].filter(pc.is_in(batch["image_id"], wanted)).to_pylist()
        if len(ids) >= limit:
            break
    return ids[:limit]


def _order(expression: str | None) -> int:
    return EXPRESSIONS.index(expression) if expression else len(EXPRESSIONS)


def _card(row: Mapping[str, Any], face: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], pixels: int) -> Card:
    """face: what the tables of faces and of readings hold about it."""
    reads = row["model"] == READER
    others = [r for r in rows if r["image_id"] == row["image_id"] and r["model"] != row["model"]]
    return Card(
        face_id=row["image_id"],
        corpus=row["corpus"],
        path=face.get("path"),
        figure_id=row["figure_id"],
        groups=dict(row["groups"] or ()),
        truth=_expression(row["label"]),
        predicted=_expression(row["predicted"]),
        confidence=row["confidence"],
        probabilities=row["probabilities"],
        status=row["status"],
        error=row["error"],
        refused=row["status"] in REFUSED,
        others=[
            {
                "model": r["model"],
                "predicted": _expression(r["predicted"]),
                "confidence": r["confidence"],
                "accepted": r["status"] == OK,
            }
            for r in others
        ],
        reason=(face.get("reason") or "") if reads else "",
        relative=_expression(face.get("relative_predicted")) if reads else None,
        credit=face.get("credit", ""),
        image=jpeg_uri(thumbnail(face["image"], pixels)) if face.get("image") else None,
        points=_points(face),
        action_units=_units(face),
        action_units_from=face.get("action_units_from"),
    )


def _expression(label: int | None) -> str | None:
    return EXPRESSIONS[label - 1] if label else None


def _points(face: Mapping[str, Any]) -> list[tuple[float, float]]:
    """The face's landmarks in percent of its crop's side."""
    if not face.get("landmarks68"):
        return []
    matrix = np.array(face["crop_matrix"], np.float32).reshape(2, 3)
    points = apply_affine(np.array(face["landmarks68"], np.float32), matrix) + 0.5
    return [(round(float(x), 1), round(float(y), 1)) for x, y in 100 * points / face["width"]]


def _units(face: Mapping[str, Any]) -> list[Unit]:
    values = face.get("action_units") or []
    half_widths = face.get("action_units_half_width_90") or [None] * len(values)
    return [
        Unit(
            name=name,
            words=words,
            value=round(value, 3),
            low=None if half is None else round(max(0.0, value - half), 3),
            high=None if half is None else round(min(float(MAX_INTENSITY), value + half), 3),
            present=value >= PRESENT,
        )
        for name, words, value, half in zip(ACTION_UNITS, ACTION_UNIT_MOVEMENTS, values, half_widths, strict=False)
    ]


def contact_sheets(faces: Sequence[Artifact]) -> list[Sheet]:
    """The contact sheet of each output of faces that has one."""
    sheets = []
    for output in faces:
        if any(file.path == contact_sheet.FILE for file in output.manifest.files):
            count = output.manifest.rows["faces"]
            image = data_uri(storage.read_bytes(output.path(contact_sheet.FILE)))
            sheets.append(Sheet(image, min(count, contact_sheet.FACES), count))
    return sheets


# Animated faces


def animated_strips(animated: Sequence[Artifact], faces: Sequence[Artifact], limit: int) -> list[AnimatedFace]:
    """The first `limit` animated faces by id, each of another figure."""
    first = sorted((face, number) for number, output in enumerate(animated) for face in _first_faces(output, limit))
    return [_animated_face(face, animated[number], faces) for face, number in first[:limit]]


def _animated_face(face_id: str, animated: Artifact, faces: Sequence[Artifact]) -> AnimatedFace:
    wanted = (pc.field("face_id") == face_id) & (pc.field("status") == OK)
    rows = animated.scan(".", ANIMATED).to_table(filter=wanted).to_pylist()
    tables = [output.table("faces", FACES, columns=["image"], ids=[face_id]) for output in faces]
    own = [row["image"] for table in tables for row in table.to_pylist() if row["image"]]
    strips = []
    for label, expression in enumerate(EXPRESSIONS, 1):
        if frames := _one_reference([row for row in rows if row["label"] == label]):
            image = jpeg_uri(_side_by_side([frame["image"] for frame in frames]))
            strips.append(Strip(expression, [round(frame["intensity"], 3) for frame in frames], image))
    return AnimatedFace(rows[0]["figure_id"], jpeg_uri(thumbnail(own[0], FACE_PIXELS)) if own else None, strips)


def _one_reference(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """An expression's frames from its first reference, weak to strong."""
    return sorted((r for r in rows if r["reference_id"] == rows[0]["reference_id"]), key=lambda r: r["level"])


def _first_faces(animated: Artifact, limit: int) -> list[str]:
    """The first face id with a picture of each of the first `limit` figures; the table is sorted by face."""
    first: dict[str, str] = {}
    batches = animated.scan(".", ANIMATED).to_batches(
        columns=["face_id", "corpus", "figure_id"], filter=pc.field("status") == OK, batch_size=1 << 10
    )
    for batch in batches:
        for face, figure in zip(batch["face_id"].to_pylist(), figures(batch).to_pylist(), strict=True):
            first.setdefault(figure, face)
        if len(first) >= limit:
            break
    return list(first.values())[:limit]


def _side_by_side(encoded: Sequence[bytes]) -> Image.Image:
    tiles = [thumbnail(e, TILE_PIXELS) for e in encoded]
    width = sum(t.width for t in tiles) + _GAP * (len(tiles) - 1)
    strip = Image.new("RGB", (width, max(t.height for t in tiles)), "#bdb8b0")
    x = 0
    for tile in tiles:
        strip.paste(tile, (x, 0))
        x += tile.width + _GAP
    return strip
