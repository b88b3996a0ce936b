"""The sheets of an Excel workbook."""

import datetime
import io
import re
import zipfile
from collections.abc import Iterable
from typing import Any

from twfer_dist.core.errors import UserError
from twfer_dist.corpus.grid import Grid, strip

_MAX_UNPACKED = 300_000_000
_MAX_ROWS, _MAX_CELLS = 1_048_576, 5_000_000  # Excel's rows; a few bytes can name a row or column far out


def read_sheets(data: bytes, uri: str) -> list[Grid]:
    """The sheets of a workbook, with the values that its formulas had when it was saved. UserError if it cannot be
    read, unpacks to too many bytes, or has too many rows or cells.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
            if unpacked > _MAX_UNPACKED:
                raise UserError(
                    f"{uri} unpacks to {unpacked / 1e6:,.0f} MB, but at most {_MAX_UNPACKED / 1e6:.0f} MB are allowed: "
                    "save it as CSV in UTF-8."
                )
            grids = _grids(data, archive, uri)
    except UserError:
        raise
    except Exception as error:  # a damaged or foreign archive raises anything
        words = " ".join(str(error).split())
        raise UserError(
            f"{uri} cannot be read as an Excel workbook ({words}): save it as .xlsx again, or as CSV in UTF-8."
        ) from error
    if not grids:
        raise UserError(f"{uri} has no sheet of cells: put the table into one.")
    return grids


def _grids(data: bytes, archive: zipfile.ZipFile, uri: str) -> list[Grid]:
    import openpyxl  # here, because few corpora need it and the import is slow

    book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
    grids: list[Grid] = []
    for sheet in book.worksheets:
        sheet.reset_dimensions()  # programs often write wrong ones
        free = _MAX_CELLS - sum(len(cells) for grid in grids for _, cells in grid.rows)
        rows = _rows(sheet.iter_rows(values_only=True), free, uri)
        merged = re.findall(rb'<mergeCell ref="([A-Z]+[0-9]+:[A-Z]+[0-9]+)"', archive.read(sheet._worksheet_path))
        _fill_merged(rows, (openpyxl.utils.range_boundaries(ref.decode()) for ref in merged), free, uri)
        location = f"{uri}, sheet '{sheet.title}'" if len(book.worksheets) > 1 else uri
        grids.append(Grid(location, list(rows.items())))
    return grids


def _rows(lines: Iterable[tuple[Any, ...]], free: int, uri: str) -> dict[int, list[str]]:
    """The rows that are not empty, by their lines from 1. UserError if they have more than `free` cells."""
    rows = {}
    for line, values in enumerate(lines, 1):
        if cells := _cells(values):
            rows[line] = cells
            free -= len(cells)
        _check(line, free, uri)
    return rows


def _check(line: int, free: int, uri: str) -> None:
    if line > _MAX_ROWS or free < 0:
        raise UserError(
            f"{uri} has cells beyond row {_MAX_ROWS:,}, or more than {_MAX_CELLS:,} with the empty ones before them: "
            "delete the rows and columns beside the table, or save it as CSV in UTF-8."
        )


def _fill_merged(rows: dict[int, list[str]], merged: Iterable[tuple[int, int, int, int]], free: int, uri: str) -> None:
    """Repeat the value of cells that are merged downwards, which a workbook keeps in the first, in each row that is not
    empty.
    """
    free -= sum(map(len, rows.values()))
    for column, top, _, bottom in merged:
        first = rows.get(top, [])
        for line in range(top + 1, min(bottom, max(rows, default=0)) + 1):
            if cells := rows.get(line):
                free -= max(0, column - len(cells))
                _check(line, free, uri)
                cells += [""] * (column - len(cells))
                cells[column - 1] = first[column - 1] if len(first) >= column else ""


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
    return strip(str(value))
