"""Folds of figures."""

import numpy as np

from twfer_dist.dataset.folds import assign_folds


def test_folds_are_equal_in_size_within_each_corpus() -> None:
    figures = [f"warriors\0{k}" for k in range(20)] + [f"people\0{k}" for k in range(7)]
    folds = assign_folds(figures, 3)
    for part in (folds, folds[:20], folds[20:]):
        counts = np.bincount(part, minlength=3)
        assert counts.max() - counts.min() <= 1
    assert folds[:20].tolist() != sorted(folds[:20])  # by hash, not in the order of names


def test_a_figure_has_one_fold_whatever_the_order_of_rows() -> None:
    figures = [f"warriors\0{k % 9}" for k in range(30)]
    order = np.random.default_rng(0).permutation(30)
    folds = assign_folds(figures, 4)
    assert assign_folds([figures[k] for k in order], 4).tolist() == folds[order].tolist()
    assert len(set(zip(figures, folds.tolist(), strict=True))) == 9
