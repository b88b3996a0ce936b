"""Which expressions the faces of each group show: by posture, by material, by any column of the manifest."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twfer_dist.intervals import as_dict, share, simultaneous
from twfer_dist.schema import OK
from twfer_dist.study.tables import GROUP, source_codes
from twfer_dist.taxonomy import EXPRESSIONS, POSTURES

SMALL = 30
"""Below so many sources (figures, photographs) in a group its shares are marked as a small sample."""

REGROUPINGS = 999
"""Random regroupings of the sources in the test of difference; its smallest p is 1 in 1,000."""

MOST_VALUES = 20
LEAST_SOURCES = 3
"""A column with more values than MOST_VALUES, or with fewer sources for each value than LEAST_SOURCES, names things rather than groups
them: it is left out unless it is asked for, and the report says so."""

MOST_CODES, MOST_DIGITS = 8, 2
"""Whole numbers of so few values and digits may be codes (pit 1 to 3); other numbers are measurements, years or ids."""

MOST_NAMED = 100
"""Values of a column that is asked for, at most."""


def distributions(counts: pa.Table, asked: Sequence[str] = ()) -> list[dict]:
    """The predicted expressions by each grouping column, of one model's count table over photographs.

    A JSON-like entry for each column: column, values [{value, faces, readable, sources, small, expressions: shares of the
    readable faces with 95 % intervals that hold together for the seven}], ungrouped (faces with no value), and `test`
    (see `difference`). A column that groups nothing (MOST_VALUES, `measured`) has `values` empty and `distinct` says how many there
    are. asked: columns that a person named; they are compared all the same.
    """
    columns = [name.removeprefix(GROUP) for name in counts.column_names if name.startswith(GROUP)]
    found = [_distribution(name, counts[GROUP + name], counts, name in asked) for name in columns]
    if pc.count_distinct(counts["corpus"]).as_py() > 1:
        found.insert(0, _distribution("corpus", counts["corpus"], counts, True))
    return [entry for entry in found if entry["distinct"] > 1]


def overall(counts: pa.Table) -> dict:
    """The same entry for all faces together: value, faces, readable, sources, small, expressions."""
    return _group("all", counts)


def _distribution(column: str, values: pa.ChunkedArray, counts: pa.Table, asked: bool) -> dict:
    held = pc.is_valid(values)
    ungrouped = int(pc.sum(counts["n"].filter(pc.invert(held))).as_py() or 0)
    counts, values = counts.filter(held), values.filter(held)
    order = {value: place for place, value in enumerate(POSTURES)} if column == "posture" else {}
    names = sorted(pc.unique(values).to_pylist(), key=lambda v: (order.get(v, len(order)), v))
    measured = not asked and _measured(names)
    entry = {"column": column, "distinct": len(names), "measured": measured, "ungrouped": ungrouped, "values": [], "test": None}
    most = MOST_NAMED if asked else min(MOST_VALUES, max(2, source_codes(counts)[1] // LEAST_SOURCES))
    if 1 < len(names) <= most and not measured:
        entry["values"] = [_group(name, counts.filter(pc.equal(values, name))) for name in names]
        entry["test"] = difference(counts, values)
    return entry


def _measured(names: Sequence[str]) -> bool:
    """Whether these values are numbers that measure, date or count things rather than stand for groups."""
    try:
        numbers = [float(name.replace(",", ".")) for name in names]
    except ValueError:
        return False
    whole = all(number.is_integer() and abs(number) < 10**MOST_DIGITS for number in numbers)
    return not whole or len(names) > MOST_CODES


def _readable(counts: pa.Table) -> pa.ChunkedArray:
    return pc.and_(pc.equal(counts["status"], OK), pc.is_valid(counts["predicted"]))


def _group(value: str, counts: pa.Table) -> dict:
    rows = counts.filter(_readable(counts))
    source, sources = source_codes(rows)
    by_source = np.zeros((sources, len(EXPRESSIONS)), np.int64)
    np.add.at(by_source, (source, rows["predicted"].to_numpy().astype(np.int64) - 1), rows["n"].to_numpy())
    total, z = by_source.sum(1), simultaneous(len(EXPRESSIONS))
    return {
        "value": value,
        "faces": int(pc.sum(counts["n"]).as_py() or 0),
        "readable": int(by_source.sum()),
        "sources": sources,
        "small": sources < SMALL,
        "expressions": [{"expression": name, **as_dict(share(by_source[:, c], total, z))} for c, name in enumerate(EXPRESSIONS)],
    }


def difference(counts: pa.Table, values: pa.ChunkedArray) -> dict | None:
    """Do the groups differ by more than chance? A permutation test of Pearson's chi-squared, over whole sources.

    The readable faces' table of group by predicted expression is compared with REGROUPINGS tables in which the sources
    were dealt to the groups at random, so that many faces of one figure count once. `as_large` of them differ at least as
    much; p = (as_large + 1) / (regroupings + 1). None where only one group or one expression is left.
    """
    readable = _readable(counts)
    rows, values = counts.filter(readable), values.filter(readable)
    group = pc.rank(values, tiebreaker="dense").to_numpy().astype(np.int64) - 1
    source, _ = source_codes(rows)
    units, unit = np.unique(np.stack([group, source], 1), axis=0, return_inverse=True)
    table = np.zeros((len(units), len(EXPRESSIONS)), np.int64)
    np.add.at(table, (unit.ravel(), rows["predicted"].to_numpy().astype(np.int64) - 1), rows["n"].to_numpy())
    table = table[:, table.sum(0) > 0]
    sizes = np.bincount(units[:, 0])
    if len(sizes) < 2 or table.shape[1] < 2:
        return None
    random = np.random.default_rng(0)
    # Sources with equal rows are interchangeable, so dealing how many of each kind a group gets is dealing the sources.
    kinds, number = np.unique(table, axis=0, return_counts=True)
    observed = _chi_squared(np.add.reduceat(table, np.cumsum(sizes) - sizes))
    as_large = sum(bool(_chi_squared(_deal(number, sizes, random) @ kinds) >= observed - 1e-9) for _ in range(REGROUPINGS))
    return {
        "chi_squared": round(observed, 4),
        "as_large": as_large,
        "regroupings": REGROUPINGS,
        "p": (as_large + 1) / (REGROUPINGS + 1),
        "sources": len(units),
    }


def _deal(number: np.ndarray, sizes: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """[groups, kinds]: `number` things of each kind dealt at random into groups of `sizes` things."""
    left, dealt = number.copy(), np.empty((len(sizes), len(number)), np.int64)
    for group, size in enumerate(sizes):
        dealt[group] = random.multivariate_hypergeometric(left, size, method="marginals")
        left -= dealt[group]
    return dealt


def _chi_squared(table: np.ndarray) -> float:
    """Pearson's statistic of a [groups, expressions] table of counts with no empty row or column."""
    expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / table.sum()
    return float(((table - expected) ** 2 / expected).sum())
