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


def read_sheets(data: bytes, uri: str) -> list[Grid]:
    """The sheets of a workbook, with the values that its formulas had when it was saved. UserError if it cannot be
    read, or unpacks to too many bytes.
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
    grids = []
    for sheet in book.worksheets:
        sheet.reset_dimensions()  # programs often write wrong ones
        rows = {line: _cells(values) for line, values in enumerate(sheet.iter_rows(values_only=True), 1)}
        merged = re.findall(rb'<mergeCell ref="([A-Z]+[0-9]+:[A-Z]+[0-9]+)"', archive.read(sheet._worksheet_path))
        _fill_merged(rows, (openpyxl.utils.range_boundaries(ref.decode()) for ref in merged))
        location = f"{uri}, sheet '{sheet.title}'" if len(book.worksheets) > 1 else uri
        grids.append(Grid(location, [(line, cells) for line, cells in rows.items() if cells]))
    return grids


def _fill_merged(rows: dict[int, list[str]], merged: Iterable[tuple[int, int, int, int]]) -> None:
    """Repeat the value of cells that are merged downwards, which a workbook keeps in the first, in each row that is not
    empty.
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
    return strip(str(value))
