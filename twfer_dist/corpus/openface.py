"""Action Units that someone measured with OpenFace, joined to photographs by file name."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from twfer_dist.corpus.files import read_csv
from twfer_dist.errors import Problem
from twfer_dist.taxonomy import ACTION_UNITS, MAX_INTENSITY

FILE = "openface.csv"  # read where it lies beside the photographs
NAMES = ("path", "name", "filename", "file")
MIN_CONFIDENCE = 0.5


def read_openface(place: str) -> dict[str, list[float] | None]:
    """The 17 Action Units (intensities 0 to 5, columns `AU01_r` ...) of each image that the table names.

    One row for each image, named by a column `path`, `name`, `filename` or `file`. None where OpenFace says that it did not
    succeed (`success` is 0, or `confidence` is under 0.5). Problem, with the line, where the table is not like this.
    """
    header, rows = read_csv(place)
    key = next((name for name in NAMES if name in header), None)
    if key is None:
        raise Problem(f"{place}, line 1: no column names the image; add one called path, name, filename or file.")
    if missing := [f"{unit}_r" for unit in ACTION_UNITS if f"{unit}_r" not in header]:
        raise Problem(f"{place}, line 1: there is no column {', '.join(missing)}; run OpenFace with -aus, and keep its columns.")
    found: dict[str, list[float] | None] = {}
    for line, row in rows:
        name = row[key].replace("\\", "/")
        if name in found:
            raise Problem(f"{place}, line {line}: {name} is there twice; keep the row of one face for each image.")
        try:
            trusted = float(row.get("success", 1)) != 0 and float(row.get("confidence", 1)) >= MIN_CONFIDENCE
            units = [float(row[f"{unit}_r"]) for unit in ACTION_UNITS] if trusted else []
        except ValueError as error:
            raise Problem(f"{place}, line {line}: {error}; correct the number or remove the line.") from None
        if not all(math.isfinite(u) and 0 <= u <= MAX_INTENSITY for u in units):
            raise Problem(f"{place}, line {line}: an intensity is not within 0 to 5; correct it or remove the line.")
        found[name] = units or None
    return found


def match_names(paths: Iterable[str], names: Mapping[str, list[float] | None], place: str) -> dict[str, str]:
    """Which name of an OpenFace table belongs to which path of the corpus: the same path, or the only one with the same stem.

    Problem where none belongs to any.
    """
    paths = list(paths)
    known = set(paths)
    stems = Counter(PurePosixPath(p).stem for p in paths)
    by_stem = {PurePosixPath(p).stem: p for p in paths}
    asked = Counter(PurePosixPath(n).stem for n in names)
    matched: dict[str, str] = {}
    for name in names:
        stem = PurePosixPath(name).stem
        if name in known:
            matched[name] = name
        elif stems[stem] == asked[stem] == 1:
            matched[by_stem[stem]] = name
    if not matched:
        raise Problem(f"{place}: none of its {len(names)} names is a photograph of this corpus; use the photographs' paths as names.")
    return matched
