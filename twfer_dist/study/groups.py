"""Which expressions the faces of each group show: by posture, by material, by any column of the manifest."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twfer_dist.core.intervals import as_dict, share, simultaneous
from twfer_dist.core.status import OK
from twfer_dist.core.taxonomy import EXPRESSIONS, POSTURES
from twfer_dist.recognition.calibration import Confusion
from twfer_dist.study.metrics import GROUP, figure_codes
from twfer_dist.study.shares import corrected

SMALL = 30
"""Below this many figures the shares of a group are marked as a small sample."""

REGROUPINGS = 999
"""Random regroupings of the figures in the test of difference; its smallest p is 1 in 1,000."""

MOST_VALUES = 20
LEAST_FIGURES = 3
"""A column with more values than MOST_VALUES, or with fewer than LEAST_FIGURES figures for each value, names things
rather than grouping them: it is compared only if a person names it, and the report says so.
"""

MOST_CODES, MOST_DIGITS = 8, 2
"""Whole numbers with at most this many values and digits may be codes (pit 1 to 3); other numbers are measurements,
years or ids.
"""

MOST_NAMED = 100
"""How many values a column that a person names may have."""

LEVEL = 0.05
"""The chance of calling groups different that are not, over all grouping columns together (Bonferroni)."""


@dataclass(frozen=True)
class Values:
    """The values of a grouping column, in the order in which they are shown."""

    names: list[str]
    measured: bool  # whether they are measurements, years or ids
    compared: bool  # whether faces are compared by them


def examine(column: str, values: pa.ChunkedArray, figures: int, *, named: bool) -> Values:
    """The values of a column (strings without nulls), and whether they are few enough to compare `figures` figures by.

    named: whether a person named the column.
    """
    order = {posture: k for k, posture in enumerate(POSTURES)} if column == "posture" else {}
    names = sorted(pc.unique(values).to_pylist(), key=lambda v: (order.get(v, len(order)), v))
    measured = not named and _are_measurements(names)
    most = MOST_NAMED if named else min(MOST_VALUES, max(2, figures // LEAST_FIGURES))
    return Values(names, measured, 1 < len(names) <= most and not measured)


def distributions(
    counts: pa.Table, confusion: Confusion | None = None, named: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """The expressions by each grouping column, from one model's count table over photographs.

    A JSON-like entry for each column: column, distinct (how many values), measured (whether they are measurements),
    ungrouped (faces without a value), values (see `overall`) and test (see `difference`); the last two are empty for a
    column that groups nothing. named: the columns that a person named, which are compared whatever they hold.
    """
    columns = [name.removeprefix(GROUP) for name in counts.column_names if name.startswith(GROUP)]
    entries = [_distribution(name, counts[GROUP + name], counts, confusion, name in named) for name in columns]
    if pc.count_distinct(counts["corpus"]).as_py() > 1:
        entries.insert(0, _distribution("corpus", counts["corpus"], counts, confusion, True))
    return [entry for entry in entries if entry["distinct"] > 1]


def overall(counts: pa.Table, confusion: Confusion | None = None) -> dict[str, Any]:
    """All faces together: value, faces, answered, accepted, figures, small, and for each of the seven expressions:

    k, n, share: the answers, of all faces that have one; accepted: how many of the k the model accepts. Accepted
    answers alone would be biased towards the expressions that the model is most easily sure of. corrected, low, high:
    the share of faces that show the expression, corrected for the model's errors, with simultaneous 95 % confidence
    intervals for the seven; None without a `confusion`.
    labelled: the share by people's labels, of the faces that have one; empty where none has.
    """
    return _group("all", counts, confusion)


def _distribution(
    column: str, values: pa.ChunkedArray, counts: pa.Table, confusion: Confusion | None, named: bool
) -> dict[str, Any]:
    grouped = pc.is_valid(values)
    ungrouped = int(pc.sum(counts["n"].filter(pc.invert(grouped))).as_py() or 0)
    counts, values = counts.filter(grouped), values.filter(grouped)
    found = examine(column, values, figure_codes(counts)[1], named=named)
    entry: dict[str, Any] = {
        "column": column,
        "distinct": len(found.names),
        "measured": found.measured,
        "ungrouped": ungrouped,
        "values": [],
        "test": None,
    }
    if found.compared:
        entry["values"] = [_group(name, counts.filter(pc.equal(values, name)), confusion) for name in found.names]
        entry["test"] = difference(counts, values)
    return entry


def _are_measurements(names: Sequence[str]) -> bool:
    """Whether these values are numbers that measure, date or identify things rather than codes of groups."""
    try:
        numbers = [float(name.replace(",", ".")) for name in names]
    except ValueError:
        return False
    whole = all(number.is_integer() and abs(number) < 10**MOST_DIGITS for number in numbers)
    return not whole or len(names) > MOST_CODES


def _group(value: str, counts: pa.Table, confusion: Confusion | None) -> dict[str, Any]:
    rows = counts.filter(pc.is_valid(counts["predicted"]))
    answers, labels = _by_figure(rows, "predicted"), _by_figure(counts.filter(pc.is_valid(counts["label"])), "label")
    accepted = _by_figure(rows.filter(pc.equal(rows["status"], OK)), "predicted").sum(0)
    estimate = corrected(answers, confusion) if confusion and len(rows) else None
    z = simultaneous(len(EXPRESSIONS))
    expressions: list[dict[str, Any]] = []
    for c, name in enumerate(EXPRESSIONS):
        entry: dict[str, Any] = {
            "expression": name,
            **as_dict(share(answers[:, c], answers.sum(1))),
            "accepted": int(accepted[c]),
            "corrected": None,
            "low": None,
            "high": None,
        }
        if estimate:
            values = {"corrected": estimate.share[c], "low": estimate.low[c], "high": estimate.high[c]}
            entry |= {key: round(float(number), 6) for key, number in values.items()}
        entry["labelled"] = as_dict(share(labels[:, c], labels.sum(1), z)) if len(labels) else {}
        expressions.append(entry)
    return {
        "value": value,
        "faces": int(pc.sum(counts["n"]).as_py() or 0),
        "answered": int(answers.sum()),
        "accepted": int(accepted.sum()),
        "figures": len(answers),
        "small": len(answers) < SMALL,
        "expressions": expressions,
    }


def _by_figure(rows: pa.Table, column: str) -> np.ndarray:
    """[figures, 7]: faces of each figure by the expression in a column of labels."""
    figure, figures = figure_codes(rows)
    faces = np.zeros((figures, len(EXPRESSIONS)), np.int64)
    np.add.at(faces, (figure, rows[column].to_numpy().astype(np.int64) - 1), rows["n"].to_numpy())
    return faces


def difference(counts: pa.Table, values: pa.ChunkedArray) -> dict[str, Any] | None:
    """Whether the groups differ by more than chance: a permutation test of Pearson's chi-squared over whole figures.

    The table of group by answered expression, of all faces with an answer, is compared with REGROUPINGS tables in which
    the figures are dealt to the groups at random, so that many faces of one figure count once. `as_large` of them
    differ at least as much; p = (as_large + 1) / (regroupings + 1). None with only one group or one expression.
    """
    answered = pc.is_valid(counts["predicted"])
    rows, values = counts.filter(answered), values.filter(answered)
    group = pc.rank(values, tiebreaker="dense").to_numpy().astype(np.int64) - 1
    figure_id, _ = figure_codes(rows)
    units, unit = np.unique(np.stack([group, figure_id], 1), axis=0, return_inverse=True)
    table = np.zeros((len(units), len(EXPRESSIONS)), np.int64)
    np.add.at(table, (unit.ravel(), rows["predicted"].to_numpy().astype(np.int64) - 1), rows["n"].to_numpy())
    table = table[:, table.sum(0) > 0]
    sizes = np.bincount(units[:, 0])
    if len(sizes) < 2 or table.shape[1] < 2:
        return None
    random = np.random.default_rng(0)
    # Figures with equal rows are interchangeable, so dealing how many of each kind a group gets is dealing the figures.
    kinds, number = np.unique(table, axis=0, return_counts=True)
    observed = _chi_squared(np.add.reduceat(table, np.cumsum(sizes) - sizes))
    dealt = (_chi_squared(_deal(number, sizes, random) @ kinds) for _ in range(REGROUPINGS))
    as_large = sum(chi_squared >= observed - 1e-9 for chi_squared in dealt)
    return {
        "chi_squared": round(observed, 4),
        "as_large": as_large,
        "regroupings": REGROUPINGS,
        "p": (as_large + 1) / (REGROUPINGS + 1),
        "figures": len(units),
    }


def _deal(number: np.ndarray, sizes: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """[groups, kinds]: `number` figures of each kind, dealt at random into groups of `sizes` figures."""
    left, dealt = number.copy(), np.empty((len(sizes), len(number)), np.int64)
    for group, size in enumerate(sizes):
        dealt[group] = random.multivariate_hypergeometric(left, size, method="marginals")
        left -= dealt[group]
    return dealt


def _chi_squared(table: np.ndarray) -> float:
    """Pearson's statistic of a [groups, expressions] table of counts with no empty row or column."""
    expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / table.sum()
    return float(((table - expected) ** 2 / expected).sum())
