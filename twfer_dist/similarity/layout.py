"""Where each face lies on the map: two dimensions in which faces with similar features are near each other."""

import hashlib
import itertools
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from twfer_dist.core.language import mark

MOST_FACES = 5000
"""Of one map; of more, a random sample is shown, as evenly from each corpus as can be."""

FEW_FACES = 30
"""Below it t-SNE has too few neighbours to arrange, and the map shows the first two principal components."""

_EQUAL = 1e-6  # features that differ by less are equal
_COMPONENTS, _PERPLEXITY, _ITERATIONS = 50, 30.0, 750

PCA_WORDS = mark("the first two principal components of the features")
TSNE_WORDS = mark("t-SNE of the features, started from their principal components")


def sample_of(ids: Sequence[str], size: int, seed: int = 0) -> np.ndarray:
    """The indices, sorted, of a random sample of `size` ids; all where there are no more. An id's place in the draw
    depends on the id and the seed alone, so that a new face moves few others out.
    """
    return np.array(sorted(_order(ids, seed)[:size]), np.int64)


def _order(ids: Sequence[str], seed: int) -> list[int]:
    """The indices of the ids as they are drawn."""
    keys = [hashlib.sha256(f"{seed}\0{one}".encode()).digest() for one in ids]
    return sorted(range(len(ids)), key=keys.__getitem__)


def even_sample(groups: Sequence[Hashable], ids: Sequence[str], size: int, seed: int = 0) -> np.ndarray:
    """The indices, sorted, of a random sample of `size` ids with as many of each group as of any other, as far as it
    goes: a small group is whole before a larger one has more. groups: of each id.
    """
    order = _order(ids, seed)
    turns: defaultdict[Hashable, Iterator[int]] = defaultdict(itertools.count)
    by_turn = sorted((next(turns[groups[index]]), place) for place, index in enumerate(order))
    return np.array(sorted(order[place] for _, place in by_turn[:size]), np.int64)


def positions(vectors: np.ndarray, seed: int = 0) -> tuple[np.ndarray, str]:
    """x and y of each face, float64 (N, 2) in 0 to 1, and how they were found, in words. vectors: float32 (N, D).

    The longer axis spans 0 to 1 and the shorter one is centred, so that distances keep their proportions. Equal faces
    lie in a row. Computed on one thread, so that the places are the same on any number of processors.
    """
    faces = len(vectors)
    if faces < 3 or np.ptp(vectors, axis=0).max() < _EQUAL:
        return np.column_stack([(np.arange(faces) + 0.5) / max(faces, 1), np.full(faces, 0.5)]), PCA_WORDS
    with threadpool_limits(1):
        pca = PCA(min(_COMPONENTS, faces, vectors.shape[1]), svd_solver="full")
        reduced = pca.fit_transform(vectors.astype(np.float64))
        if faces < FEW_FACES:
            return _framed(reduced[:, :2]), PCA_WORDS
        tsne = TSNE(
            perplexity=min(_PERPLEXITY, (faces - 1) / 3), init="pca", random_state=seed, max_iter=_ITERATIONS, n_jobs=1
        )
        return _framed(tsne.fit_transform(reduced)), TSNE_WORDS


def _framed(xy: np.ndarray) -> np.ndarray:
    xy = xy.astype(np.float64) - xy.min(0)
    span = xy.max(0)
    longest = max(float(span.max()), 1e-12)
    return np.clip((xy + (longest - span) / 2) / longest, 0, 1).round(4)
