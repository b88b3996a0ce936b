"""Fleiss' kappa with its interval."""

import pytest

from twfer_dist.corpus.agreement import agreement

FLEISS = """0 0 0 6 0; 0 3 0 0 3; 0 1 4 0 1; 0 0 0 0 6; 0 3 0 3 0; 2 0 4 0 0; 0 0 4 0 2; 2 0 3 1 0; 2 0 0 4 0; 0 0 0 0 6
    1 0 0 5 0; 1 1 0 4 0; 0 3 3 0 0; 1 0 0 5 0; 0 2 0 3 1; 0 0 5 0 1; 3 0 0 1 2; 5 1 0 0 0; 0 2 0 4 0; 1 0 2 0 3
    0 0 0 0 6; 0 1 0 5 0; 0 2 0 1 3; 2 0 0 4 0; 1 0 0 4 1; 0 5 0 1 0; 4 0 0 0 2; 0 2 0 4 0; 1 0 5 0 0; 0 0 0 0 6"""


def test_kappa_of_fleiss_own_example() -> None:
    """Thirty patients, six psychiatrists, five diagnoses: Fleiss (1971), table 1, kappa 0.430."""
    counts = [[int(n) for n in row.split()] for line in FLEISS.splitlines() for row in line.split(";")]
    votes = [[frozenset([k + 1]) for k, n in enumerate(row) for _ in range(n)] for row in counts]
    found = agreement(votes, [str(k) for k in range(30)])
    assert found and round(found.kappa, 3) == 0.430 and (found.photographs, found.annotators) == (30, 6)
    assert found.low is not None and found.high is not None and 0.25 < found.low < 0.43 < found.high < 0.60
    of_one_figure = agreement([v for v in votes for _ in range(2)], [str(k) for k in range(30) for _ in range(2)])
    assert of_one_figure and (of_one_figure.low, of_one_figure.high) == pytest.approx((found.low, found.high))


def test_agreement_of_few_or_unequal_annotators() -> None:
    one, two = frozenset([1]), frozenset([2])
    assert agreement([[one], [two]], ["a", "b"]) is None and agreement([[one, one]], ["a"]) is None
    found = agreement([[one, one], [two, two, two], [one]], ["a", "b", "c"])
    assert found and (found.kappa, found.low, found.photographs, found.annotators) == (1.0, None, 2, 3)
    # Who names two labels names one of them at random: the other annotator agrees half the time.
    split = agreement([[one | two, one], [two, two]], ["a", "b"])
    assert split and split.kappa == pytest.approx((0.75 - 0.53125) / (1 - 0.53125), abs=1e-6)
