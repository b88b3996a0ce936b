"""The plan of a stage that makes a row of every row of its inputs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twfer_dist.core.errors import UserError
from twfer_dist.engine.id_ranges import IdRange, IdTable, id_ranges, row_digests
from twfer_dist.engine.plan import Plan


@dataclass(frozen=True)
class PlannedInput:
    """A table of an input. columns: those that decide a planned row. also: those that `plan_inputs` passes on."""

    table: IdTable
    columns: Sequence[str]
    also: Sequence[str] = ()


def plan_inputs(inputs: Sequence[PlannedInput], complete: Callable[[pa.Table], pa.Table]) -> Plan:
    """A plan with `image_id`, `row_digest` and `input` (an index) of every row of `inputs`. Images are not read.

    complete: called by workers with these columns and `also` for a range of ids; returns the planned rows.
    """
    ranges = id_ranges([planned.table for planned in inputs])
    return Plan(partial(_make, inputs=tuple(inputs), complete=complete), ranges)


def with_constants(rows: pa.Table, values: Mapping[str, str]) -> pa.Table:
    """The rows with a column of one text for each of `values`."""
    for name, value in values.items():
        rows = rows.append_column(name, pa.array([value] * len(rows), pa.string()))
    return rows


def _make(ids: IdRange, inputs: Sequence[PlannedInput], complete: Callable[[pa.Table], pa.Table]) -> pa.Table:
    pieces = []
    for index, planned in enumerate(inputs):
        rows = row_digests(planned.table, planned.columns, ids, planned.also)
        pieces.append(rows.append_column("input", pa.array(np.full(len(rows), index, np.int16))))
    rows = pa.concat_tables(pieces)
    if len(rows) != pc.count_distinct(rows["image_id"]).as_py():
        raise UserError("The inputs hold the same images twice: name every output once.")
    return complete(rows)
