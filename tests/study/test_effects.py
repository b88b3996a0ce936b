"""Effect sizes, against hand-computed values and scipy's."""

import numpy as np
import pytest
from scipy import stats
from scipy.stats.contingency import association

from twfer_dist.study.effects import NEGLIGIBLE, Effect, cramers_v, mean_difference, superiority


def one_face_a_figure(counts: list[list[int]]) -> np.ndarray:
    """[groups, figures, answers] faces of this table of groups and answers: each face of another figure."""
    figures = np.zeros((len(counts), sum(map(sum, counts)), len(counts[0])), np.int64)
    number = 0
    for group, row in enumerate(counts):
        for answer, n in enumerate(row):
            figures[group, np.arange(number, number + n), answer] = 1
            number += n
    return figures


def v_of(table: np.ndarray) -> Effect:
    found = cramers_v(table)
    assert found
    return found


def test_cramers_v_with_bergsmas_correction_by_hand() -> None:
    """Of 40 and 60 faces, 30 and 20 are neutral: phi squared is 1/6, corrected (1/6 - 1/99) / (1 - 1/99)."""
    found = v_of(one_face_a_figure([[30, 10], [20, 40]]))
    assert found.value == pytest.approx(np.sqrt((1 / 6 - 1 / 99) / (1 - 1 / 99)))
    assert association([[30, 10], [20, 40]]) == pytest.approx(np.sqrt(1 / 6))
    assert found.size == "medium" and found.low < 0.25 and 0.55 < found.high < 0.62


def test_the_interval_of_v_inverts_the_statistics_distribution() -> None:
    counts = [[30, 10, 8], [20, 40, 9]]
    found = v_of(one_face_a_figure(counts))
    observed = stats.chi2_contingency(counts, correction=False).statistic
    most = 1 - 1 / (np.sum(counts) - 1)
    for end, probability in ((found.low, 0.975), (found.high, 0.025)):
        assert stats.ncx2.cdf(observed, 2, end**2 * most * np.sum(counts)) == pytest.approx(probability, abs=1e-6)


def test_v_of_equal_groups_is_zero_with_an_interval() -> None:
    found = v_of(one_face_a_figure([[10, 10], [10, 10]]))
    assert found.value == found.low == 0 and 0.2 < found.high < 0.6 and found.size == NEGLIGIBLE


def test_v_counts_faces_of_one_figure_as_what_they_are_worth() -> None:
    """Five equal faces of each figure are worth one."""
    once = one_face_a_figure([[30, 10], [20, 40]])
    assert v_of(5 * once).low == pytest.approx(v_of(once).low)
    assert v_of(5 * once).value == pytest.approx(v_of(once).value)


@pytest.mark.parametrize("counts", [[[3, 4]], [[3, 0], [4, 0]], [[1, 0], [0, 1]]])
def test_no_v_where_nothing_can_be_compared(counts: list[list[int]]) -> None:
    assert cramers_v(one_face_a_figure(counts)) is None


def test_superiority_is_the_share_of_pairs() -> None:
    first, second = np.array([1.0, 2, 3, 4]), np.array([0.0, 2, 2])
    found = superiority(first, second)
    assert found.value == pytest.approx(stats.mannwhitneyu(first, second).statistic / 12) == (1 + 2 + 3 + 3) / 12
    assert found.low < found.value < found.high and found.size == "large"
    assert superiority(second, first).low == pytest.approx(1 - found.high)


def test_groups_that_do_not_overlap_are_not_certain_to_do_so() -> None:
    """Newcombe's fifth interval, solved by hand for two figures each: all four pairs are in favour of the first."""
    found = superiority(np.array([3.0, 4]), np.array([1.0, 2]))
    spread = 1 + (1 - found.low) / (2 - found.low) + found.low / (1 + found.low)
    assert (1 - found.low) ** 2 == pytest.approx(1.95996**2 * found.low * (1 - found.low) * spread / 4, abs=1e-5)
    assert found.high == found.value == 1 and 0.2 < found.low < 0.5


def test_an_interval_is_wider_where_groups_were_chosen() -> None:
    random = np.random.default_rng(0)
    first, second = random.normal(1, 1, 12), random.normal(0, 1, 20)
    assert superiority(first, second, 10).low < superiority(first, second).low
    alone, chosen = mean_difference(first, second), mean_difference(first, second, 10)
    expected = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    assert alone == pytest.approx((expected.low, expected.high))
    assert chosen and alone and chosen[0] < alone[0]


def test_one_figure_has_no_interval_of_its_mean() -> None:
    assert mean_difference(np.array([1.0]), np.array([1.0, 2])) is None
