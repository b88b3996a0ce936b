"""Tables that people wrote: delimited text in whatever form their program saved it, and Excel workbooks."""

import csv
import io
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from twfer_dist.core.errors import UserError
from twfer_dist.core.taxonomy import EXPRESSION_WORDS
from twfer_dist.corpus.charset import decode
from twfer_dist.corpus.columns import KNOWN, normalised
from twfer_dist.corpus.grid import Grid, strip
from twfer_dist.corpus.workbook import read_sheets
from twfer_dist.engine import storage

ENDINGS = (".csv", ".tsv", ".txt", ".xlsx", ".xlsm")
"""Of the tables that can be read, in order of preference."""

OTHER_ENDINGS = (".xls", ".xlsb", ".ods", ".numbers")
"""Of tables that cannot be read; the message says how to save them."""

_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}
_TITLE_ROWS = 10  # how many rows may come before the column names
_SAMPLE = 100_000  # characters that decide the separator
_WORDS = KNOWN | {word for words in EXPRESSION_WORDS for word in words}


@dataclass(frozen=True)
class Table:
    location: str  # the file, and the sheet of a workbook
    columns: list[str]
    rows: list[tuple[int, dict[str, str]]]  # each with the line where it begins
    line: int  # of the column names
    remarks: list[str]  # how it was read, in sentences


def read_table(uri: str, keys: Collection[str], names: Iterable[str] = ()) -> Table:
    """The table at `uri`: names and values without surrounding blanks, no empty rows.

    keys: normalised names (see `columns.normalised`) of which the table has one as a column; they decide the separator,
    the sheet, and the row of column names. names: files that the table may mention, which decide its encoding.
    UserError, with the line, if the file is not a table, or has a column twice or a row of another length.
    """
    data = storage.read_bytes(uri)
    start = data[:512].lstrip().lower()
    if data.startswith(b"PK\x03\x04"):
        sheets = read_sheets(data, uri)
        with_header = (sheet for sheet in sheets if _header(sheet, keys) is not None)
        grid = next(with_header, max(sheets, key=lambda sheet: len(sheet.rows)))
    elif data.startswith(b"\xd0\xcf\x11\xe0") or uri.lower().endswith(OTHER_ENDINGS):
        raise UserError(
            f"{uri} is a table of an older Excel or of another program: open it there and save it as .xlsx, or as CSV "
            "in UTF-8."
        )
    elif start.startswith((b"<!doctype", b"<html", b"<table", b"<?xml")):
        raise UserError(
            f"{uri} is a web page or XML, whatever its ending says: open it in Excel and save it as .xlsx, or as CSV "
            "in UTF-8."
        )
    else:
        grid = _read_text(data, uri, keys, names)
    return _table(grid, _header(grid, keys) or 0)


def _header(grid: Grid, keys: Collection[str]) -> int | None:
    """The number of the row that names the columns. Rows before it are titles: they have fewer values, or no known
    names.
    """
    widest = 0
    for number, (_, values) in enumerate(grid.rows[:_TITLE_ROWS]):
        width = sum(map(bool, values))
        known = sum(normalised(value) in KNOWN for value in values)
        if any(normalised(value) in keys for value in values) and (width > widest or known > 1):
            return number
        widest = max(widest, width)
    return None


def _table(grid: Grid, header: int) -> Table:
    if not grid.rows:
        return Table(grid.location, [], [], 1, grid.remarks)
    (line, columns), body, remarks = grid.rows[header], grid.rows[header + 1 :], list(grid.remarks)
    columns = columns[: _width(columns, [values for _, values in body])]
    if repeated := sorted({c for c in columns if c and columns.count(c) > 1}):
        raise UserError(f"{grid.location}, line {line}: the column '{repeated[0]}' appears twice; rename one.")
    rows = []
    for number, values in body:
        values = _fit(grid, number, values, len(columns), line)
        rows.append((number, {c: v for c, v in zip(columns, values, strict=False) if c}))
    file = storage.name_of(grid.location)
    if header:
        remarks.append(f"{file}: line {line} names the columns; what is above it was taken for a title")
    unnamed = [k for k, c in enumerate(columns) if not c and any(values[k] for _, values in body)]
    if unnamed:
        remarks.append(f"{file}: column {', '.join(str(k + 1) for k in unnamed)} has no name and was not read")
    return Table(grid.location, [c for c in columns if c], rows, line, remarks)


def _width(columns: list[str], body: list[list[str]]) -> int:
    """How many columns there are without empty ones at the end, which Excel writes for cells that were once touched."""
    width = len(columns)
    while width and not columns[width - 1] and not any(len(values) >= width and values[width - 1] for values in body):
        width -= 1
    return width


def _fit(grid: Grid, number: int, values: list[str], width: int, header: int) -> list[str]:
    """The values of a row, filled up to `width` where a program drops empty fields at the end (in sheets and between
    tabs). UserError for a row of another length.
    """
    if len(values) < width and grid.separator in ("", "\t"):
        values += [""] * (width - len(values))
    if len(values) >= width and not any(values[width:]):
        return values
    separator = _SEPARATORS.get(grid.separator, "separator")
    remedy = f"put values that contain a {separator} in double quotes"
    if len(values) < width:
        remedy = f"write a {separator} for each empty field too"
    count = f"{len(values)} value{'' if len(values) == 1 else 's'}"
    raise UserError(f"{grid.location}, line {number}: {count} but line {header} names {width} columns; {remedy}.")


def _read_text(data: bytes, uri: str, keys: Collection[str], names: Iterable[str]) -> Grid:
    """Delimited text, split at the separator that Excel's first line names, or at the one for which most column names
    are known.
    """
    text, encoding = decode(data, uri, names, _WORDS)
    first = re.match(r'"?sep=([^"\r\n])"?[^\S\n\r]*(\r\n|\r|\n|$)', text, re.IGNORECASE)
    skipped = 1 if first else 0
    text = text[first.end() :] if first else text

    def fitness(separator: str) -> tuple[bool, int, int]:
        grid, _ = _split(text[:_SAMPLE], uri, separator, skipped)
        header = _header(grid, keys)
        cells = [normalised(value) for value in grid.rows[header or 0][1] if value] if grid.rows else []
        return header is not None, sum(cell in keys or cell in KNOWN for cell in cells), len(cells)

    grid, fault = _split(text, uri, first.group(1) if first else max(_SEPARATORS, key=fitness), skipped)
    if fault:
        raise UserError(fault)
    if encoding:
        grid.remarks.append(f"{storage.name_of(uri)} was read as {encoding}")
    return grid


def _split(text: str, uri: str, separator: str, skipped: int) -> tuple[Grid, str]:
    """The rows of a text, and what is wrong with the row after them, if anything."""
    grid = Grid(uri, [], separator)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    line = 1 + skipped
    try:
        for row in reader:
            values = [strip(value) for value in row]
            if any(values):
                grid.rows.append((line, values))
            line = reader.line_num + 1 + skipped
    except csv.Error as error:
        return grid, f"{uri}, line {line}: not CSV ({error}); save the table as CSV with commas and double quotes."
    return grid, ""
