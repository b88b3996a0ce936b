"""Tables as CSV for spreadsheets: a byte order mark, flat columns, and no cell that would run as a formula."""

import contextlib
import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from twfer_dist.core.taxonomy import ACTION_UNITS, EXPRESSIONS
from twfer_dist.engine import storage

_BOM = b"\xef\xbb\xbf"  # without it Excel does not recognise UTF-8
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_IMAGE = pa.binary()
_LISTS = {
    "action_units": ACTION_UNITS,
    "action_units_half_width_90": tuple(f"{unit}_half_width_90" for unit in ACTION_UNITS),
    "box": ("box_x", "box_y", "box_width", "box_height"),
    "pose": ("yaw", "pitch", "roll"),
    "crop_matrix": tuple(f"crop_matrix_{k}" for k in range(6)),
}
_POINTS = [f"{axis}_{k}" for axis in "xy" for k in range(68)]


def rows_to_csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Rows as CSV with a header."""
    sink = io.StringIO()
    writer = csv.DictWriter(sink, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {key: without_formula(value) if isinstance(value, str) else value for key, value in row.items()} for row in rows
    )
    return _BOM + sink.getvalue().encode()


def write_csv(uri: str, schema: pa.Schema, tables: Iterable[pa.Table], groups: Sequence[str]) -> None:
    """Write the pieces of a table of `schema` without its images, flat (see `flat`)."""
    with open_csv(uri, flat(schema.empty_table(), groups).schema) as write:
        for table in tables:
            write(flat(table, groups))


@contextlib.contextmanager
def open_csv(uri: str, schema: pa.Schema) -> Iterator[Callable[[pa.Table], None]]:
    """A CSV file with the columns of `schema`: a function that writes rows (no lists) to it, with texts quoted where a
    spreadsheet would run them as a formula.
    """
    fs, path = storage.resolve(uri)
    with storage.writing(uri):
        fs.create_dir(path.rsplit("/", 1)[0], recursive=True)
        with fs.open_output_stream(path) as sink:
            sink.write(_BOM)
            with pyarrow.csv.CSVWriter(sink, schema) as writer:
                yield lambda table: writer.write_table(_without_formulas(table).cast(schema))
    storage.fsync(uri)


def _without_formulas(table: pa.Table) -> pa.Table:
    columns = [_text(column) if pa.types.is_string(column.type) else column for column in table.columns]
    return pa.table(columns, names=table.column_names)


def group_names(groups: pa.ChunkedArray) -> list[str]:
    """The keys of a column "groups", sorted."""
    return sorted({key for chunk in groups.chunks for key in pc.unique(chunk.keys).to_pylist()})


def flat(table: pa.Table, groups: Sequence[str]) -> pa.Table:
    """A table without its images and lists: a list becomes one column for each value, a label its word, and each of
    `groups` (the keys of the column "groups") a column.
    """
    columns: dict[str, pa.ChunkedArray] = {}
    for name in table.column_names:
        column = table[name]
        if name == "groups":
            for key in groups:
                columns[f"group {key}"] = pc.map_lookup(column, query_key=pa.scalar(key), occurrence="first")
        elif name == "landmarks68":
            for k, point in enumerate(_POINTS):
                columns[point] = pc.list_element(pc.list_element(column, k % 68), k // 68)
        elif name in _LISTS:
            columns |= {part: pc.list_element(column, k) for k, part in enumerate(_LISTS[name])}
        elif name == "label":
            columns[name] = pa.array(EXPRESSIONS).take(pc.subtract(column.combine_chunks(), 1))
        elif column.type != _IMAGE:
            columns[name] = column
    return pa.table(columns)


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.replace_substring_regex(column, pattern=r"^([=+\-@\t\r])", replacement=r"'\1")


def without_formula(text: str) -> str:
    """The text with a quote before it where a spreadsheet would run it as a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def as_written(text: str) -> str:
    """The text that `without_formula` was given."""
    return text[1:] if text.startswith("'") and text[1:].startswith(_FORMULA) else text
