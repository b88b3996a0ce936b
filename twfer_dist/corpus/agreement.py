"""How far annotators agree beyond chance: Fleiss' kappa with an interval."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from twfer_dist.core import intervals
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.corpus.votes import Vote

_RESAMPLES = 1000
_LEAST_FIGURES = 20  # with fewer, the interval does not reach its nominal coverage


@dataclass(frozen=True)
class Agreement:
    kappa: float
    low: float | None  # of the 95 % interval; None with fewer than 20 figures
    high: float | None
    photographs: int  # with at least two annotators
    annotators: int  # of the photograph with the most


def agreement(votes: Sequence[Sequence[Vote]], figure_ids: Sequence[str]) -> Agreement | None:
    """Fleiss' kappa of the votes on photographs; None if fewer than two photographs have two annotators, or all votes
    name the same label.

    Fleiss, J. L. (1971), Measuring nominal scale agreement among many raters, Psychological Bulletin 76, 378-382,
    extended to a different number of annotators for each photograph: kappa = (P - C) / (1 - C), where P is the mean
    over photographs of the share of agreeing pairs of annotators, and C the sum of squares of the labels' mean shares.
    Photographs with one annotator do not count. An annotator who named k labels counts as naming each with probability
    1/k.

    The interval is `intervals.of_resamples` with 1000 bootstrap samples of whole figures, because photographs of one
    figure are not independent.
    """
    kept = [(cast, figure_id) for cast, figure_id in zip(votes, figure_ids, strict=True) if len(cast) > 1]
    if len(kept) < 2:
        return None
    of_photograph = np.array([_pairs_and_shares(cast) for cast, _ in kept])
    _, number = np.unique([figure_id for _, figure_id in kept], return_inverse=True)
    of_figure = np.zeros((number.max() + 1, of_photograph.shape[1]))
    np.add.at(of_figure, number, of_photograph)
    value = _kappa(of_figure.sum(0))
    if np.isnan(value):
        return None
    most = max(len(cast) for cast, _ in kept)
    if len(of_figure) < _LEAST_FIGURES:
        return Agreement(round(value, 6), None, None, len(kept), most)
    kinds, times = np.unique(of_figure.round(9), axis=0, return_counts=True)  # many figures have equal rows
    figures = len(of_figure)
    drawn = np.random.default_rng(0).multinomial(figures, times / figures, _RESAMPLES) @ kinds
    kappas = np.array([_kappa(sums) for sums in drawn])
    low, high = intervals.of_resamples(value, kappas, figures)
    return Agreement(round(value, 6), round(low, 6), round(min(1.0, high), 6), len(kept), most)


def _pairs_and_shares(cast: Sequence[Vote]) -> np.ndarray:
    """1, the share of agreeing pairs of annotators, and the share of each label."""
    weights = np.zeros((len(cast), len(EXPRESSIONS)))
    for row, labels in zip(weights, cast, strict=True):
        row[[label - 1 for label in labels]] = 1 / len(labels)
    total = weights.sum(0)
    pairs = (total @ total - (weights * weights).sum()) / (len(cast) * (len(cast) - 1))
    return np.concatenate([[1.0, pairs], total / len(cast)])


def _kappa(sums: np.ndarray) -> float:
    agreeing, shares = sums[1] / sums[0], sums[2:] / sums[0]
    by_chance = float(shares @ shares)
    return float((agreeing - by_chance) / (1 - by_chance)) if by_chance < 1 - 1e-12 else float("nan")
