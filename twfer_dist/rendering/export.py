"""A rendered table as a corpus folder: photographs, manifest, Action Units, landmarks, and a contact sheet."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from twfer_dist.core import images
from twfer_dist.core.taxonomy import ACTION_UNITS, EXPRESSIONS
from twfer_dist.engine import storage

PHOTOGRAPHS = "photographs"

Row = Mapping[str, Any]


def export_corpus(rendered: pa.Table, folder: str) -> None:
    """Write a table (schema RENDERED) to `folder` (a path or URI) as a corpus that `open_corpus` reads.

    photographs/<image_id>.jpg; manifest.csv with votes and the grouping columns, but no `label`: it follows from the
    votes; rendered.csv with the rendered expression and its intensity; action_units.csv with the true Action Units and
    landmarks.csv with the 68 points in pixels, in OpenFace's columns. Neither is called openface.csv: that name would
    be read as a measurement, and the faces stage would take the truth for what it measured.
    """
    rows = rendered.to_pylist()
    for row in rows:
        storage.write_bytes(storage.join(folder, _path(row)), row["image"])
    groups = sorted({name for row in rows for name, _ in row["groups"]})
    tables = {
        "landmarks.csv": [_landmarks(row) for row in rows],
        "action_units.csv": [_action_units(row) for row in rows],
        "rendered.csv": [_truth(row) for row in rows],
        "manifest.csv": [_manifest(row, groups) for row in rows],
    }
    for name, table in tables.items():
        storage.write_bytes(storage.join(folder, name), _csv(table))


def _manifest(row: Row, groups: Sequence[str]) -> dict[str, str]:
    values = dict(row["groups"])
    return {
        "path": _path(row),
        "figure_id": row["figure_id"],
        "votes": row["votes"],
        **{name: values.get(name, "") for name in groups},
    }


def _truth(row: Row) -> dict[str, str]:
    return {
        "path": _path(row),
        "expression": "" if row["label"] is None else EXPRESSIONS[row["label"] - 1],
        "intensity": "" if row["intensity"] is None else f"{row['intensity']:.2f}",
    }


def _action_units(row: Row) -> dict[str, str]:
    units = zip(ACTION_UNITS, row["action_units"], strict=True)
    return {"path": _path(row), **{f"{name}_r": f"{value:.2f}" for name, value in units}}


def _landmarks(row: Row) -> dict[str, str]:
    return (
        {"path": _path(row)}
        | {f"x_{k}": f"{x:.1f}" for k, x in enumerate(row["landmarks68"][0::2])}
        | {f"y_{k}": f"{y:.1f}" for k, y in enumerate(row["landmarks68"][1::2])}
    )


def _path(row: Row) -> str:
    return f"{PHOTOGRAPHS}/{row['image_id']}.jpg"


def _csv(rows: Sequence[dict[str, str]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def sheet(rendered: pa.Table, *, columns: int = 14, tile: int = 96) -> bytes:
    """A JPEG of all images of a table (schema RENDERED) in the order of their ids: `tile` pixels each, `columns` in a
    row.
    """
    decoded = [np.asarray(images.decode(data)) for data in rendered["image"].to_pylist()]
    small = [np.asarray(cv2.resize(image, (tile, tile), interpolation=cv2.INTER_AREA)) for image in decoded]
    small += [np.full((tile, tile, 3), 255, np.uint8)] * (-len(small) % columns)
    rows = [np.hstack(small[start : start + columns]) for start in range(0, len(small), columns)]
    return images.encode_jpeg(np.vstack(rows), 90)
