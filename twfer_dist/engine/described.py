"""A table of numbers with the words that belong to it: the one description from which every file format is written."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

SHARE = "share, 0 to 1"
"""The unit of shares, which print in percent and have a percent format in a workbook."""

ENDS = ("low", "high")


@dataclass(frozen=True)
class Described:
    """A column: what it holds, in which unit, and how it prints."""

    name: str
    type: pa.DataType
    meaning: str
    unit: str = ""
    decimals: int = 3  # of a float in print
    ends: tuple[str, str] | None = None  # the columns with the low and the high end of its 95 % interval


@dataclass(frozen=True)
class DescribedTable:
    """A table: its words, its columns and its rows.

    name: of its files and of its sheet, at most 31 characters. note: what n counts and what the intervals are.
    parts: Arrow tables with `columns`, read once and one at a time, so that a long table need not be in memory.
    printed: the columns that Markdown and LaTeX show, all where empty.
    """

    name: str
    caption: str
    note: str
    columns: Sequence[Described]
    parts: Iterable[pa.Table]
    printed: tuple[str, ...] = ()

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema: each field carries its meaning and unit as metadata, the table its caption and note."""
        fields = [
            pa.field(column.name, column.type, metadata={"meaning": column.meaning, "unit": column.unit})
            for column in self.columns
        ]
        return pa.schema(fields, metadata={"caption": self.caption, "note": self.note})

    @property
    def shown(self) -> list[Described]:
        """The columns that print: without the ends of intervals, which print beside their value."""
        ends = {end for column in self.columns for end in column.ends or ()}
        return [c for c in self.columns if c.name not in ends and (not self.printed or c.name in self.printed)]


def of_rows(
    name: str, caption: str, note: str, columns: Sequence[Described], rows: Iterable[Mapping[str, Any]]
) -> DescribedTable:
    """A table that is in memory. rows: a missing key is an empty cell, an unknown one is left out."""
    schema = pa.schema([(column.name, column.type) for column in columns])
    return DescribedTable(name, caption, note, columns, [pa.Table.from_pylist(list(rows), schema=schema)])


def text(name: str, meaning: str) -> Described:
    return Described(name, pa.string(), meaning)


def whole(name: str, meaning: str, unit: str = "") -> Described:
    return Described(name, pa.int64(), meaning, unit)


def number(
    name: str, meaning: str, unit: str = "", decimals: int = 3, ends: tuple[str, str] | None = None
) -> Described:
    return Described(name, pa.float64(), meaning, unit, decimals, ends)


def interval(value: str, unit: str = "", ends: tuple[str, str] = ENDS) -> tuple[Described, Described]:
    """The columns with the ends of the 95 % interval of the column `value`."""
    low, high = ends
    return (
        number(low, f"Low end of the 95 % interval of {value}.", unit),
        number(high, f"High end of the 95 % interval of {value}.", unit),
    )
