"""Folds of figures, for cross-fitting: each fold is kept from a training of its own, which then reads its faces."""

from collections.abc import Sequence

import numpy as np

from twfer_dist.dataset.balance import priorities


def assign_folds(figures: Sequence[str], folds: int) -> np.ndarray:
    """The fold (0, 1, ...) of each row, int64 (N,), decided by the set of all figures and nothing else.

    figures: the figure of each row (`schema.figures`). The figures of each corpus, in the order of their hashes, take
    the folds in turn, so that two folds differ by one figure at most, in all and within each corpus.
    """
    names, index = np.unique(np.asarray(figures, np.str_), return_inverse=True)
    corpora = [name.partition("\0")[0] for name in names.tolist()]
    order = np.lexsort((priorities(names.tolist(), 0, "fold"), corpora))
    fold = np.empty(len(names), np.int64)
    fold[order] = np.arange(len(names)) % folds
    return fold[index]
