"""Where faces lie on the map."""

from collections import Counter

import numpy as np
import pytest

from twfer_dist.similarity.layout import PCA_WORDS, TSNE_WORDS, even_sample, positions, sample_of


@pytest.mark.parametrize(("number", "words"), [(1, PCA_WORDS), (2, PCA_WORDS), (12, PCA_WORDS), (60, TSNE_WORDS)])
def test_any_number_of_faces_has_places(number: int, words: str) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(0, 0.1, (number, 16)) + np.eye(16)[np.arange(number) % 2]
    xy, method = positions(vectors.astype(np.float32))
    assert xy.shape == (number, 2) and method == words
    assert (xy >= 0).all() and (xy <= 1).all() and np.array_equal(xy, positions(vectors.astype(np.float32))[0])
    if number > 10:  # the two kinds lie apart
        apart = np.linalg.norm(xy[::2].mean(0) - xy[1::2].mean(0))
        assert apart > 2 * np.linalg.norm(xy[::2] - xy[::2].mean(0), axis=1).mean()


@pytest.mark.parametrize("number", [5, 50])
def test_equal_faces_have_places(number: int) -> None:
    assert np.isfinite(positions(np.ones((number, 4), np.float32))[0]).all()


def test_a_sample_is_the_same_among_more_faces() -> None:
    ids = [f"face-{k}" for k in range(200)]
    first = {ids[k] for k in sample_of(ids, 20, seed=4)}
    more = [*ids, *(f"new-{k}" for k in range(20))]
    again = {more[k] for k in sample_of(more, 20, seed=4)}
    assert len(first) == len(again) == 20 and len(first & again) >= 14
    assert sample_of(ids[:5], 20).tolist() == [0, 1, 2, 3, 4]


def test_a_few_warriors_are_drawn_among_many_people() -> None:
    groups = ["people"] * 900 + ["warriors"] * 12 + ["museum"] * 300
    drawn = even_sample(groups, [f"face-{k}" for k in range(len(groups))], 100)
    counts = Counter(groups[k] for k in drawn)
    assert counts == {"people": 44, "warriors": 12, "museum": 44} and len(set(drawn.tolist())) == 100
    assert drawn[drawn < 900].mean() == pytest.approx(450, abs=120)  # at random, not the first ones
