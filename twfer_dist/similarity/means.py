"""Mean pairwise similarity within and between groups of faces, with bootstrap intervals over figures.

For unit vectors x_i the sum of all pairwise cosines is a square: 2 sum_{i<j} x_i.x_j = |sum x_i|^2 - sum |x_i|^2. So no
pair is ever formed: with s_f the sum of the vectors of figure f, the pairs of different figures within a group sum to
(|sum_f s_f|^2 - sum_f |s_f|^2) / 2, and those between groups a and b to S_a.S_b - sum_f s_fa.s_fb. The same sums with
bootstrap weights give each resample. All of it is exact, and grows with the number of faces, not with its square.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from twfer_dist.core import intervals

RESAMPLES = 1000
WITHIN, BETWEEN, SAME_FIGURE, DIFFERENCE = "within", "between", "same figure", "difference"
"""The measures, as in the column `measure` of tables.SIMILARITIES."""

_CHUNK_VALUES = 1 << 24  # of the weights and of the resampled sums that are in memory at a time
_LEAST_FIGURES = 3
"""Fewer figures have no interval."""


@dataclass(frozen=True)
class Similarity:
    """The mean similarity (or the difference of two) of `pairs` pairs of faces, with its 95 % interval."""

    measure: str
    first: str
    second: str
    mean: float
    low: float | None
    high: float | None
    pairs: int
    faces: int
    figures: int


@dataclass(frozen=True)
class _Group:
    """The faces of a group summed by figure: F figures, D features."""

    name: str
    figures: np.ndarray  # int (F,), sorted: the numbers of the figures
    vectors: np.ndarray  # float64 (F, D): s_f
    counts: np.ndarray  # float64 (F,): the number of faces

    @property
    def faces(self) -> int:
        return int(self.counts.sum())


def similarities(
    vectors: np.ndarray, figures: Sequence[str] | np.ndarray, groups: Sequence[str] | np.ndarray, *, seed: int = 0
) -> list[Similarity]:
    """All measures of N faces: within each group, of the pictures of one figure, between each two groups, and within
    minus between.

    vectors: float32 (N, D), each of length 1. figures, groups: str (N,). Only pairs of different figures count, except
    in SAME_FIGURE. Intervals are `intervals.of_resamples` of RESAMPLES bootstrap samples, in which the figures of each
    group are drawn with replacement; None where a group has fewer than three figures. Groups are in the order of their
    names; one without a pair has no row.
    """
    figure_names, figure = np.unique(np.asarray(figures, np.str_), return_inverse=True)
    named = np.asarray(groups, np.str_)
    summed = [_summed(str(name), vectors[named == name], figure[named == name]) for name in np.unique(named)]
    exact = _means(summed, np.ones((1, len(figure_names))))
    resampled = _resampled(summed, len(figure_names), seed)

    def row(measure: str, a: int, b: int, less: tuple[int, int] | None = None) -> Similarity:
        """The mean of groups a and b; `less` that of two others."""
        mean, samples = exact[a, b][0][0], resampled[a, b]
        if less:
            mean, samples, a, b = mean - exact[less][0][0], samples - resampled[less], *less
        both = np.union1d(summed[a].figures, summed[b].figures)
        fewest = min(len(summed[a].figures), len(summed[b].figures))
        faces = summed[a].faces + (summed[b].faces if a != b else 0)
        limits = _limits(mean, samples, len(both), fewest)
        return Similarity(
            measure, summed[a].name, summed[b].name, round(mean, 6), *limits, int(exact[a, b][1][0]), faces, len(both)
        )

    has = {pair for pair, (_, pairs) in exact.items() if pairs[0]}
    rows = [row(WITHIN, a, a) for a in range(len(summed)) if (a, a) in has]
    rows += [found for number, group in enumerate(summed) if (found := _same_figure(group, (seed, number)))]
    for a, b in sorted(pair for pair in has if pair[0] < pair[1]):
        rows.append(row(BETWEEN, a, b))
        if (a, a) in has:
            rows.append(row(DIFFERENCE, a, a, less=(a, b)))
        if (b, b) in has:
            rows.append(_turned(row(DIFFERENCE, b, b, less=(a, b))))
    return rows


def _turned(row: Similarity) -> Similarity:
    return replace(row, first=row.second, second=row.first)


def _limits(mean: float, samples: np.ndarray, figures: int, fewest: int) -> tuple[float | None, float | None]:
    """The 95 % interval, None where a group has too few figures."""
    if fewest < _LEAST_FIGURES:
        return None, None
    low, high = intervals.of_resamples(mean, samples, figures)
    return round(low, 6), round(high, 6)


def _summed(name: str, vectors: np.ndarray, figure: np.ndarray) -> _Group:
    order = np.argsort(figure, kind="stable")
    figures, first, counts = np.unique(figure[order], return_index=True, return_counts=True)
    sums = np.add.reduceat(vectors[order].astype(np.float64), first)
    return _Group(name, figures, sums, counts.astype(np.float64))


def _means(groups: Sequence[_Group], weights: np.ndarray) -> dict[tuple[int, int], tuple[np.ndarray, np.ndarray]]:
    """The mean similarity of the pairs of different figures of groups a <= b, and their number: float64 (B,) each.

    weights: float64 (B, all figures), how often each is drawn. Two draws of one figure make no pair. NaN without pairs.
    """
    totals = [weights[:, group.figures] @ group.vectors for group in groups]
    numbers = [weights[:, group.figures] @ group.counts for group in groups]
    found = {}
    for a, one in enumerate(groups):
        for b, other in enumerate(groups[a:], a):
            shared, mine, theirs = np.intersect1d(one.figures, other.figures, True, return_indices=True)
            twice = weights[:, shared] ** 2
            own = np.einsum("fd,fd->f", one.vectors[mine], other.vectors[theirs])
            value = np.einsum("bd,bd->b", totals[a], totals[b]) - twice @ own
            pairs = np.rint(numbers[a] * numbers[b] - twice @ (one.counts[mine] * other.counts[theirs]))
            mean = np.divide(value, pairs, out=np.full(len(value), np.nan), where=pairs > 0)
            found[a, b] = mean, pairs / 2 if a == b else pairs
    return found


def _resampled(groups: Sequence[_Group], figures: int, seed: int) -> dict[tuple[int, int], np.ndarray]:
    """The means of RESAMPLES bootstrap samples, float64 (RESAMPLES,), of each two groups.

    A figure is drawn with those of the first group that it is in.
    """
    rng = np.random.default_rng(seed)
    home = np.zeros(figures, np.int64)
    for number, group in reversed(list(enumerate(groups))):
        home[group.figures] = number
    at_once = int(np.clip(_CHUNK_VALUES // max(1, figures), 1, RESAMPLES))
    pieces: dict[tuple[int, int], list[np.ndarray]] = {}
    for start in range(0, RESAMPLES, at_once):
        weights = np.zeros((min(at_once, RESAMPLES - start), figures))
        for number in np.unique(home):
            mine = np.flatnonzero(home == number)
            weights[:, mine] = _draws(rng, len(mine), len(weights))
        for pair, (mean, _) in _means(groups, weights).items():
            pieces.setdefault(pair, []).append(mean)
    return {pair: np.concatenate(means) for pair, means in pieces.items()}


def _draws(rng: np.random.Generator, number: int, samples: int) -> np.ndarray:
    """How often each of `number` figures is in each of `samples` draws of as many with replacement."""
    return rng.multinomial(number, np.full(number, 1 / number), samples)


def _same_figure(group: _Group, seed: tuple[int, int]) -> Similarity | None:
    """The mean similarity of the pairs of pictures of one figure; None where no figure has several."""
    several = group.counts > 1
    if not several.any():
        return None
    counts, vectors = group.counts[several], group.vectors[several]
    pairs = counts * (counts - 1) / 2
    total = ((vectors**2).sum(1) - counts) / 2
    drawn = _draws(np.random.default_rng(seed), len(counts), RESAMPLES)
    mean = float(total.sum() / pairs.sum())
    limits = _limits(mean, (drawn @ total) / (drawn @ pairs), len(counts), len(counts))
    faces, name = int(counts.sum()), group.name
    return Similarity(SAME_FIGURE, name, name, round(mean, 6), *limits, int(pairs.sum()), faces, len(counts))
