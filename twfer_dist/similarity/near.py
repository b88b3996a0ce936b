"""Near-duplicates: faces that are nearly the same picture, by their features and by their content.

Content is the correlation of two crops' fine structure: grey, SIDE x SIDE, less a Gaussian mean. On 96-pixel crops,
copies (half the size and JPEG of quality 60, 15 % brighter, gamma 0.75) measured 0.98 and more; the nearest crops of
different figures 0.84 among 102 studio portraits in one light, 0.77 among 88 portraits of the Yale faces, 0.66 among
75 sculptures. Two pictures of one person taken at once may reach 0.98. Pairs are found block by block: time grows with
the square of the number of faces (100,000 take a few minutes on one core), memory does not.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from twfer_dist.core import images

SIDE = 24
MOST = 1000
"""Pairs that are listed; all are counted."""

_SIGMA = 2.0  # of the Gaussian, in pixels
_MIN_CONTRAST = 2.0  # standard deviation of the fine structure in grey levels; below it there is nothing to compare
_BLOCK = 2048


@dataclass(frozen=True)
class NearDuplicates:
    """The `total` pairs of near-duplicates, of which the MOST most alike are listed, the most alike first.

    first, second: indices int64 (K,), first < second. similarity, content: float32 (K,). leaked: bool (N,), whether a
    face outside the training part has a near-duplicate in it.
    """

    first: np.ndarray
    second: np.ndarray
    similarity: np.ndarray
    content: np.ndarray
    total: int
    leaked: np.ndarray


def fine_structure(pictures: Iterable[bytes]) -> np.ndarray:
    """float32 (N, SIDE * SIDE) of encoded square crops, each of length 1; zeros for a picture without contrast."""
    rows = [np.zeros((0, SIDE * SIDE), np.float32)]
    for data in pictures:
        grey = images.decode_grey(data)
        assert grey is not None  # of our own tables
        small = images.resize_square(grey, SIDE).astype(np.float32)
        fine = (small - cv2.GaussianBlur(small, (0, 0), _SIGMA)).ravel()
        fine -= fine.mean()
        clear = fine.std() >= _MIN_CONTRAST
        rows.append((fine / np.linalg.norm(fine) if clear else np.zeros_like(fine))[None])
    return np.concatenate(rows)


def near_duplicates(
    vectors: np.ndarray,
    fine: np.ndarray,
    figures: np.ndarray,
    parts: np.ndarray,
    *,
    similarity: float,
    content: float,
) -> NearDuplicates:
    """The pairs of faces above both thresholds that show different figures, or are in different parts of a data set.

    vectors: float32 (N, D), each of length 1. fine: `fine_structure`. figures: int (N,). parts: str (N,), "train",
    "validation", "test", or empty where the face is in no part; two faces are in different parts where both are in one.
    """
    kept = [np.zeros((0, 4))]
    total, leaked = 0, np.zeros(len(vectors), bool)
    trained = parts == "train"
    for start in range(0, len(vectors), _BLOCK):
        for across in range(start, len(vectors), _BLOCK):
            one, other, alike, cosine = _pairs(vectors, fine, start, across, similarity, content)
            parted = (parts[one] != parts[other]) & (parts[one] != "") & (parts[other] != "")
            leaked[one[parted & trained[other]]] = True
            leaked[other[parted & trained[one]]] = True
            told = parted | (figures[one] != figures[other])
            total += int(told.sum())
            kept.append(_best(np.stack([one, other, cosine, alike], 1)[told]))
        kept = [_best(np.concatenate(kept))]
    best = kept[-1] if kept else np.zeros((0, 4))
    indices = best[:, :2].astype(np.int64)
    return NearDuplicates(
        indices[:, 0], indices[:, 1], best[:, 2].astype(np.float32), best[:, 3].astype(np.float32), total, leaked
    )


def _pairs(
    vectors: np.ndarray, fine: np.ndarray, start: int, across: int, similarity: float, content: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """first, second, content and similarity of the alike pairs of two blocks of rows."""
    correlation = fine[start : start + _BLOCK] @ fine[across : across + _BLOCK].T
    one, other = np.nonzero(correlation >= content)
    alike = correlation[one, other]
    one, other = one + start, other + across
    cosine = np.einsum("nd,nd->n", vectors[one], vectors[other])
    taken = (one < other) & (cosine >= similarity)
    return one[taken], other[taken], alike[taken], cosine[taken]


def _best(rows: np.ndarray) -> np.ndarray:
    """The MOST rows (first, second, similarity, content) of the highest content, in a fixed order."""
    order = np.lexsort((rows[:, 1], rows[:, 0], -rows[:, 3].round(4)))
    return rows[order[:MOST]]
