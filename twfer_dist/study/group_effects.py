"""How large the differences between groups are: effect sizes of each grouping column, and the shares of each pair."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import stats

from twfer_dist.core.intervals import difference, share
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.study.effects import Effect, cramers_v
from twfer_dist.study.groups import SMALL
from twfer_dist.study.metrics import GROUP, figure_codes

MOST_PAIRS = 10
"""With more pairs of groups than this (five groups), each group is compared with all others together."""

OTHERS = "all others"


@dataclass(frozen=True)
class Difference:
    """The share of one expression among the answers of a group, less that of another; -1 to 1."""

    expression: str
    first_k: int  # answers in the first group that name it, of first_n
    first_n: int
    second_k: int
    second_n: int
    difference: float
    low: float  # simultaneous with all differences of the column
    high: float

    @property
    def certain(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Pair:
    """Two groups, or a group and OTHERS."""

    first: str
    second: str
    expressions: list[Difference]


@dataclass(frozen=True)
class Coarse:
    """A group of so few figures that its shares move in large steps."""

    value: str
    figures: int
    step: float  # the share that one figure is, 0 to 1


@dataclass(frozen=True)
class ColumnEffect:
    """How far the answers of one model differ between the groups of a column."""

    model: str
    column: str
    association: Effect | None  # see effects.cramers_v
    pairs: list[Pair]
    coarse: list[Coarse]

    @property
    def largest(self) -> tuple[Pair, Difference] | None:
        """The largest difference, of those that are certain if any is; None without pairs."""
        every = [(pair, entry) for pair in self.pairs for entry in pair.expressions]
        return max(every, key=lambda found: (found[1].certain, abs(found[1].difference)), default=None)


def group_effects(counts: pa.Table, model: str | None, groups: Sequence[Mapping[str, Any]]) -> list[ColumnEffect]:
    """The effects of each column of `groups` (`groups.distributions`) that has a test, on the answers of one model.

    counts: the model's count table over photographs. The answers are not corrected for the model's errors: if it errs
    alike in all groups, a difference of answers understates that of the faces.
    """
    effects = []
    for entry in groups:
        if model and entry["test"]:
            values = counts[entry["column"] if entry["column"] == "corpus" else GROUP + entry["column"]]
            answered = pc.and_(pc.is_valid(counts["predicted"]), pc.is_valid(values))
            names = [group["value"] for group in entry["values"] if group["answered"]]
            rows = counts.filter(answered)
            effects.append(column_effect(model, entry["column"], rows, values.filter(answered), names))
    return effects


def column_effect(
    model: str, column: str, rows: pa.Table, values: pa.ChunkedArray, names: Sequence[str]
) -> ColumnEffect:
    """The effects of one column. rows: of a count table, those with an answer and a value. names: the groups, in order;
    each has a row.
    """
    figure, figures = figure_codes(rows)
    group = pc.index_in(values, pa.array(names, pa.string())).to_numpy().astype(np.int64)
    table = np.zeros((len(names), figures, len(EXPRESSIONS)), np.int64)
    np.add.at(table, (group, figure, rows["predicted"].to_numpy().astype(np.int64) - 1), rows["n"].to_numpy())
    sizes = (table.sum(2) > 0).sum(1)
    coarse = [Coarse(name, int(n), 1 / int(n)) for name, n in zip(names, sizes, strict=True) if n < SMALL]
    return ColumnEffect(model, column, cramers_v(table), _pairs(table, names), coarse)


def _pairs(table: np.ndarray, names: Sequence[str]) -> list[Pair]:
    """table: [groups, figures, 7] faces."""
    compared: list[tuple[str, str, np.ndarray, np.ndarray]] = [
        (names[i], names[j], table[i], table[j]) for i, j in combinations(range(len(names)), 2)
    ]
    if len(compared) > MOST_PAIRS:
        whole = table.sum(0)
        compared = [(name, OTHERS, own, whole - own) for name, own in zip(names, table, strict=True)]
    z = float(stats.norm.ppf(1 - 0.025 / (len(EXPRESSIONS) * max(1, len(compared)))))
    return [Pair(first, second, _differences(one, other, z)) for first, second, one, other in compared]


def _differences(one: np.ndarray, other: np.ndarray, z: float) -> list[Difference]:
    """one, other: [figures, 7] faces of two groups."""
    found = []
    for k, expression in enumerate(EXPRESSIONS):
        first, second = (share(faces[:, k], faces.sum(1), z) for faces in (one, other))
        low, high = difference(first, second)
        value = (first.value or 0.0) - (second.value or 0.0)
        numbers = (round(number, 6) for number in (value, low, high))
        found.append(Difference(expression, first.k, first.n, second.k, second.n, *numbers))
    return found
