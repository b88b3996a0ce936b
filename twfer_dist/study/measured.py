"""The Action Units of all accepted faces of a study, and their averages over figures."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twfer_dist.core.schema import FACES
from twfer_dist.core.status import OK
from twfer_dist.core.taxonomy import ACTION_UNITS
from twfer_dist.engine.artifact import Artifact
from twfer_dist.study.metrics import figure_codes

_BATCH = 1 << 16
_UNITS = len(ACTION_UNITS)
_HALF = "action_units_half_width_90"
_COLUMNS = ["face_id", "corpus", "figure_id", "groups", "action_units", _HALF, "action_units_from"]


@dataclass(frozen=True)
class MeasuredFaces:
    """The faces with status "ok" and Action Units, in the order of the outputs and of their ids.

    About 150 bytes a face and the text of its grouping columns.
    """

    face_ids: pa.ChunkedArray
    output: np.ndarray  # (faces,) int64: which of the outputs holds the face
    figure: np.ndarray  # (faces,) int64: a number from 0 for its figure
    values: np.ndarray  # (faces, 17) float32: intensities, 0 to 5
    half_widths: np.ndarray  # (faces, 17) float32: of the 90 % intervals; 0 where units come from elsewhere
    sources: frozenset[str]  # where the Action Units come from, see FACES
    columns: dict[str, pa.ChunkedArray]  # the grouping columns: strings, null where a face has no value

    @property
    def figures(self) -> int:
        """How many figures the faces show."""
        return int(self.figure.max()) + 1 if len(self.figure) else 0


@dataclass(frozen=True)
class Samples:
    """Figures, each the average of its faces. A figure with faces in several groups is a sample in each of them."""

    group: np.ndarray  # (samples,) int64, ascending
    faces: np.ndarray  # (samples,) int64
    values: np.ndarray  # (samples, 17) float64
    half_widths: np.ndarray  # (samples, 17) float64: averages, because the errors on one figure are much the same


def read_measured(faces: Sequence[Artifact]) -> MeasuredFaces:
    """The measured faces of all outputs. The columns are those of the manifests, and "corpus" if there are several."""
    pieces: list[pa.Table] = []
    values, half_widths, output = [], [], []
    known: set[str] = set()
    for number, artifact in enumerate(faces):
        accepted = (pc.field("status") == OK) & pc.is_valid(pc.field("action_units"))
        scanned = artifact.scan("faces", FACES)
        for batch in scanned.to_batches(columns=_COLUMNS, filter=accepted, batch_size=_BATCH):
            known |= set(pc.unique(batch["groups"].keys).to_pylist())
            kept = {name: batch[name] for name in ("face_id", "corpus", "figure_id", "action_units_from")}
            pieces.append(pa.table(kept | {f"group:{name}": _lookup(batch["groups"], name) for name in sorted(known)}))
            values.append(_matrix(batch["action_units"]))
            half_widths.append(_matrix(batch[_HALF]))
            output.append(np.full(len(batch), number))
    empty = pa.schema([FACES.field(name) for name in ("face_id", "corpus", "figure_id", "action_units_from")])
    table = pa.concat_tables([empty.empty_table(), *pieces], promote_options="default")
    columns = {name: table[f"group:{name}"] for name in sorted(known)}
    if pc.count_distinct(table["corpus"]).as_py() > 1:
        columns = {"corpus": table["corpus"], **columns}
    return MeasuredFaces(
        face_ids=table["face_id"],
        output=np.concatenate([np.zeros(0, np.int64), *output]),
        figure=figure_codes(table)[0],
        values=np.concatenate([np.zeros((0, _UNITS), np.float32), *values]),
        half_widths=np.concatenate([np.zeros((0, _UNITS), np.float32), *half_widths]),
        sources=frozenset(pc.unique(table["action_units_from"]).to_pylist()),
        columns=columns,
    )


def _lookup(groups: pa.MapArray, name: str) -> pa.Array:
    return pc.map_lookup(groups, query_key=pa.scalar(name), occurrence="first")


def _matrix(lists: pa.Array) -> np.ndarray:
    """[rows, 17] float32: lists of 17 numbers; zeros for a null."""
    rows = np.zeros((len(lists), _UNITS), np.float32)
    rows[pc.is_valid(lists).to_numpy(zero_copy_only=False)] = lists.flatten().to_numpy().reshape(-1, _UNITS)
    return rows


def by_figure(faces: MeasuredFaces, group: np.ndarray) -> Samples:
    """The figures of each group. group: (faces,) int64 numbers from 0; faces with a negative number do not count."""
    counted = np.flatnonzero(group >= 0)
    key = group[counted] * faces.figures + faces.figure[counted]
    order = counted[np.argsort(key, kind="stable")]
    keys, starts, sizes = np.unique(np.sort(key), return_index=True, return_counts=True)
    if not len(keys):
        nothing = np.zeros((0, _UNITS))
        return Samples(keys, sizes, nothing, nothing)

    def averages(rows: np.ndarray) -> np.ndarray:
        return np.add.reduceat(rows[order], starts, axis=0, dtype=np.float64) / sizes[:, None]

    return Samples(keys // faces.figures, sizes, averages(faces.values), averages(faces.half_widths))
