"""Intervals of shares, and of means of shares."""

import numpy as np
import pytest
from scipy import stats

from twfer_dist.core.intervals import (
    balanced_accuracy,
    design_effect,
    effective_size,
    of_resamples,
    share,
    share_of,
    simultaneous,
    wilson,
)


def test_wilson_intervals_have_known_values() -> None:
    assert wilson(5, 6) == pytest.approx((0.436, 0.970), abs=5e-4)
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=5e-4)
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-4)  # Newcombe 1998, table I
    low, high = wilson(17, 58)
    exact = stats.binomtest(17, 58).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((exact.low, exact.high))
    assert wilson(0, 0) == (0.0, 1.0)


def test_hits_of_one_source_count_together() -> None:
    hits = np.array([True, True, False, True, False])
    assert share_of(hits, ["a", "a", "b", "c", "c"]) == share(np.array([2, 0, 1]), np.array([2, 1, 2]))
    assert share_of(np.zeros(0, bool), []).n == 0


def test_images_of_one_source_count_for_less() -> None:
    alone = share(np.array([1, 0, 1, 1, 1, 1]), np.ones(6, int))
    assert (alone.k, alone.n, alone.low, alone.high) == pytest.approx((5, 6, *wilson(5, 6)))
    alike = share(np.array([10, 0, 10, 10, 10, 10]), np.full(6, 10))  # ten equal images of each of six figures
    assert (alike.k, alike.n, alike.figures) == (50, 60, 6)
    assert (alike.low, alike.high) == pytest.approx(wilson(5, 6), abs=1e-9)
    assert effective_size(np.full(6, 10), np.full(6, 10)) == 6  # all right: nothing says that images of a figure differ
    mixed = effective_size(np.array([5, 6, 4, 5, 5, 5]), np.full(6, 10))
    assert mixed == 60  # figures alike: every image counts


def test_interval_by_figure_covers_the_truth() -> None:
    """Eight images of each of 40 figures, some figures easy and some hard: the truth is inside about 95 times in
    100.
    """
    random = np.random.default_rng(1)
    draws = [share(random.binomial(8, random.beta(0.6, 0.4, 40)), np.full(40, 8)) for _ in range(1000)]
    assert 0.925 <= np.mean([s.low <= 0.6 <= s.high for s in draws]) <= 0.975
    as_if_independent = [wilson(s.k, s.n) for s in draws]
    assert np.mean([low <= 0.6 <= high for low, high in as_if_independent]) < 0.75


def test_balanced_accuracy_weighs_expressions_alike() -> None:
    one = share(np.array([90]), np.array([100]))
    shares = [
        share(np.ones(90, int), np.ones(90, int)),
        share(np.array([1, 0]), np.array([1, 1])),
        share(np.array([]), np.array([])),
    ]
    mean = balanced_accuracy(shares)
    assert mean is not None and mean.value == pytest.approx(0.75) and (mean.classes, mean.n) == (2, 92)
    assert mean.low < 0.75 - 0.15 and mean.high <= 1
    single = balanced_accuracy([one])
    assert single is not None and (single.low, single.high) == pytest.approx((one.low, one.high))
    assert balanced_accuracy([]) is None
    assert simultaneous(7) == pytest.approx(2.690, abs=1e-3)


def test_design_effect_of_two_classes_is_that_of_a_share() -> None:
    k, n = np.array([10, 0, 9, 10, 2, 10]), np.full(6, 10)
    assert design_effect(np.stack([k, n - k], 1)[None]) == pytest.approx(n.sum() / effective_size(k, n))
    assert design_effect(np.array([[[10, 0], [10, 0]]])) == 10  # nothing varies
    assert design_effect(np.ones((1, 5, 1), int)) == 1


def test_interval_of_a_mean_from_resamples_is_students() -> None:
    random = np.random.default_rng(0)
    values = random.normal(3, 2, 12)
    means = values[random.integers(12, size=(20_000, 12))].mean(axis=1)
    expected = stats.t.interval(0.95, 11, values.mean(), stats.sem(values))
    assert of_resamples(float(values.mean()), means, 12) == pytest.approx(expected, abs=0.05)
