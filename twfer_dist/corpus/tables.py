"""Tables that people wrote: delimited text in whatever form their program saved it, and Excel workbooks."""

import csv
import datetime
import io
import re
import zipfile
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from twfer_dist.core.errors import UserError
from twfer_dist.core.taxonomy import EXPRESSION_WORDS
from twfer_dist.corpus.charset import decode
from twfer_dist.corpus.columns import KNOWN, normalised
from twfer_dist.engine import storage

ENDINGS = (".csv", ".tsv", ".txt", ".xlsx", ".xlsm")
"""Of the tables that are read, in the order in which they are preferred."""

OTHER_ENDINGS = (".xls", ".xlsb", ".ods", ".numbers")
"""Of tables that are not read, and about which the user hears how to save them."""

_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}
_TITLE_ROWS = 10  # the names of the columns are looked for in so many rows
_SAMPLE = 100_000  # characters by which the separator is told
_MAX_UNPACKED = 300_000_000
_WORDS = KNOWN | {word for words in EXPRESSION_WORDS for word in words}


@dataclass(frozen=True)
class Table:
    place: str  # the file, and the sheet where it is a workbook
    columns: list[str]
    rows: list[tuple[int, dict[str, str]]]  # with the line that each begins at
    line: int  # of the columns' names
    said: list[str]  # what had to be understood to read it, in sentences


@dataclass
class _Grid:
    """The rows of a sheet, or of a text cut at one separator, that hold anything."""

    place: str
    rows: list[tuple[int, list[str]]]
    separator: str = ""
    said: list[str] = field(default_factory=list)
    fault: str = ""


def read_table(uri: str, keys: Collection[str], names: Iterable[str] = ()) -> Table:
    """The table at `uri`, its names and values stripped of blanks at both ends, without empty rows.

    keys: plain names of columns (see `columns.plain`) of which the table has one: they tell the separator, the sheet,
    and where the columns are named. names: files that it may name, which tell its encoding. Problem, with the line,
    where the file is no table, has a column twice or a row of another length than its columns.
    """
    data = storage.read_bytes(uri)
    start = data[:512].lstrip().lower()
    if data.startswith(b"PK\x03\x04"):
        sheets = _sheets(data, uri)
        grid = next(
            (sheet for sheet in sheets if _header(sheet, keys) is not None),
            max(sheets, key=lambda sheet: len(sheet.rows)),
        )
    elif data.startswith(b"\xd0\xcf\x11\xe0") or uri.lower().endswith(OTHER_ENDINGS):
        raise UserError(
            f"{uri} is a table of an older Excel or of another program: open it there and save it as .xlsx or as "
            "CSV in UTF-8."
        )
    elif start.startswith((b"<!doctype", b"<html", b"<table", b"<?xml")):
        raise UserError(
            f"{uri} is a web page or XML, whatever its ending says: open it in Excel and save it as .xlsx or as CSV "
            "in UTF-8."
        )
    else:
        grid = _text(data, uri, keys, names)
    return _table(grid, _header(grid, keys) or 0)


def _header(grid: _Grid, keys: Collection[str]) -> int | None:
    """The number of the row that names the columns; rows before it, if any, are titles: they hold less, or nothing that
    is known.
    """
    widest = 0
    for number, (_, values) in enumerate(grid.rows[:_TITLE_ROWS]):
        width = sum(map(bool, values))
        known = sum(normalised(value) in KNOWN for value in values)
        if any(normalised(value) in keys for value in values) and (width > widest or known > 1):
            return number
        widest = max(widest, width)
    return None


def _table(grid: _Grid, header: int) -> Table:
    if not grid.rows:
        return Table(grid.place, [], [], 1, grid.said)
    (line, columns), body, said = grid.rows[header], grid.rows[header + 1 :], list(grid.said)
    columns = columns[: _filled(columns, [values for _, values in body])]
    if twice := sorted({c for c in columns if c and columns.count(c) > 1}):
        raise UserError(f"{grid.place}, line {line}: the column '{twice[0]}' is there twice; rename one.")
    rows = []
    for number, values in body:
        if len(values) < len(columns) and grid.separator in (
            "",
            "\t",
        ):  # programs drop empty fields at the end of a row
            values += [""] * (len(columns) - len(values))
        if len(values) < len(columns) or any(values[len(columns) :]):
            separator = _SEPARATORS.get(grid.separator, "separator")
            remedy = f"put values that hold a {separator} into double quotes"
            if len(values) < len(columns):
                remedy = f"write a {separator} for each empty field too"
            raise UserError(
                f"{grid.place}, line {number}: {len(values)} {'value' if len(values) == 1 else 'values'} where line "
                f"{line} names "
                f"{len(columns)} columns; {remedy}."
            )
        rows.append((number, {c: v for c, v in zip(columns, values, strict=False) if c}))
    file = storage.name_of(grid.place)
    if header:
        said.append(f"{file}: the columns are named in line {line}; what is above was taken for a title")
    unnamed = [k for k, c in enumerate(columns) if not c and any(values[k] for _, values in body)]
    if unnamed:
        said.append(f"{file}: column {', '.join(str(k + 1) for k in unnamed)} has no name and was not read")
    return Table(grid.place, [c for c in columns if c], rows, line, said)


