"""Action Units that someone measured with OpenFace, joined to photographs by file name."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from twfer_dist.core.errors import UserError
from twfer_dist.core.taxonomy import ACTION_UNITS, MAX_INTENSITY
from twfer_dist.corpus import names
from twfer_dist.corpus.columns import NAMES, columns_named, normalised
from twfer_dist.corpus.tables import Table, read_table

FILE = "openface.csv"  # read if it is beside the photographs
MIN_CONFIDENCE = 0.5

Units = list[float] | None
"""17 intensities, 0 to 5; None where OpenFace failed."""


def read_openface(uri: str, files: Iterable[str]) -> dict[str, Units]:
    """The 17 Action Units (columns `AU01_r` ...) of each image that the table names. files: those it may name.

    The image is named by a column `path`, `name`, `filename` ... (see `columns.NAMES`). If an image has a row for each
    of several faces (column `face`), the first face counts. None where OpenFace failed (`success` is 0, or `confidence`
    is under 0.5). UserError, with the line, if the table is not like this.
    """
    table = read_table(uri, NAMES["path"], files)
    columns = _columns(table, uri)
    found: dict[str, Units] = {}
    faces: dict[str, float] = {}
    for line, row in table.rows:
        name = names.tidy(row[columns.path])
        try:
            face, units = columns.read(row)
        except ValueError as error:
            raise UserError(f"{uri}, line {line}: {error}; correct the number or remove the line.") from None
        if units and not all(math.isfinite(u) and 0 <= u <= MAX_INTENSITY for u in units):
            raise UserError(f"{uri}, line {line}: an intensity is not within 0 to 5; correct it or remove the line.")
        if face == faces.get(name):
            raise UserError(f"{uri}, line {line}: {name} appears twice; keep one row for each face of an image.")
        if face < faces.get(name, math.inf):
            faces[name], found[name] = face, units
    return found


@dataclass(frozen=True)
class _Columns:
    """The columns of an OpenFace table; face, success and confidence are empty if the table has none."""

    path: str
    units: list[str]
    face: str
    success: str
    confidence: str

    def read(self, row: Mapping[str, str]) -> tuple[float, Units]:
        """The number of a row's face, and its Action Units. ValueError for what is not a number."""
        face = float(row[self.face]) if self.face else 0.0
        success = float(row[self.success]) if self.success else 1.0
        confidence = float(row[self.confidence]) if self.confidence else 1.0
        trusted = success != 0 and confidence >= MIN_CONFIDENCE
        return face, [float(row[column]) for column in self.units] if trusted else None


def _columns(table: Table, uri: str) -> _Columns:
    paths = columns_named("path", table.columns)
    if not paths:
        raise UserError(
            f"{uri}, line {table.line}: no column names the image; add one called path, name, filename or file."
        )
    by_name = {normalised(column): column for column in table.columns}
    units = {unit: by_name.get(normalised(f"{unit}_r"), "") for unit in ACTION_UNITS}
    if missing := [f"{unit}_r" for unit, column in units.items() if not column]:
        raise UserError(
            f"{uri}, line {table.line}: there is no column {', '.join(missing)}; run OpenFace with -aus and keep all "
            "of its columns."
        )
    others = (by_name.get(name, "") for name in ("face", "success", "confidence"))
    return _Columns(paths[0], list(units.values()), *others)


def match_names(paths: Iterable[str], table: Mapping[str, Units], uri: str) -> dict[str, str]:
    """The name in an OpenFace table for each path of the corpus that it names (see `names.match`). UserError if it
    names none.
    """
    matched = {match.path: name for name, match in names.match(table, paths).items() if match.path}
    if not matched:
        raise UserError(
            f"{uri}: none of its {len(table)} names is a photograph of this corpus; use the photographs' paths as "
            "names."
        )
    return matched
