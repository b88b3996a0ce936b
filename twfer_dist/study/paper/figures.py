"""The figures of the paper, as transcribed in a YAML file: `figures.yaml`, or a user's completed copy."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from twfer_dist.core.errors import UserError
from twfer_dist.core.taxonomy import EXPRESSIONS, POSTURES
from twfer_dist.engine.config import did_you_mean, read_yaml

SHIPPED = "package:study/paper/figures.yaml"

AVERAGE, CLASS_MEAN = "average", "class_mean"
COLUMNS = {
    "table_1": ("train", "validation", "test"),
    "table_2": ("train", "validation", "test"),
    "table_3": ("labelled",),
    "table_4": ("train", "validation", "test"),
    "table_5": ("train", "validation", "test"),
    "table_6": ("train", "validation", "test"),
    "table_7": ("real", "animated"),
}
"""The tables of the file, and the columns that each may have."""

ROWS = (*EXPRESSIONS, AVERAGE, CLASS_MEAN)
GROUPS = (*POSTURES, "han", "american")
"""The groups whose shares the paper gives."""

Column = Mapping[str, float | None]
"""The figures of a column by row; None where one is not transcribed."""


@dataclass(frozen=True)
class PaperFigures:
    """What the paper says, from 0 to 1; everything that is not transcribed is None or absent."""

    source: str
    tables: Mapping[str, Mapping[str, Column]]  # by table and column
    shares: Mapping[str, Column]  # by group
    finetuned_below: float | None

    def column(self, table: int, column: str) -> dict[str, float | None]:
        """Each of ROWS in a column of a table."""
        given = self.tables.get(f"table_{table}", {}).get(column, {})
        return {row: given.get(row) for row in ROWS}


def read_figures(path: str = SHIPPED) -> PaperFigures:
    """The figures in a file (a path, URI or `package:` path). UserError that names what it cannot hold."""
    given, _ = read_yaml(path)
    known = ("source", "tables", "shares", "finetuned_below")
    content = _mapping(given, known, path)
    tables = {
        table: {
            column: _numbers(values, ROWS, f"{path}, {table}, {column}")
            for column, values in _mapping(columns, COLUMNS[table], f"{path}, {table}").items()
        }
        for table, columns in _mapping(content.get("tables"), tuple(COLUMNS), f"{path}, tables").items()
    }
    shares = {
        group: _numbers(values, EXPRESSIONS, f"{path}, shares, {group}")
        for group, values in _mapping(content.get("shares"), GROUPS, f"{path}, shares").items()
    }
    below = _numbers({"finetuned_below": content.get("finetuned_below")}, known, path)["finetuned_below"]
    return PaperFigures(str(content.get("source") or path), tables, shares, below)


def _mapping(value: Any, known: tuple[str, ...], location: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UserError(f"{location}: write `name: value` lines, as {SHIPPED} does.")
    for key in value:
        if key not in known:
            near = did_you_mean(str(key), known) or "."
            raise UserError(f"{location}: there is no '{key}'; it has {', '.join(known)}{near}")
    return value


def _numbers(values: Any, known: tuple[str, ...], location: str) -> Column:
    column = _mapping(values, known, location)
    for row, value in column.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (number and 0 <= value <= 1):
            raise UserError(f"{location}: '{row}' is {value!r}; write a number from 0 to 1, or nothing.")
    return column
