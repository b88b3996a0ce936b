"""How large a difference is, not only whether there is one: effect sizes with 95 % intervals, and their size in words.

Figures are the units throughout: the faces of one figure are averaged, or count as the fewer independent faces that
they are worth.
"""

from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from twfer_dist.core.intervals import design_effect
from twfer_dist.core.language import mark

COHEN = ((0.5, mark("large")), (0.3, mark("medium")), (0.1, mark("small")))
"""Cohen (1988): w, the root of the mean squared contingency, from which an association counts as so large."""

VARGHA = ((0.71, mark("large")), (0.64, mark("medium")), (0.56, mark("small")))
"""Vargha and Delaney (2000): the share of pairs from which one group counts as so much above another."""

_NEXT = 1e-9

NEGLIGIBLE = mark("negligible")
"""Below the smallest size of either convention."""


@dataclass(frozen=True)
class Effect:
    """An effect size with its interval, and the words for the size of it and of the interval's two ends by a named
    convention.
    """

    value: float
    low: float
    high: float
    size: str
    least: str
    most: str


def cramers_v(table: np.ndarray) -> Effect | None:
    """How strongly the answer depends on the group: 0 where the groups are alike, 1 where the group tells the answer.

    table: [groups, figures, answers] faces; no group is empty. Cramér's V with Bergsma's (2013) correction, because
    the plain V of a small sample is above 0 even if the groups are alike. Faces of one figure count as what they are
    worth (first-order correction of Rao and Scott 1984). The interval inverts the non-central chi-squared distribution
    (Smithson 2003); a statistic below its expectation counts as that for the upper end. In simulations of 2 to 5 groups
    of 6 to 300 figures, 300 draws each, it covers the true V in 93 to 100 %.
    None with a single group or answer, or where the sample is too small for the correction.
    """
    counts = table.sum(1).astype(float)
    counts = counts[:, counts.sum(0) > 0]
    rows, columns = counts.shape
    worth = float(counts.sum()) / design_effect(table)
    if rows < 2 or columns < 2 or worth <= 2:
        return None
    expected = counts.sum(1, keepdims=True) * counts.sum(0, keepdims=True) / counts.sum()
    squared = float(((counts - expected) ** 2 / expected).sum() / counts.sum())
    degrees = (rows - 1) * (columns - 1)
    most = min(side - 1 - (side - 1) ** 2 / (worth - 1) for side in (rows, columns))
    if most <= 0:
        return None
    phi = max(0.0, squared - degrees / (worth - 1))
    low, high = (noncentrality / worth for noncentrality in _noncentralities(worth * squared, degrees))
    contingencies = (phi, min(low, phi), max(high, phi))
    size, least, most_size = (size_of(float(np.sqrt(contingency)), COHEN) for contingency in contingencies)
    value, low, high = (min(1.0, float(np.sqrt(contingency / most))) for contingency in contingencies)
    return Effect(value, low, high, size, least, most_size)


def _noncentralities(observed: float, degrees: int) -> tuple[float, float]:
    """The 95 % interval of the non-centrality of a chi-squared statistic."""

    def at(probability: float, statistic: float) -> float:
        def excess(noncentrality: float) -> float:
            return float(stats.ncx2.cdf(statistic, degrees, noncentrality)) - probability

        if excess(0.0) <= 0:
            return 0.0
        return float(optimize.brentq(excess, 0.0, 4 * statistic + 100))

    return at(0.975, observed), at(0.025, max(observed, degrees))


def superiority(first: np.ndarray, second: np.ndarray, comparisons: int = 1) -> Effect:
    """In what share of pairs, one figure of each group, the first one's value is higher; ties count half.

    first, second: (figures,) values. 0.5 where neither group is above the other; Cliff's (1993) delta is twice the
    distance from there. The interval is Newcombe's (2006) fifth, with Bonferroni's correction where this is one of
    several `comparisons`. In simulations of groups of 6 to 60 figures it covers the true share in 94 to 97 % of 600
    draws.
    """
    order = np.sign(first[:, None] - second[None])
    value = float((order.mean() + 1) / 2)
    m, n = len(first), len(second)
    z = float(stats.norm.ppf(1 - 0.025 / comparisons))

    def excess(theta: float) -> float:
        spread = 1 + ((m + n) / 2 - 1) * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        return (value - theta) ** 2 - z * z * theta * (1 - theta) * spread / (m * n)

    # Where the groups do not overlap, the end of the interval is the other root.
    low = 0.0 if value == 0 else float(optimize.brentq(excess, 0.0, min(value, 1 - _NEXT)))
    high = 1.0 if value == 1 else float(optimize.brentq(excess, max(value, _NEXT), 1.0))
    least = 0.5 if low < 0.5 < high else min(max(end, 1 - end) for end in (low, high))
    distances = (max(value, 1 - value), least, max(high, 1 - low))
    return Effect(value, low, high, *(size_of(distance, VARGHA) for distance in distances))


def mean_difference(first: np.ndarray, second: np.ndarray, comparisons: int = 1) -> tuple[float, float] | None:
    """Welch's interval of the difference of two means, over figures; None where a group has one figure or neither
    varies. first, second: (figures,). comparisons: as in `superiority`.
    """
    if min(len(first), len(second)) < 2 or not (np.ptp(first) or np.ptp(second)):
        return None
    welch = stats.ttest_ind(first, second, equal_var=False).confidence_interval(1 - 0.05 / comparisons)
    return float(welch.low), float(welch.high)


def size_of(value: float, convention: tuple[tuple[float, str], ...]) -> str:
    """The word for an effect size by a convention."""
    return next((word for least, word in convention if value >= least), NEGLIGIBLE)
