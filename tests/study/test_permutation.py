"""The permutation test over figures, adjusted for testing several quantities."""

import numpy as np

from twfer_dist.study.permutation import MOST_TESTED, adjusted_p

GROUP = np.repeat([0, 1], 10)


def test_equal_groups_seldom_differ_in_any_quantity() -> None:
    random = np.random.default_rng(0)
    shared = [random.normal(size=(20, 1)) for _ in range(60)]
    smallest = [adjusted_p(random.normal(size=(20, 17)) + own, GROUP).min() for own in shared]  # correlated units
    assert np.mean(np.array(smallest) < 0.05) <= 0.12


def test_a_difference_in_one_quantity_is_seen() -> None:
    values = np.random.default_rng(0).normal(size=(20, 17))
    values[:10, 3] += 3
    p = adjusted_p(values, GROUP)
    assert p[3] < 0.01 and (np.delete(p, 3) > 0.05).all()


def test_a_single_quantity_has_the_exact_p() -> None:
    p = adjusted_p(np.array([[0.0], [0.1], [1.0], [1.1]]), np.array([0, 0, 1, 1]))
    assert abs(p[0] - 2 / 6) < 0.05  # two of the six ways to deal four figures


def test_large_groups_are_sampled_and_keep_their_difference() -> None:
    random = np.random.default_rng(0)
    group = np.repeat([0, 1], [20 * MOST_TESTED, 5])
    values = random.normal(size=(len(group), 2)) + np.outer(group, [4, 0])
    p = adjusted_p(values, group)
    assert p[0] == 0.001 and p[1] > 0.05


def test_what_does_not_vary_has_no_p() -> None:
    assert np.isnan(adjusted_p(np.ones((20, 2)), GROUP)).all()
