"""Faces and animated faces of known content for the tests of data sets."""

import dataclasses
import itertools
import numpy as np
import pyarrow as pa
import pytest
from twfer_dist.core import schema
from twfer_dist.core.errors import UserError
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.dataset import splits
from twfer_dist.dataset.balance import select, share_evenly
from twfer_dist.dataset.stage import DatasetConfig, dataset_job
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import run_stage




def grid(figure_ids: int, levels: int, references: int) -> tuple[list[str], np.ndarray, list[list[str]]]:
    """Ids, labels and keys (figure, intensity, reference) of a corpus that was animated at every level to every
    reference.
    """
    cells = list(itertools.product(range(figure_ids), range(1, 8), range(levels), range(references)))
    ids = [f"w{s:02d}-{label}-r{r}-{level}" for s, label, level, r in cells]
    keys = [[f"w{c[0]:02d}" for c in cells], [str(c[2]) for c in cells], [f"r{c[3]}" for c in cells]]
    return ids, np.array([c[1] for c in cells]), keys


def table(expected: pa.Schema, rows: list[dict]) -> pa.Table:
    return pa.Table.from_pylist([{name: row.get(name) for name in expected.names} for row in rows], schema=expected)


def made(out, stage: str, name: str, tables: dict[str, pa.Table]) -> Artifact:
    """The finished output of a stage whose tables are given."""

    def do(work: StageOutput) -> None:
        for key, rows in tables.items():
            work.write_table(key, rows)

    schemas = {key: rows.schema for key, rows in tables.items()}
    return run_stage(StageSpec(stage, 1, {}, {"name": name}, {}, schemas, do), str(out))


def face_rows(corpus: str, count: int, *, units: bool) -> list[dict]:
    """One photograph and face for each of `count` figures, expressions in turn; with Action Units or without."""
    rows = []
    for k in range(count):
        photo = schema.photo_id(corpus, f"{k}.jpg")
        shared: dict = {
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


def faces_of(out, corpus: str, rows: list[dict]) -> Artifact:
    photographs = table(
        schema.PHOTOGRAPHS, [{"photo_id": r["photo_id"], "status": "ok"} for r in rows if r["rank"] == 0]
    )
    return made(out, "faces", corpus, {"photographs": photographs, "faces": table(schema.FACES, rows)})


def animated_of(out, corpus: str, faces: list[dict], levels: int = 4) -> Artifact:
    rows = []
    for face, (label, name), reference, level in itertools.product(
        faces, enumerate(EXPRESSIONS, 1), ("r0", "r1"), range(1, levels + 1)
    ):
        image_id = f"{face['face_id']}-{name}-{reference}-{level}"
        row = {
            "image_id": image_id,
            "label": label,
            "level": level,
            "intensity": level / levels,
            "reference_id": reference,
        }
        rows.append(face | row | {"image": image_id.encode(), "status": "ok"})
    rows[0] |= {"status": "no_face", "error": "broken", "image": None}
    return made(out, "animate", corpus, {".": table(schema.ANIMATED, rows)})
