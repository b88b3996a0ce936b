"""The stage that reads expressions from measured faces, on Ray Data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from twfer_dist.core.schema import FACES, PREDICTIONS, READINGS, figures
from twfer_dist.core.status import LOW_CONFIDENCE, OK
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.config import Settings
from twfer_dist.engine.id_ranges import IdTable
from twfer_dist.engine.input_plan import PlannedInput, plan_inputs, with_constants
from twfer_dist.engine.kind import Input, InputFile, Request, StageKind
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.plan import Plan
from twfer_dist.engine.shards import Step
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.workload import Workload, joined
from twfer_dist.reading.reader import NAME, SHIPPED, Reading, open_reader

VERSION = 1
ROWS_PER_SHARD = 2000

LEAST_FIGURES = 20
"""A corpus of fewer measured figures has no relative reading: its median face would be one of a few."""

_COLUMNS = ["figure_id", "corpus", "split", "label", "groups", "action_units", "action_units_half_width_90", "status",
    "error"]  # fmt: skip


@dataclass(frozen=True)
class ReadConfig(Settings):
    """The reader has no settings."""


def read_spec(
    faces: Sequence[Artifact], config: ReadConfig, *, reader: str = SHIPPED, actors: int | None = None
) -> StageSpec:
    """The expressions that every face of `faces` shows, by its measured Action Units and their uncertainties.

    Tables: PREDICTIONS with the model "reader", and READINGS with intensities, reasons, and a second reading relative
    to the median face of its corpus, where that has LEAST_FIGURES measured figures. A face that was not measured keeps
    its status; one below the reader's threshold is "low_confidence". reader: a weights file (`reader.open_reader`).
    """
    opened = open_reader(reader)
    faces = sorted(faces, key=lambda artifact: artifact.digest)

    def do(output: StageOutput) -> None:
        medians = _median_faces(faces)
        output.results |= {
            "threshold": opened.threshold,
            "held_out": opened.held_out,
            "median_faces": {corpus: median.round(3).tolist() for corpus, median in medians.items()},
        }
        steps = [
            Step(partial(fetch, inputs=faces)),
            Step(FaceReader, {"reader": storage.absolute(reader), "medians": medians}, actors=actors),
        ]
        reuse_key_columns = ["image_id", "row_digest", "median", "reader"]
        plan = _plan(faces, medians, opened.sha256)
        output.map(plan, steps, rows_per_shard=ROWS_PER_SHARD, reuse_key_columns=reuse_key_columns)

    models = {"reader": opened.sha256, "torch": torch.__version__}
    named = {f"faces_{number}": artifact for number, artifact in enumerate(faces)}
    return StageSpec("read", VERSION, named, config, models, {".": PREDICTIONS, "readings": READINGS}, do)


def _median_faces(inputs: Sequence[Artifact]) -> dict[str, np.ndarray]:
    """The median units (17,) over the figures of each corpus that has LEAST_FIGURES of them; a figure counts once."""
    columns = ["corpus", "figure_id", "action_units"]
    tables = [a.scan("faces", FACES).to_table(columns=columns, filter=pc.field("status") == OK) for a in inputs]
    rows = pa.concat_tables(tables).drop_null()
    if not len(rows):
        return {}
    units = rows["action_units"].combine_chunks().flatten().to_numpy().reshape(len(rows), -1)
    names, figure = np.unique(np.array(figures(rows).to_pylist()), return_inverse=True)
    of_figures = np.zeros((len(names), units.shape[1]))
    np.add.at(of_figures, figure, units)
    of_figures /= np.bincount(figure)[:, None]
    corpus = np.empty(len(names), object)
    corpus[figure] = rows["corpus"].to_pylist()
    counts = {name: int((corpus == name).sum()) for name in sorted(set(corpus))}
    return {name: np.median(of_figures[corpus == name], 0) for name, n in counts.items() if n >= LEAST_FIGURES}


def _plan(inputs: Sequence[Artifact], medians: Mapping[str, np.ndarray], reader: str) -> Plan:
    """face_id and input (an index) of each face, and what decides its reading."""
    median = storage.sha256(repr(sorted((name, value.tolist()) for name, value in medians.items())).encode())
    planned = [PlannedInput(IdTable(artifact, "faces", FACES), _COLUMNS) for artifact in inputs]
    return plan_inputs(planned, partial(with_constants, values={"median": median, "reader": reader}))


def fetch(plan: pa.Table, *, inputs: Sequence[Artifact]) -> pa.Table:
    """The columns of FACES that a reading needs, sorted by id, for the planned faces."""
    pieces = []
    for index in plan["input"].unique().to_pylist():
        ids = plan.filter(pc.equal(plan["input"], index))["image_id"].to_pylist()
        pieces.append(inputs[index].table("faces", FACES, columns=["face_id", *_COLUMNS], ids=ids))
    return pa.concat_tables(pieces).sort_by("face_id")


class FaceReader:
    """Reads the faces of a shard, each by itself."""

    def __init__(self, reader: str, medians: Mapping[str, np.ndarray]) -> None:
        torch.set_num_threads(1)
        self.reader = open_reader(reader)
        self.medians = medians

    def __call__(self, faces: pa.Table) -> dict[str, pa.Table]:
        rows = [self._row(face) for face in faces.to_pylist()]
        predictions, readings = ([row[k] for row in rows] for k in (0, 1))
        return {
            ".": pa.Table.from_pylist(predictions, schema=PREDICTIONS),
            "readings": pa.Table.from_pylist(readings, schema=READINGS),
        }

    def _row(self, face: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The rows of PREDICTIONS and READINGS."""
        known = {name: face[name] for name in ("figure_id", "corpus", "split", "label", "groups", "status", "error")}
        row = {"image_id": face["face_id"], "model": NAME, **known}
        if face["status"] != OK or face["action_units"] is None:
            empty = dict.fromkeys(("probabilities", "predicted", "confidence"))
            nothing = dict.fromkeys(("intensities", "relative_probabilities", "relative_predicted"))
            return row | empty | _unmeasured(row), {"face_id": face["face_id"], "reason": "", **nothing}
        units, half_width = (_floats(face[f"action_units{suffix}"]) for suffix in ("", "_half_width_90"))
        assert units is not None
        reading, median = self.reader.read(units, half_width), self.medians.get(face["corpus"])
        relative = None if median is None else self.reader.relative(units, half_width, median)
        return row | self._answer(row, reading), {
            "face_id": face["face_id"],
            "intensities": reading.intensities,
            "reason": reading.reason,
            "relative_probabilities": relative.probabilities if relative else None,
            "relative_predicted": int(relative.probabilities.argmax()) + 1 if relative else None,
        }

    def _answer(self, row: Mapping[str, Any], reading: Reading) -> dict[str, Any]:
        confidence = float(reading.probabilities.max())
        answer = {
            "probabilities": reading.probabilities,
            "predicted": int(reading.probabilities.argmax()) + 1,
            "confidence": confidence,
        }
        if confidence < self.reader.threshold:
            why = f"the reader's confidence is below {self.reader.threshold:.2f}"
            return answer | {"status": LOW_CONFIDENCE, "error": why}
        return answer


def _unmeasured(row: Mapping[str, Any]) -> dict[str, str]:
    if row["status"] != OK:
        return {}
    return {"status": LOW_CONFIDENCE, "error": "the face has no Action Units to read"}


def _floats(values: Sequence[float] | None) -> np.ndarray | None:
    return None if values is None else np.array(values, np.float32)


def _build(request: Request) -> StageSpec:
    reader = request.files.get("reader", SHIPPED)
    return read_spec(request.all("faces"), request.config, reader=reader, actors=request.compute.actors)


def _workload(request: Request) -> Workload:
    faces = joined(request.all("faces"))
    return Workload("read", faces.rows, "faces", faces, request.compute.actors)


KIND = StageKind(
    "read",
    makes="an expression, its reasons and a calibrated probability for each measured face, by the included reader",
    config=ReadConfig,
    inputs=(Input("faces", ("faces", "corrected"), several=True),),
    files=(InputFile("reader", "weights of a reader; the included one if left out"),),
    build=_build,
    workload=_workload,
)
