"""Whether groups differ in any of several quantities by more than chance: a permutation test over whole figures."""

import numpy as np

from twfer_dist.study.groups import REGROUPINGS

MOST_TESTED = 500
"""Figures of each group that take part, drawn at random. So many show a difference of a tenth of a unit, which is less
than light and view alone make, and the test takes a second whether there are a thousand figures or a million.
"""

_EQUAL = 1e-9


def adjusted_p(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    """(quantities,) p-values of the hypothesis that all groups are alike in a quantity, adjusted for testing several:
    the chance that equal groups have any p below 0.05 is 0.05. NaN for a quantity that does not vary.

    values: (figures, quantities); group: (figures,) int64 numbers from 0, ascending, each with a figure. The statistic
    is eta squared, the share of the variance that lies between groups. Westfall and Young's (1993) step-down maxT:
    each quantity is compared with the largest statistic of a regrouping among those that differ no more than it does,
    so that correlated quantities (as Action Units are) cost less than under Holm's or Bonferroni's correction.
    """
    random = np.random.default_rng(0)
    kept = np.concatenate([_drawn(np.flatnonzero(group == g), random) for g in range(int(group.max()) + 1)])
    values, group = values[kept] - values[kept].mean(0), group[kept]
    total = (values**2).sum(0)
    varies = total > _EQUAL
    p = np.full(values.shape[1], np.nan)
    scaled = values[:, varies] / np.sqrt(total[varies])
    sizes = np.bincount(group)
    if len(sizes) < 2 or not varies.any():
        return p
    observed = _eta_squared(scaled, sizes)
    regrouped = np.stack([_eta_squared(random.permutation(scaled), sizes) for _ in range(REGROUPINGS)])
    order = np.argsort(-observed, kind="stable")
    largest = np.maximum.accumulate(regrouped[:, order[::-1]], axis=1)[:, ::-1]
    as_large = (largest >= observed[order] - _EQUAL).sum(0)
    adjusted = np.empty(len(order))
    adjusted[order] = np.maximum.accumulate((as_large + 1) / (REGROUPINGS + 1))
    p[varies] = adjusted
    return p


def _drawn(figures: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """At most MOST_TESTED of the figures of a group, in their order."""
    return np.sort(random.choice(figures, MOST_TESTED, replace=False)) if len(figures) > MOST_TESTED else figures


def _eta_squared(scaled: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The share of each quantity's variance that lies between groups of consecutive rows. scaled: (figures, quantities)
    with mean 0 and sum of squares 1.
    """
    sums = np.add.reduceat(scaled, np.cumsum(sizes) - sizes)
    return (sums**2 / sizes[:, None]).sum(0)
