"""Action Units that someone measured with OpenFace, joined to photographs by file name."""

import math
from collections.abc import Iterable, Mapping

from twfer_dist.core.errors import UserError
from twfer_dist.core.taxonomy import ACTION_UNITS, MAX_INTENSITY
from twfer_dist.corpus import names
from twfer_dist.corpus.columns import NAMES, called, normalised
from twfer_dist.corpus.tables import read_table

FILE = "openface.csv"  # read where it lies beside the photographs
MIN_CONFIDENCE = 0.5
_USUAL = {"face": 0.0, "success": 1.0, "confidence": 1.0}  # where the table has no such column


def read_openface(place: str, files: Iterable[str]) -> dict[str, list[float] | None]:
    """The 17 Action Units (intensities 0 to 5, columns `AU01_r` ...) of each image that the table names; it may name
    any of `files`.

    The image is named by a column `path`, `name`, `filename` ... (see `columns.NAMES`). Of an image with a row for each
    of several faces (column `face`), the first face counts. None where OpenFace says that it did not succeed (`success`
    is 0, or `confidence` is under 0.5). Problem, with the line, where the table is not like this.
    """
    table = read_table(place, NAMES["path"], files)
    keys = called("path", table.columns)
    if not keys:
        raise UserError(
            f"{place}, line {table.line}: no column names the image; add one called path, name, filename or file."
        )
    of = {normalised(column): column for column in table.columns}
    columns = {unit: of.get(normalised(f"{unit}_r"), "") for unit in ACTION_UNITS}
    if missing := [f"{unit}_r" for unit, column in columns.items() if not column]:
        raise UserError(
            f"{place}, line {table.line}: there is no column {', '.join(missing)}; run OpenFace with -aus, and keep "
            "its columns."
        )
    found: dict[str, list[float] | None] = {}
    faces: dict[str, float] = {}
    for line, row in table.rows:
        name = names.tidy(row[keys[0]])
        try:
            face, success, confidence = (float(row[of[c]]) if c in of else usual for c, usual in _USUAL.items())
            trusted = success != 0 and confidence >= MIN_CONFIDENCE
            units = [float(row[column]) for column in columns.values()] if trusted else []
        except ValueError as error:
            raise UserError(f"{place}, line {line}: {error}; correct the number or remove the line.") from None
        if not all(math.isfinite(u) and 0 <= u <= MAX_INTENSITY for u in units):
            raise UserError(f"{place}, line {line}: an intensity is not within 0 to 5; correct it or remove the line.")
        if face == faces.get(name):
            raise UserError(f"{place}, line {line}: {name} is there twice; keep the row of one face for each image.")
        if face < faces.get(name, math.inf):
            faces[name], found[name] = face, units or None
    return found


def match_names(paths: Iterable[str], table: Mapping[str, list[float] | None], place: str) -> dict[str, str]:
    """Which name of an OpenFace table belongs to which path of the corpus (see `names.match`). Problem where none
    belongs to any.
    """
    matched = {match.path: name for name, match in names.match(table, paths).items() if match.path}
    if not matched:
        raise UserError(
            f"{place}: none of its {len(table)} names is a photograph of this corpus; use the photographs' paths as "
            "names."
        )
    return matched
