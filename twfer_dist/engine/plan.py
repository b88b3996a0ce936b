"""The rows that a stage plans, in parts that workers make: no process holds the whole plan."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

ROWS_PER_PART = 16_384
"""About how many rows a part of a plan should have: a few MB, and the work of a few dozen shards."""


@dataclass(frozen=True)
class Plan:
    """The rows that a stage plans. The first column is the id.

    make: called by workers for each of `parts`; returns the rows of that part in any order, the same ones each time.
    All ids of a part come after those of the part before it. Shards are cut within parts.
    """

    make: Callable[[Any], pa.Table]
    parts: Sequence[Any]


def in_memory(table: pa.Table, rows_per_part: int = ROWS_PER_PART) -> Plan:
    """The plan of a table on the driver, sorted by its id."""
    table = sort_by_id(with_long_texts(table))
    starts = range(0, len(table), rows_per_part)
    return Plan(_with_short_texts, [table.slice(start, rows_per_part) for start in starts])


def sort_by_id(table: pa.Table) -> pa.Table:
    """The table sorted by its first column."""
    return table.sort_by(table.column_names[0])


def with_long_texts(table: pa.Table) -> pa.Table:
    """The table with 64-bit offsets in its texts: sorting joins each column, and more than 2 GiB of text would wrap."""
    return _retyped(table, pa.string(), pa.large_string())


def _with_short_texts(table: pa.Table) -> pa.Table:
    return _retyped(table, pa.large_string(), pa.string())


def _retyped(table: pa.Table, before: pa.DataType, after: pa.DataType) -> pa.Table:
    fields = [field.with_type(after) if field.type == before else field for field in table.schema]
    return table.cast(pa.schema(fields, table.schema.metadata))
