"""Pictures for the report: a fixed sample of faces with their predictions, and strips of animated faces.

An id begins with a hash of corpus and path, so the first ids of a sorted table are a random sample that is the same in
every run, and millions of faces cost no more than the few that are shown.
"""

import base64
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from twfer_dist.core import contact_sheet
from twfer_dist.core.images import jpeg_uri, thumbnail
from twfer_dist.core.landmarks import apply_affine
from twfer_dist.core.schema import ANIMATED, FACES, PREDICTIONS
from twfer_dist.core.status import LOW_QUALITY, OK, REJECTED
from twfer_dist.core.taxonomy import ACTION_UNIT_NAMES, ACTION_UNITS, EXPRESSIONS, MAX_INTENSITY
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact

FACE_PIXELS = 144
PRESENT = 0.5  # the intensity from which an Action Unit is named in words
TILE_PIXELS = 72
_GAP = 2
REFUSED = (LOW_QUALITY, REJECTED)
"""The statuses of faces whose picture or points no model is asked about."""


def sample(
    predictions: Sequence[Artifact], faces: Sequence[Artifact], images: pa.Table, model: str, limit: int
) -> list[dict]:
    """The first `limit` of `images` (column image_id) by id that `model` was asked about, as cards by predicted
    expression.

    A card: face_id, corpus, path, figure, groups, truth and predicted (names or None), confidence, probabilities (7),
    status, error, refused, others (the other models' answers), `image` (a JPEG data URI, or None where no face is
    there), points (68 pairs in percent of the image, or none), action_units (of each: name, words, value, low, high,
    there) and action_units_from.
    """
    ids = sorted({image for p in predictions for image in _first_asked(p, images, model, limit)})[:limit]
    rows = [row for p in predictions for row in p.table(".", PREDICTIONS, ids=ids).to_pylist()]
    columns = [
        "face_id",
        "path",
        "image",
        "width",
        "crop_matrix",
        "landmarks68",
        "action_units",
        "action_units_from",
        "action_units_half_width_90",
    ]
    shown = {
        row["face_id"]: row for f in faces for row in f.table("faces", FACES, columns=columns, ids=ids).to_pylist()
    }
    cards = [_card(row, shown.get(row["image_id"], {}), rows) for row in rows if row["model"] == model]
    return sorted(
        cards, key=lambda c: (c["status"] != OK, _order(c["predicted"]), -(c["confidence"] or 0), c["face_id"])
    )


def _first_asked(predictions: Artifact, images: pa.Table, model: str, limit: int) -> list[str]:
    ids = images["image_id"].combine_chunks()
    found: list[str] = []
    for batch in predictions.scan(".", PREDICTIONS).to_batches(columns=["image_id"], filter=pc.field("model") == model):
        found += batch["image_id"].filter(pc.is_in(batch["image_id"], ids)).to_pylist()
        if len(found) >= limit:
            break
    return found[:limit]


def _order(expression: str | None) -> int:
    return EXPRESSIONS.index(expression) if expression else len(EXPRESSIONS)


def _card(row: dict, face: dict, rows: list[dict]) -> dict:
    others = [r for r in rows if r["image_id"] == row["image_id"] and r["model"] != row["model"]]
    return {
        "face_id": row["image_id"],
        "corpus": row["corpus"],
        "path": face.get("path"),
        "figure_id": row["figure_id"],
        "groups": dict(row["groups"] or ()),
        "truth": _name(row["label"]),
        "predicted": _name(row["predicted"]),
        "confidence": row["confidence"],
        "probabilities": row["probabilities"],
        "status": row["status"],
        "error": row["error"],
        "refused": row["status"] in REFUSED,
        "others": [
            {"model": r["model"], "predicted": _name(r["predicted"]), "confidence": r["confidence"]} for r in others
        ],
        "image": jpeg_uri(thumbnail(face["image"], FACE_PIXELS)) if face.get("image") else None,
        "points": _points(face),
        "action_units": _action_units(face),
        "action_units_from": face.get("action_units_from"),
    }


def _points(face: dict) -> list[tuple[float, float]]:
    """The face's points in percent of its crop's side."""
    if not face.get("landmarks68"):
        return []
    matrix = np.array(face["crop_matrix"], np.float32).reshape(2, 3)
    points = apply_affine(np.array(face["landmarks68"], np.float32), matrix) + 0.5
    return [(round(float(x), 1), round(float(y), 1)) for x, y in 100 * points / face["width"]]