def _filled(columns: list[str], body: list[list[str]]) -> int:
    """How many columns there are without empty ones at the end: Excel writes such where a cell was once touched."""
    width = len(columns)
    while width and not columns[width - 1] and not any(len(values) >= width and values[width - 1] for values in body):
        width -= 1
    return width


def _text(data: bytes, uri: str, keys: Collection[str], names: Iterable[str]) -> _Grid:
    """Delimited text, at the separator that Excel's first line names, or at which the columns' names are best
    understood.
    """
    text, encoding = decode(data, uri, names, _WORDS)
    first = re.match(r'"?sep=([^"\r\n])"?[^\S\n\r]*(\r\n|\r|\n|$)', text, re.IGNORECASE)
    skipped = 1 if first else 0
    text = text[first.end() :] if first else text

    def fitness(separator: str) -> tuple[bool, int, int]:
        grid = _cut(text[:_SAMPLE], uri, separator, skipped)
        header = _header(grid, keys)
        cells = [normalised(value) for value in grid.rows[header or 0][1] if value] if grid.rows else []
        return header is not None, sum(cell in keys or cell in KNOWN for cell in cells), len(cells)

    grid = _cut(text, uri, first.group(1) if first else max(_SEPARATORS, key=fitness), skipped)
    if grid.fault:
        raise UserError(grid.fault)
    if encoding:
        grid.said.append(f"{storage.name_of(uri)} was read as {encoding}")
    return grid


def _cut(text: str, uri: str, separator: str, skipped: int) -> _Grid:
    grid = _Grid(uri, [], separator)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    line = 1 + skipped
    try:
        for values in reader:
            values = [_stripped(v) for v in values]
            if any(values):
                grid.rows.append((line, values))
            line = reader.line_num + 1 + skipped
    except csv.Error as error:
        grid.fault = f"{uri}, line {line}: not CSV ({error}); save the table as CSV with commas and double quotes."
    return grid


def _sheets(data: bytes, uri: str) -> list[_Grid]:
    """The sheets of a workbook, with the values that its formulas had when it was saved."""
    import openpyxl  # here, because few corpora need it and it takes a moment

    try:
        parts = zipfile.ZipFile(io.BytesIO(data))
        unpacked = sum(part.file_size for part in parts.infolist())
        if unpacked > _MAX_UNPACKED:
            raise UserError(
                f"{uri} unpacks to {unpacked / 1e6:,.0f} MB, {_MAX_UNPACKED / 1e6:.0f} are allowed: save it as CSV "
                "in UTF-8."
            )
        book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
        grids = []
        for sheet in book.worksheets:
            sheet.reset_dimensions()  # what programs write there is often wrong
            rows = {line: _cells(values) for line, values in enumerate(sheet.iter_rows(values_only=True), 1)}
            merged = re.findall(rb'<mergeCell ref="([A-Z]+[0-9]+:[A-Z]+[0-9]+)"', parts.read(sheet._worksheet_path))
            _fill(rows, (openpyxl.utils.range_boundaries(ref.decode()) for ref in merged))
            place = f"{uri}, sheet '{sheet.title}'" if len(book.worksheets) > 1 else uri
            grids.append(_Grid(place, [(line, cells) for line, cells in rows.items() if cells]))
    except UserError:
        raise
    except Exception as error:  # whatever a damaged or foreign archive makes the library say
        words = " ".join(str(error).split())
        raise UserError(
            f"{uri} is no Excel workbook that can be read ({words}): save it as .xlsx again, or as CSV in UTF-8."
        ) from error
    if not grids:
        raise UserError(f"{uri} has no sheet of cells: put the table into one.")
    return grids


def _fill(rows: dict[int, list[str]], merged: Iterable[tuple[int, int, int, int]]) -> None:
    """Write the value of cells that are merged downwards, which a workbook keeps in the first, into each row that holds
    anything.
    """
    for column, top, _, bottom in merged:
        for line in range(top + 1, min(bottom, len(rows)) + 1):
            if cells := rows[line]:
                cells += [""] * (column - len(cells))
                cells[column - 1] = rows[top][column - 1] if len(rows[top]) >= column else ""


def _cells(values: tuple[Any, ...]) -> list[str]:
    cells = [_cell(value) for value in values]
    while cells and not cells[-1]:
        cells.pop()
    return cells


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return value.date().isoformat()
    return _stripped(str(value))


def _stripped(text: str) -> str:
    return text.strip().strip("\ufeff\u200b").strip()
