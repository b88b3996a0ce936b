"""Mean similarities against all pairs, and whether the intervals hold the truth."""

from itertools import combinations

import numpy as np
import pytest

from twfer_dist.similarity.means import BETWEEN, DIFFERENCE, SAME_FIGURE, WITHIN, Similarity, similarities

LIKE = np.array([1.0, 0.4, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])


def faces(rng: np.random.Generator, figures: int, each: int, centre: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Unit vectors of `figures` figures around `centre`, `each` pictures of each, and the figures' names."""
    of_figures = centre + rng.normal(0, 0.3, (figures, len(centre)))
    vectors = np.repeat(of_figures, each, 0) + rng.normal(0, 0.15, (figures * each, len(centre)))
    names = [f"{centre.argmax()}-{k}" for k in range(figures) for _ in range(each)]
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), names


def found(rows: list[Similarity], measure: str, first: str, second: str) -> Similarity:
    (row,) = [row for row in rows if (row.measure, row.first, row.second) == (measure, first, second)]
    return row


@pytest.fixture(scope="module")
def sample() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Faces of two groups with one figure in both, and one face by itself."""
    rng = np.random.default_rng(1)
    one, one_names = faces(rng, 6, 3, LIKE)
    two, two_names = faces(rng, 5, 2, LIKE[::-1])
    figures = np.array([*one_names, *two_names, "alone"])
    figures[-2] = one_names[0]
    groups = np.array(["a"] * len(one) + ["b"] * len(two) + ["c"])
    return np.concatenate([one, two, one[:1]]), figures, groups


def test_means_are_those_of_all_pairs(sample: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    vectors, figures, groups = sample
    rows = similarities(vectors, figures, groups)
    cosines: dict[tuple[str, ...], list[float]] = {}
    for i, j in combinations(range(len(vectors)), 2):
        key = (WITHIN if groups[i] == groups[j] else BETWEEN, *sorted((groups[i], groups[j])))
        if figures[i] == figures[j]:
            key = (SAME_FIGURE, groups[i], groups[j]) if groups[i] == groups[j] else ("left out",)
        cosines.setdefault(key, []).append(float(vectors[i] @ vectors[j]))
    assert cosines.pop(("left out",))
    assert {(r.measure, r.first, r.second) for r in rows if r.measure != DIFFERENCE} == cosines.keys()
    for (measure, first, second), values in cosines.items():
        row = found(rows, measure, first, second)
        assert row.mean == pytest.approx(np.mean(values), abs=2e-6) and row.pairs == len(values)


def test_a_difference_is_within_minus_between(sample: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    rows = similarities(*sample)
    for first, second in (("a", "b"), ("b", "a")):
        row = found(rows, DIFFERENCE, first, second)
        between = found(rows, BETWEEN, "a", "b")
        assert row.mean == pytest.approx(found(rows, WITHIN, first, first).mean - between.mean, abs=2e-6)
        assert row.low is not None and row.high is not None and row.low < row.mean < row.high
        assert row.low > 0, "the groups lie apart"


def test_few_figures_have_a_mean_and_no_interval(sample: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    alone = found(similarities(*sample), BETWEEN, "a", "c")
    assert alone.low is None and alone.high is None and alone.faces == 19


def test_equal_faces_are_entirely_alike() -> None:
    rows = similarities(np.ones((4, 1), np.float32), ["p", "p", "q", "r"], ["a"] * 4)
    assert [(row.measure, row.mean, row.pairs, row.figures) for row in rows] == [
        (WITHIN, 1.0, 5, 3),
        (SAME_FIGURE, 1.0, 1, 1),
    ]


def test_intervals_hold_the_truth_in_most_samples() -> None:
    """Of the true mean over all figures, from 120 samples of 20 figures with two pictures each."""
    rng = np.random.default_rng(3)
    many, names = faces(rng, 4000, 1, LIKE)
    truth = similarities(many, names, ["a"] * len(many))[0].mean
    hits = 0
    for number in range(120):
        vectors, figures = faces(rng, 20, 2, LIKE)
        row = similarities(vectors, figures, ["a"] * len(vectors), seed=number)[0]
        assert row.low is not None and row.high is not None
        hits += row.low <= truth <= row.high
    assert 105 <= hits <= 120  # 95 % are 114, and 105 are five standard errors below
