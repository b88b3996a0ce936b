"""Rows that crash the worker: found by bisection, and recorded with the status "killed"."""

from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from twfer_dist.core import schema
from twfer_dist.core.status import KILLED
from twfer_dist.engine.isolated_worker import Tables, WorkerCrash


def bisect_poison_rows(
    rows: pa.Table, attempt: Callable[[pa.Table, str], Tables | WorkerCrash]
) -> tuple[list[Tables], dict[str, str]]:
    """The tables of `rows` in pieces (usually one), and {id: error} of each row that crashes the worker even alone.

    attempt: works on rows under a task name; the first of its tables is the planned one. Once the poison rows are
    known, all rows are run together with a healthy neighbour in place of each poison row. So the groups of rows keep
    their size, and healthy rows get the same bytes as ever, also where the worker was killed from outside. Where this
    fails, because a step depends on ids or the rows crash only together, the pieces of the bisection are used.
    """
    pieces: list[Tables] = []
    killed: dict[str, str] = {}

    def bisect(start: int, stop: int) -> None:
        result = attempt(rows.slice(start, stop - start), f"rows-{start}-{stop}")
        if not isinstance(result, WorkerCrash):
            pieces.append(result)
        elif stop - start == 1:
            killed[rows[0][start].as_py()] = f"{result.cause}, even with this row alone."
        else:
            middle = (start + stop) // 2
            bisect(start, middle)
            bisect(middle, stop)

    bisect(0, len(rows))
    if pieces and len(pieces) + len(killed) > 1:
        result = attempt(_with_substitutes(rows, killed), "all")
        if not isinstance(result, WorkerCrash) and next(iter(result.values()))[0].to_pylist() == rows[0].to_pylist():
            pieces = [result]
    return pieces, killed


def _with_substitutes(rows: pa.Table, killed: Mapping[str, str]) -> pa.Table:
    """`rows` with the nearest healthy row in place of each poison row, under the poison row's id."""
    ids = rows[0].to_pylist()
    healthy = [k for k, row_id in enumerate(ids) if row_id not in killed]
    nearest = [k if row_id not in killed else min(healthy, key=lambda h: abs(h - k)) for k, row_id in enumerate(ids)]
    return rows.take(nearest).set_column(0, rows.field(0), rows[0])


def join(
    rows: pa.Table, pieces: Sequence[Tables], killed: Mapping[str, str], tables: Sequence[tuple[str, pa.Schema]]
) -> Tables:
    """The tables of a shard from its pieces. A killed row is one row of the planned table, without relatives in the
    other tables.
    """
    joined = {
        name: pa.concat_tables([expected.empty_table(), *(piece[name] for piece in pieces)])
        for name, expected in tables
    }
    if not killed:
        return joined
    (planned, expected), *others = tables
    if "status" not in expected.names:
        raise ValueError(f"table {planned} has no status, and {len(killed)} of its rows crash the worker")
    ids = pa.array(killed, pa.string())
    blank = _killed_rows(rows.filter(pc.is_in(rows[0], ids)), expected, killed)
    healthy = joined[planned].filter(pc.invert(pc.is_in(joined[planned][0], ids)))
    joined[planned] = pa.concat_tables([healthy, blank]).sort_by(expected.names[0])
    for name, _ in others:
        related = [schema.descends(row_id, killed.keys()) for row_id in joined[name][0].to_pylist()]
        joined[name] = joined[name].filter(pc.invert(pa.array(related, pa.bool_())))
    return joined


def _killed_rows(rows: pa.Table, expected: pa.Schema, killed: Mapping[str, str]) -> pa.Table:
    """Planned rows as rows of the planned table: what the plan knows, status and error, and nulls."""
    known = {
        "status": pa.array([KILLED] * len(rows)),
        "error": pa.array([killed[row_id] for row_id in rows[0].to_pylist()]),
    }
    columns = []
    for column in expected:
        if column.name in known:
            columns.append(known[column.name].cast(column.type))
        elif column.name in rows.column_names:
            columns.append(rows[column.name].cast(column.type).combine_chunks())
        elif pa.types.is_fixed_size_list(column.type):  # Parquet cannot read a null of this type
            columns.append(pa.array([[0] * column.type.list_size] * len(rows), column.type))
        else:
            columns.append(pa.nulls(len(rows), column.type))
    return pa.table(columns, schema=expected)
