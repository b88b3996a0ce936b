"""A report's table of faces: each with its answers and its measurements, and every photograph without a face."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twfer_dist.core.schema import FACES, PHOTOGRAPHS, PREDICTIONS, READINGS
from twfer_dist.core.status import OK
from twfer_dist.core.taxonomy import ACTION_UNIT_MOVEMENTS, ACTION_UNITS, EXPRESSIONS, MAX_INTENSITY
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.described import SHARE, Described, DescribedTable
from twfer_dist.engine.spreadsheet import flat, group_names
from twfer_dist.reading.reader import NAME as READER
from twfer_dist.study.answers import with_readings
from twfer_dist.study.inputs import ReportInputs, predictions_of
from twfer_dist.study.roads import is_cross_fitted, is_road

ROWS = 1 << 16
"""Rows that are in memory at a time: some 100 MB."""

_SHARED = ["corpus", "path", "figure_id", "label", "groups", "status", "error"]
_FACE = ["face_id", *_SHARED, "action_units", "action_units_half_width_90", "pose"]
_POSE = ("yaw", "pitch", "roll")


def faces_described(inputs: ReportInputs, models: Sequence[str]) -> DescribedTable:
    """One row for each face of `inputs.faces`, and one for each photograph without a face, in the order of corpus and
    path.

    models: those that the page shows, the first first; `status`, `reason` and the probabilities p_... are the first's.
    The reader's answer is in the columns `reader...`, a cross-fitted recogniser's in `paper...`, and any other's in
    `answer...`, its name in `model`. Of several cross-fitted ones the first has the columns. ROWS rows
    are in memory at a time, besides every id and path; each such part reads the inputs once.
    """
    order = _order(inputs.faces)
    groups = sorted({name for output in inputs.faces for name in _group_names(output)})
    parts = (flat(_part(order.slice(start, ROWS), inputs, models), groups) for start in range(0, len(order), ROWS))
    schema = flat(_part(order.slice(0, 0), inputs, models), groups).schema
    note = "Intervals of Action Units hold the true value in 90 % of rendered heads."
    columns = [_described(field) for field in schema]
    return DescribedTable("faces", "Every face, and every photograph without one", note, columns, parts, _PRINTED)


_PRINTED = ("path", "figure_id", "label", "status", "reader", "reader_accepted", "paper", "paper_accepted", "model",
    "answer", "answer_accepted")  # fmt: skip
_MEANINGS = {
    "path": "The photograph, relative to its corpus.",
    "figure_id": "The figure that it shows.",
    "label": "The expression that people gave it.",
    "status": "ok where the answer is accepted, otherwise why not, in a word.",
    "reason": "Why not, in a sentence.",
    "reader": "The reader's answer.",
    "reader_accepted": "Whether it is accepted (1) or not (0).",
    "reader_reason": "The Action Units that decided it.",
    "reader_relative": "The reader's answer relative to the median face of the corpus.",
    "paper": "The answer of recognisers that were cross-fitted on the study's own faces.",
    "paper_accepted": "Whether it is accepted (1) or not (0).",
    "model": "The recogniser that gave the answer.",
    "answer": "The recogniser's answer.",
    "answer_accepted": "Whether it is accepted (1) or not (0).",
    "yaw": "Where the head is turned, to its own left.",
    "pitch": "How far it looks up.",
    "roll": "How far it is tilted.",
    "face_id": "The face's id, in every table of the study; the photograph's where it has no face.",
    "corpus": "The corpus that the photograph belongs to.",
}


def _described(field: pa.Field) -> Described:
    """A column of the table with its words."""
    name = field.name
    unit, _, end = name.partition("_")
    if name.startswith("group "):
        return Described(name, field.type, f"The column '{name.removeprefix('group ')}' of the manifest.")
    if name.startswith("p_"):
        return Described(name, field.type, f"Probability of {name[2:]} by the model that the page shows first.", SHARE)
    if unit in ACTION_UNITS:
        words = ACTION_UNIT_MOVEMENTS[ACTION_UNITS.index(unit)]
        meaning = f"{end.capitalize()} end of the 90 % interval of {unit}." if end else f"{words.capitalize()}."
        return Described(name, field.type, meaning, "0 to 5", 2)
    return Described(name, field.type, _MEANINGS[name], "degrees" if name in _POSE else "", 1)


def _order(faces: Sequence[Artifact]) -> pa.Table:
    """The id of each face, or of a photograph without one, sorted by corpus and path."""
    rows = [pa.table({name: pa.array([], pa.string()) for name in ("id", "corpus", "path")})]
    for output in faces:
        found = output.scan("faces", FACES).to_table(columns=["face_id", "corpus", "path", "photo_id"])
        every = output.scan("photographs", PHOTOGRAPHS).to_table(columns=["photo_id", "corpus", "path"])
        without = every.filter(pc.invert(pc.is_in(every["photo_id"], found["photo_id"].combine_chunks())))
        rows += [found.drop_columns("photo_id").rename_columns(rows[0].column_names)]
        rows += [without.rename_columns(rows[0].column_names)]
    return pa.concat_tables(rows).sort_by([(name, "ascending") for name in ("corpus", "path", "id")])


def _group_names(output: Artifact) -> list[str]:
    batches = output.scan("photographs", PHOTOGRAPHS).to_batches(columns=["groups"])
    return sorted({name for batch in batches for name in group_names(pa.chunked_array([batch["groups"]]))})


def _part(order: pa.Table, inputs: ReportInputs, models: Sequence[str]) -> pa.Table:
    """The rows of these ids, with `label` and `groups` as the faces have them."""
    ids = order["id"].to_pylist()
    rows = [_FACES.empty_table()]
    for output in inputs.faces:
        rows.append(output.table("faces", FACES, columns=_FACE, ids=ids))
        without = output.table("photographs", PHOTOGRAPHS, columns=["photo_id", *_SHARED], ids=ids)
        rows.append(without.rename_columns(["face_id", *_SHARED]))
    faces = _aligned(pa.concat_tables(rows, promote_options="default"), order["id"])
    columns = {name: faces[name] for name in ("path", "figure_id", "label", "status", "error")}
    columns["reason"] = columns.pop("error")
    for k, model in enumerate(models):
        if _name(model) not in columns:
            columns |= _answers(order["id"], inputs, model, columns if k == 0 else None)
    columns |= _measurements(faces)
    return pa.table({**columns, "face_id": faces["face_id"], "corpus": faces["corpus"], "groups": faces["groups"]})


_FACES = pa.schema([FACES.field(name) for name in _FACE])


def _aligned(rows: pa.Table, ids: pa.ChunkedArray) -> pa.Table:
    """The rows with these ids (the first column), null for an id without one."""
    return rows.take(pc.index_in(ids, rows.column(0).combine_chunks()))


def _answers(
    ids: pa.ChunkedArray, inputs: ReportInputs, model: str, shared: dict[str, pa.ChunkedArray] | None
) -> dict[str, pa.ChunkedArray]:
    """The columns of one model's answers. shared: the columns before them, of which the first model's answer replaces
    `status` and `reason`.
    """
    predictions = predictions_of(inputs.predictions, inputs.faces)
    wanted = ids.to_pylist()
    names = ["image_id", "model", "predicted", "probabilities", "status", "error"]
    table = pa.concat_tables(p.table(".", PREDICTIONS, columns=names, ids=wanted) for p in predictions)
    rows = _aligned(table.filter(pc.equal(table["model"], model)), ids)
    name = _name(model)
    answered = pc.is_valid(rows["status"])
    columns = {"model": rows["model"]} if not is_road(model) else {}
    columns[name] = _words(rows["predicted"])
    columns[f"{name}_accepted"] = pc.and_(pc.equal(rows["status"], OK), pc.is_valid(rows["predicted"])).cast(pa.int8())
    if model == READER:
        columns |= _readings(ids, predictions)
    if shared is not None:
        shared["status"] = pc.if_else(answered, rows["status"], shared["status"])
        shared["reason"] = pc.if_else(answered, rows["error"], shared["reason"])
        values = _numbers(rows["probabilities"], len(EXPRESSIONS)).round(4)
        columns |= {f"p_{e}": _column(values[:, k]) for k, e in enumerate(EXPRESSIONS)}
    return columns


def _name(model: str) -> str:
    return "reader" if model == READER else "paper" if is_cross_fitted(model) else "answer"


def _readings(ids: pa.ChunkedArray, predictions: Sequence[Artifact]) -> dict[str, pa.ChunkedArray]:
    tables = [output.table("readings", READINGS, ids=ids.to_pylist()) for output in with_readings(predictions)]
    rows = _aligned(pa.concat_tables([READINGS.empty_table(), *tables]), ids)
    return {"reader_reason": rows["reason"], "reader_relative": _words(rows["relative_predicted"])}


def _measurements(faces: pa.Table) -> dict[str, pa.ChunkedArray]:
    """Each Action Unit, 0 to 5, the ends of its 90 % interval, and the pose in degrees."""
    units = _numbers(faces["action_units"], len(ACTION_UNITS))
    half = _numbers(faces["action_units_half_width_90"], len(ACTION_UNITS))
    low, high = np.maximum(units - half, 0), np.minimum(units + half, MAX_INTENSITY)
    pose = _numbers(faces["pose"], len(_POSE))
    columns = {name: _column(units[:, k].round(3)) for k, name in enumerate(ACTION_UNITS)}
    for k, name in enumerate(ACTION_UNITS):
        columns |= {f"{name}_low": _column(low[:, k].round(3)), f"{name}_high": _column(high[:, k].round(3))}
    return columns | {name: _column(pose[:, k].round(1)) for k, name in enumerate(_POSE)}


def _numbers(lists: pa.ChunkedArray, length: int) -> np.ndarray:
    """Lists of `length` numbers as an array [N, length], NaN where a list is null."""
    values = np.full((len(lists), length), np.nan, np.float32)
    valid = pc.is_valid(lists).to_numpy()
    values[valid] = lists.drop_null().combine_chunks().flatten().to_numpy().reshape(-1, length)
    return values


def _column(values: np.ndarray) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, pa.float32(), from_pandas=True)])


def _words(labels: pa.ChunkedArray) -> pa.ChunkedArray:
    """Labels, 1 to 7, as words."""
    return pa.chunked_array([pa.array(EXPRESSIONS).take(pc.subtract(labels, 1).combine_chunks())])
