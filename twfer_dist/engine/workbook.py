"""Described tables in one Excel workbook: a sheet each, after one that says what every column means."""

import io
import re
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import openpyxl
import pyarrow as pa
from openpyxl.cell import WriteOnlyCell
from openpyxl.styles import Alignment, Font, PatternFill
from openpyxl.utils import get_column_letter

from twfer_dist.engine.described import SHARE, Described, DescribedTable
from twfer_dist.engine.spreadsheet import without_formula

SHEET_ROWS = 20_000
"""Rows of a sheet at most. Excel's own limit is 1,048,576, but a workbook opens slowly long before it."""

_CELL = 32_767  # characters, Excel's limit
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")  # XML 1.0 cannot hold them
_WIDEST, _SAMPLE = 60, 200  # characters of a column, rows that decide its width
_HEAD = PatternFill("solid", fgColor="FFE8E4DC")
_DAWN = (1980, 1, 1, 0, 0, 0)  # the earliest time in a zip file: the same workbook has the same bytes


class Workbook:
    """A workbook that is written sheet by sheet.

    about: lines of the first sheet as name and value: title, version, where the numbers come from.
    """

    def __init__(self, about: Sequence[tuple[str, str]]) -> None:
        self._book = openpyxl.Workbook(write_only=True)
        self._about = self._book.create_sheet("About")
        self._about.column_dimensions["A"].width, self._about.column_dimensions["B"].width = 24, 32
        self._about.column_dimensions["C"].width, self._about.column_dimensions["D"].width = 90, 24
        for name, value in about:
            self._about.append([_text(self._about, name, bold=True), _text(self._about, value)])

    def add(self, table: DescribedTable, rows: Sequence[Mapping[str, Any]], total: int) -> None:
        """A sheet with the first rows of all `total` of a table, if it has any, and its words on the first sheet."""
        self._describe(table, len(rows), total)
        if not rows:
            return
        sheet = self._book.create_sheet(table.name)
        sheet.freeze_panes = "A2"
        for k, column in enumerate(table.columns, 1):
            sheet.column_dimensions[get_column_letter(k)].width = _width(column, rows)
        sheet.append([_text(sheet, column.name, bold=True, filled=True) for column in table.columns])
        cells = [WriteOnlyCell(sheet) for _ in table.columns]
        for cell, column in zip(cells, table.columns, strict=True):
            cell.number_format = _format(column)
        for row in rows:  # a row is written at once, so its cells can be those of the row before: six times as fast
            for cell, column in zip(cells, table.columns, strict=True):
                _fill(cell, row[column.name])
            sheet.append(cells)
        sheet.auto_filter.ref = f"A1:{get_column_letter(len(table.columns))}{len(rows) + 1}"

    def as_bytes(self) -> bytes:
        """The workbook as an .xlsx file, the same bytes for the same tables."""
        sink, packed = io.BytesIO(), io.BytesIO()
        self._book.save(sink)
        with zipfile.ZipFile(sink) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
            for name in source.namelist():
                data = source.read(name)
                if name == "docProps/core.xml":
                    data = re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", b"1980-01-01T00:00:00Z", data)
                target.writestr(zipfile.ZipInfo(name, _DAWN), data, zipfile.ZIP_DEFLATED)
        return packed.getvalue()

    def _describe(self, table: DescribedTable, shown: int, total: int) -> None:
        sheet = self._about
        rows = f"{total:,} rows" if total else "no rows in this study"
        if shown < total:
            rows = f"the first {shown:,} of {total:,} rows; {table.name}.csv and {table.name}.parquet have all of them"
        sheet.append([])
        words = (table.name, rows, table.caption, "unit")
        sheet.append([_text(sheet, word, bold=word is table.name, filled=True) for word in words])
        sheet.append(["", "", _text(sheet, table.note)])
        for column in table.columns:
            sheet.append(["", *(_text(sheet, word) for word in (column.name, column.meaning, column.unit))])


def _width(column: Described, rows: Sequence[Mapping[str, Any]]) -> int:
    """The width of a column in characters, with room for the mark of a filter."""
    sample = [8]
    if not pa.types.is_floating(column.type):
        sample = [len(str(row[column.name])) for row in rows[:_SAMPLE] if row[column.name] is not None]
    return min(max([len(column.name) + 3, *sample]) + 1, _WIDEST)


def _format(column: Described) -> str:
    if pa.types.is_integer(column.type):
        return "#,##0"
    if pa.types.is_floating(column.type):
        return "0.0%" if column.unit == SHARE else f"0.{'0' * column.decimals}"
    return "@" if pa.types.is_string(column.type) else "General"


def _fill(cell: Any, value: Any) -> None:
    """Put a value into a cell. A text is text whatever it looks like: quoted as in CSV, and never a formula's type."""
    if isinstance(value, str):
        cell.value = without_formula(_UNPRINTABLE.sub("\ufffd", value))[:_CELL]
        cell.data_type = "s"
    else:
        cell.value = value


def _text(sheet: Any, words: str, *, bold: bool = False, filled: bool = False) -> Any:
    """A cell with a heading or an explanation."""
    cell = WriteOnlyCell(sheet)
    _fill(cell, words)
    cell.alignment = Alignment(vertical="top", wrap_text=not filled)
    if bold:
        cell.font = Font(bold=True)
    if filled:
        cell.fill = _HEAD
    return cell
