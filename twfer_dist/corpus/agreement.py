"""How far annotators agree beyond chance: Krippendorff's alpha for one to three labels each, with an interval."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import krippendorff
import numpy as np

from twfer_dist.core import intervals
from twfer_dist.core.language import mark
from twfer_dist.corpus.votes import Vote

LEAST_FIGURES = 20
"""With fewer, the interval does not reach its nominal coverage and is not given."""

_RESAMPLES = 1000
_WORDS = ((0.0, mark("no better than by chance")), (0.2, mark("only slightly")), (0.4, mark("somewhat")),
    (0.6, mark("moderately")), (0.8, mark("substantially")), (1.0, mark("almost perfectly")))  # fmt: skip


@dataclass(frozen=True)
class Agreement:
    """Krippendorff's alpha of the votes on some images: 1 is full agreement, 0 what chance gives."""

    alpha: float
    low: float | None  # of the 95 % interval; None with fewer than LEAST_FIGURES figures
    high: float | None
    images: int  # with at least two annotators
    figures: int
    annotators: int  # of the image with the most

    @property
    def words(self) -> str:
        """How well they agree, in the words of Landis and Koch (1977): an adverb."""
        return next(word for limit, word in _WORDS if self.alpha <= limit + 1e-9)

    @property
    def interval(self) -> str:
        if self.low is None:
            return "too few figures for an interval"
        return f"95 % interval {self.low:.2f} to {self.high:.2f}"


def distance(one: Vote, other: Vote) -> float:
    """How far two sets of labels differ, 0 to 1: the MASI distance.

    Passonneau, R. (2006), Measuring agreement on set-valued items (MASI) for semantic and pragmatic annotation, LREC:
    1 - J * M, where J is Jaccard's index (labels in common divided by labels of either) and M is 1 for equal sets, 2/3
    where one contains the other, 1/3 where they only overlap, and 0 otherwise. Between single labels it is the nominal
    distance: 0 where they are equal, else 1.
    """
    common = len(one & other)
    monotonicity = 3 if one == other else 2 if one <= other or other <= one else 1
    return 1 - common * monotonicity / (3 * len(one | other))


def agreement(votes: Sequence[Collection[Vote]], figures: Sequence[str]) -> Agreement | None:
    """Krippendorff's alpha of the votes on images; None if fewer than two images have two votes, or all votes are the
    same.

    Krippendorff, K. (2011), Computing Krippendorff's alpha-reliability, with `distance` as the metric, by the library
    krippendorff. An image may have any number of votes; one with a single vote does not count.

    votes: of each image; figures: the figure of each image. The interval is `intervals.of_resamples` with 1000
    bootstrap samples of whole figures, because images of one figure are not independent.
    """
    kept = [(cast, figure) for cast, figure in zip(votes, figures, strict=True) if len(cast) > 1]
    domain = sorted({vote for cast, _ in kept for vote in cast}, key=sorted)
    if len(kept) < 2 or len(domain) < 2:
        return None
    number = {vote: k for k, vote in enumerate(domain)}
    counts = np.zeros((len(kept), len(domain)), np.int64)
    for row, (cast, _) in zip(counts, kept, strict=True):
        np.add.at(row, [number[vote] for vote in cast], 1)
    metric = np.array([[distance(one, other) for other in domain] for one in domain])

    def distances(v1: Any, v2: Any, i1: np.ndarray, i2: np.ndarray, n_v: Any, dtype: Any = np.float64) -> np.ndarray:
        return metric[i1, i2].astype(dtype)

    value = float(krippendorff.alpha(value_counts=counts, level_of_measurement=distances))
    _, figure = np.unique([name for _, name in kept], return_inverse=True)
    of_figure = np.zeros((figure.max() + 1, 1 + len(domain)))
    np.add.at(of_figure, figure, _disagreement_and_counts(counts, metric))
    low, high = _interval(value, of_figure, metric) if len(of_figure) >= LEAST_FIGURES else (None, None)
    return Agreement(round(value, 6), low, high, len(kept), len(of_figure), max(len(cast) for cast, _ in kept))


def _disagreement_and_counts(counts: np.ndarray, metric: np.ndarray) -> np.ndarray:
    """(images, 1 + values): what each image adds to the observed disagreement, and its votes by value. Alpha is a
    function of the sums over images, which makes its resamples cheap.
    """
    observed = ((counts @ metric) * counts).sum(1) / (counts.sum(1) - 1)
    return np.column_stack([observed, counts])


def _interval(value: float, of_figure: np.ndarray, metric: np.ndarray) -> tuple[float, float]:
    figures = len(of_figure)
    kinds, times = np.unique(of_figure.round(9), axis=0, return_counts=True)  # many figures have equal rows
    drawn = np.random.default_rng(0).multinomial(figures, times / figures, _RESAMPLES) @ kinds
    observed, n = drawn[:, 0], drawn[:, 1:]
    expected = ((n @ metric) * n).sum(1) / (n.sum(1) - 1)
    alphas = 1 - np.divide(observed, expected, out=np.full(len(drawn), np.nan), where=expected > 0)
    low, high = intervals.of_resamples(value, alphas, figures)
    return round(low, 6), round(min(1.0, high), 6)
