"""Krippendorff's alpha against published examples, and its interval."""

import pytest

from twfer_dist.corpus.agreement import agreement, distance
from twfer_dist.corpus.votes import Vote, parse_vote

# Krippendorff (2011), sections A and C: two observers of ten units; four of twelve, with gaps.
TWO = ("1 2 1 1 1 1 1 1 2 1", "2 2 2 1 1 2 1 1 1 1")
FOUR = ("1 2 3 3 2 1 4 1 2 - - -", "1 2 3 3 2 2 4 1 2 5 - 3", "- 3 3 3 2 3 4 2 2 5 1 -", "1 2 3 3 2 4 4 1 2 5 1 -")
# The example of Wikipedia and of the library: three coders of fifteen units, with gaps.
THREE = ("- - - - - 3 4 1 2 1 1 3 3 - 3", "1 - 2 1 3 3 4 3 - - - - - - -", "- - 2 1 3 4 4 - 2 1 1 3 3 - 4")
# Fleiss (1971), table 1: thirty patients, six psychiatrists, five diagnoses. Fleiss' kappa is 0.430; alpha adds a
# correction for the small sample: 0.430 + 0.570 / 180.
FLEISS = """0 0 0 6 0; 0 3 0 0 3; 0 1 4 0 1; 0 0 0 0 6; 0 3 0 3 0; 2 0 4 0 0; 0 0 4 0 2; 2 0 3 1 0; 2 0 0 4 0; 0 0 0 0 6
    1 0 0 5 0; 1 1 0 4 0; 0 3 3 0 0; 1 0 0 5 0; 0 2 0 3 1; 0 0 5 0 1; 3 0 0 1 2; 5 1 0 0 0; 0 2 0 4 0; 1 0 2 0 3
    0 0 0 0 6; 0 1 0 5 0; 0 2 0 1 3; 2 0 0 4 0; 1 0 0 4 1; 0 5 0 1 0; 4 0 0 0 2; 0 2 0 4 0; 1 0 5 0 0; 0 0 0 0 6"""


def votes_of(annotators: tuple[str, ...]) -> list[list[Vote]]:
    """The votes on each image; each of `annotators` is a line with a label, or a dash, for each image."""
    columns = zip(*(line.split() for line in annotators), strict=True)
    return [[vote for text in column if (vote := parse_vote(text))] for column in columns]


def names(count: int) -> list[str]:
    return [str(k) for k in range(count)]


@pytest.mark.parametrize(("annotators", "alpha"), [(TWO, 0.095), (FOUR, 0.743), (THREE, 0.691)])
def test_alpha_of_published_examples(annotators: tuple[str, ...], alpha: float) -> None:
    votes = votes_of(annotators)
    found = agreement(votes, names(len(votes)))
    assert found and round(found.alpha, 3) == alpha and found.annotators == len(annotators)
    assert found.images == sum(len(cast) > 1 for cast in votes) and found.low is None


def test_alpha_and_its_interval_on_fleiss_example() -> None:
    counts = [[int(n) for n in row.split()] for line in FLEISS.splitlines() for row in line.split(";")]
    votes = [[frozenset([k + 1]) for k, n in enumerate(row) for _ in range(n)] for row in counts]
    found = agreement(votes, names(30))
    assert found and found.alpha == pytest.approx(0.430 + 0.570 / 180, abs=1e-3)
    assert (found.images, found.figures, found.annotators, found.words) == (30, 30, 6, "moderately")
    assert found.low is not None and found.high is not None and 0.25 < found.low < 0.43 < found.high < 0.60
    twice = agreement([v for v in votes for _ in range(2)], [name for name in names(30) for _ in range(2)])
    assert twice and (twice.low, twice.high) == pytest.approx((found.low, found.high), abs=0.01)


def test_sets_of_labels_agree_in_part() -> None:
    sets = [parse_vote(text) for text in ("1", "2", "1+2", "2+3", "1+2+3")]
    assert [distance(sets[0], other) for other in sets] == pytest.approx([0, 1, 1 - 1 / 3, 1, 1 - 2 / 9])
    assert [distance(sets[2], other) for other in sets] == pytest.approx([2 / 3, 2 / 3, 0, 1 - 1 / 9, 1 - 4 / 9])
    one, two, both = sets[:3]
    # Two images, values 1 and 1+2 on one, 2 and 2 on the other: observed 2/3 + 2/3, expected over all twelve pairs.
    found = agreement([[one, both], [two, two]], ["a", "b"])
    assert found and found.alpha == pytest.approx(1 - (2 * 2 / 3) / (2 * (2 / 3 + 2 * 1 + 2 * 2 / 3) / 3), abs=1e-6)


def test_agreement_of_few_or_unequal_annotators() -> None:
    one, two = frozenset([1]), frozenset([2])
    assert agreement([[one], [two]], ["a", "b"]) is None and agreement([[one, one]], ["a"]) is None
    assert agreement([[one, one], [one, one]], ["a", "b"]) is None  # nothing varies
    found = agreement([[one, one], [two, two, two], [one]], ["a", "b", "c"])
    assert found and (found.alpha, found.low, found.images, found.annotators) == (1.0, None, 2, 3)
