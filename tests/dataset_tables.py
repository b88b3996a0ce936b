"""Faces and animated faces of known content for the tests of data sets."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
from study_tables import output

from twfer_dist.core import schema
from twfer_dist.core.status import OK
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.engine.artifact import Artifact

Row = dict[str, Any]


def grid(figures: int, levels: int, references: int) -> tuple[list[str], np.ndarray, list[list[str]]]:
    """Ids, labels and keys (figure, intensity, reference) of a corpus that was animated at every level to every
    reference.
    """
    cells = list(itertools.product(range(figures), range(1, 8), range(levels), range(references)))
    ids = [f"w{s:02d}-{label}-r{r}-{level}" for s, label, level, r in cells]
    keys = [[f"w{c[0]:02d}" for c in cells], [str(c[2]) for c in cells], [f"r{c[3]}" for c in cells]]
    return ids, np.array([c[1] for c in cells]), keys


def face_rows(corpus: str, count: int, *, units: bool) -> list[Row]:
    """One photograph and face for each of `count` figures, expressions in turn; with Action Units or without."""
    rows = []
    for k in range(count):
        photo = schema.photo_id(corpus, f"{k}.jpg")
        shared: Row = {
            "photo_id": photo,
            "corpus": corpus,
            "path": f"{k}.jpg",
            "figure_id": f"s{k}",
            "groups": [("posture", "general")],
        }
        shared |= {"width": 4, "height": 4, "status": "ok", "action_units": [k / 10] * 17 if units else None}
        split = "test" if k % 3 == 0 else "train"
        rows.append(
            shared
            | {"face_id": f"{photo}-0", "rank": 0, "label": k % 7 + 1, "split": split, "image": f"{photo}".encode()}
        )
    return rows


def faces_of(out: Path, corpus: str, rows: list[Row]) -> Artifact:
    photographs = [{"photo_id": row["photo_id"], "status": OK} for row in rows if row["rank"] == 0]
    tables = {"photographs": (schema.PHOTOGRAPHS, photographs), "faces": (schema.FACES, rows)}
    return output(str(out), "faces", tables, corpus=corpus)


def animated_of(out: Path, corpus: str, faces: list[Row], levels: int = 4) -> Artifact:
    rows = []
    for face, (label, name), reference, level in itertools.product(
        faces, enumerate(EXPRESSIONS, 1), ("r0", "r1"), range(1, levels + 1)
    ):
        image_id = f"{face['face_id']}-{name}-{reference}-{level}"
        target = {"label": label, "level": level, "intensity": level / levels, "reference_id": reference}
        rows.append(face | target | {"image_id": image_id, "image": image_id.encode(), "status": OK})
    rows[0] |= {"status": "no_face", "error": "broken", "image": None}
    return output(str(out), "animate", {".": (schema.ANIMATED, rows)}, corpus=corpus)