def _action_units(face: dict) -> list[dict]:
    """Each Action Unit with its 90 % interval; low and high are None where whoever measured it gave none."""
    values = face.get("action_units") or []
    half_widths = face.get("action_units_half_width_90") or [None] * len(values)
    return [
        {
            "name": name,
            "words": words,
            "value": round(value, 3),
            "low": None if r is None else round(max(0.0, value - r), 3),
            "high": None if r is None else round(min(float(MAX_INTENSITY), value + r), 3),
            "there": value >= PRESENT,
        }
        for name, words, value, r in zip(ACTION_UNITS, ACTION_UNIT_NAMES, values, half_widths, strict=False)
    ]


def sheets(faces: Sequence[Artifact]) -> list[dict]:
    """Of each output of faces: the picture of its first faces and their points (`faces.sheet`), how many it shows, of
    how many.
    """
    found = []
    for finished in faces:
        if any(file.path == contact_sheet.FILE for file in finished.manifest.files):
            rows = finished.manifest.rows["faces"]
            data = base64.b64encode(storage.read_bytes(finished.path(contact_sheet.FILE))).decode()
            found.append(
                {"image": "data:image/jpeg;base64," + data, "shown": min(rows, contact_sheet.FACES), "faces": rows}
            )
    return found


def _name(label: int | None) -> str | None:
    return EXPRESSIONS[label - 1] if label else None


def strips(animated: Sequence[Artifact], faces: Sequence[Artifact], limit: int) -> list[dict]:
    """The first `limit` animated faces by id, each of another figure: face_id, figure, the face itself, and a strip for
    each expression.

    A strip: expression, intensities (weak to strong) and `image`, one JPEG data URI of all its frames side by side.
    """
    first = sorted((face, number) for number, a in enumerate(animated) for face in _first_faces(a, limit))[:limit]
    found = []
    for face, number in first:
        scanned = animated[number].scan(".", ANIMATED)
        rows = scanned.to_table(filter=(pc.field("face_id") == face) & (pc.field("status") == OK)).to_pylist()
        own = [
            r["image"]
            for f in faces
            for r in f.table("faces", FACES, columns=["image"], ids=[face]).to_pylist()
            if r["image"]
        ]
        by_expression = [
            (name, _one_reference([r for r in rows if r["label"] == label]))
            for label, name in enumerate(EXPRESSIONS, 1)
        ]
        found.append(
            {
                "face_id": face,
                "figure_id": rows[0]["figure_id"],
                "corpus": rows[0]["corpus"],
                "image": jpeg_uri(thumbnail(own[0], FACE_PIXELS)) if own else None,
                "strips": [
                    {
                        "expression": name,
                        "intensities": [round(r["intensity"], 3) for r in frames],
                        "image": jpeg_uri(_side_by_side([r["image"] for r in frames])),
                    }
                    for name, frames in by_expression
                    if frames
                ],
            }
        )
    return found


def _one_reference(rows: list[dict]) -> list[dict]:
    """An expression's frames from its first reference, weak to strong."""
    return sorted((r for r in rows if r["reference_id"] == rows[0]["reference_id"]), key=lambda r: r["level"])


def _first_faces(animated: Artifact, limit: int) -> list[str]:
    """The first face id with a picture of each of the first `limit` figures; the table is sorted by face."""
    seen: dict[str, str] = {}
    batches = animated.scan(".", ANIMATED).to_batches(
        columns=["face_id", "figure_id"], filter=pc.field("status") == OK, batch_size=1 << 10
    )
    for batch in batches:
        for face, figure_id in zip(batch["face_id"].to_pylist(), batch["figure_id"].to_pylist(), strict=True):
            seen.setdefault(figure_id, face)
        if len(seen) >= limit:
            break
    return list(seen.values())[:limit]


def _side_by_side(encoded: Sequence[bytes]) -> Image.Image:
    tiles = [thumbnail(e, TILE_PIXELS) for e in encoded]
    strip = Image.new(
        "RGB", (sum(t.width for t in tiles) + _GAP * (len(tiles) - 1), max(t.height for t in tiles)), "#bdb8b0"
    )
    x = 0
    for tile in tiles:
        strip.paste(tile, (x, 0))
        x += tile.width + _GAP
    return strip
