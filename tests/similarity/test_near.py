"""Near-duplicates that were planted among unlike pictures."""

import numpy as np
import pytest
from similarity_tables import picture

from twfer_dist.core import images
from twfer_dist.similarity import near
from twfer_dist.similarity.near import fine_structure, near_duplicates


def copy(crop: np.ndarray) -> np.ndarray:
    """The picture at half its size, brighter, and saved badly."""
    small = np.clip(images.resize_square(crop, 48) * 1.1 + 5.0, 0, 255).astype(np.uint8)
    again = images.decode(images.encode_jpeg(small, 60))
    assert again is not None
    return images.resize_square(again, 96)


@pytest.fixture(scope="module")
def fine() -> np.ndarray:
    """Forty pictures; 37 is a copy of 3, 38 of 5, and 39 is blank."""
    crops = [picture(k) for k in range(37)]
    crops += [copy(crops[3]), copy(crops[5]), np.full((96, 96, 3), 128, np.uint8)]
    return fine_structure([images.encode_jpeg(crop, 85) for crop in crops])


def pairs(fine: np.ndarray, figures: np.ndarray, parts: np.ndarray, cosine: float = 1.0) -> near.NearDuplicates:
    vectors = np.full((len(fine), 1), np.sqrt(cosine), np.float32)
    return near_duplicates(vectors, fine, figures, parts, similarity=0.8, content=0.9)


@pytest.mark.parametrize("block", [2048, 7])
def test_planted_copies_are_found_in_any_block(fine: np.ndarray, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "_BLOCK", block)
    found = pairs(fine, np.arange(40), np.full(40, ""))
    assert sorted(zip(found.first.tolist(), found.second.tolist(), strict=True)) == [(3, 37), (5, 38)]
    assert found.total == 2 and found.content.min() > 0.95 and not found.leaked.any()


def test_pictures_of_one_figure_are_no_duplicates(fine: np.ndarray) -> None:
    figures = np.arange(40)
    figures[37] = 3
    assert pairs(fine, figures, np.full(40, "")).first.tolist() == [5]


def test_unlike_features_are_no_duplicates(fine: np.ndarray) -> None:
    assert not pairs(fine, np.arange(40), np.full(40, ""), cosine=0.5).total


def test_a_copy_in_another_part_leaks_even_of_one_figure(fine: np.ndarray) -> None:
    parts = np.array(["train"] * 37 + ["test", "train", "test"])
    found = pairs(fine, np.zeros(40, np.int64), parts)
    assert found.first.tolist() == [3] and np.flatnonzero(found.leaked).tolist() == [37]


def test_only_the_most_alike_are_listed(fine: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "MOST", 1)
    found = pairs(fine, np.arange(40), np.full(40, ""))
    assert found.total == 2 and len(found.first) == 1
