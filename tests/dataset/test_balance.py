"""Balanced selection."""

import numpy as np
import pytest
from dataset_tables import grid
from numpy.typing import ArrayLike

from twfer_dist.core.errors import UserError
from twfer_dist.dataset.balance import select, share_evenly


def spread(values: ArrayLike) -> int:
    counts = np.unique(np.asarray(values), return_counts=True)[1]
    return int(counts.max() - counts.min())


def test_share_evenly() -> None:
    order = np.array([2, 0, 1, 3])
    assert share_evenly(np.array([10, 10, 10, 10]), 8, order).tolist() == [2, 2, 2, 2]
    assert share_evenly(np.array([10, 10, 10, 10]), 9, order).tolist() == [2, 2, 3, 2]
    assert share_evenly(np.array([1, 10, 0, 10]), 10, order).tolist() == [1, 5, 0, 4]
    assert share_evenly(np.array([3, 1]), 4, np.array([0, 1])).tolist() == [3, 1]
    with pytest.raises(ValueError):
        share_evenly(np.array([3, 1]), 5, np.array([0, 1]))


def test_share_evenly_is_even_whatever_the_groups_hold() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        sizes = rng.integers(0, 30, rng.integers(1, 20))
        total = int(rng.integers(0, sizes.sum() + 1))
        taken = share_evenly(sizes, total, rng.permutation(len(sizes)))
        assert taken.sum() == total and (taken <= sizes).all() and (taken >= 0).all()
        not_emptied = taken[taken < sizes]
        if len(not_emptied):  # a group that could give more gives no less than any other but one
            assert taken.max() - not_emptied.min() <= 1


def test_selection_is_exact_and_even_at_every_level() -> None:
    ids, labels, keys = grid(figures=58, levels=10, references=6)
    rows = select(ids, labels, keys, 2_670)
    assert len(set(rows.tolist())) == 7 * 2_670
    assert np.bincount(labels[rows]).tolist() == [0] + [2_670] * 7
    figure_id, level, reference = (np.array(k)[rows] for k in keys)
    assert spread(figure_id) <= 1 and spread(level) <= 1 and spread(reference) <= 1
    for label in range(1, 8):
        here = labels[rows] == label
        assert spread(figure_id[here]) <= 1 and spread(level[here]) <= 1 and spread(reference[here]) <= 1
    assert spread([f"{s} {v}" for s, v in zip(figure_id, level, strict=True)]) <= 7  # one for each expression


def test_selection_takes_all_that_small_figures_have() -> None:
    ids, labels, keys = grid(figures=5, levels=4, references=1)
    keep = np.array([not i.startswith("w00") or i.endswith("-0") for i in ids])
    ids, labels, keys = (
        [i for i, k in zip(ids, keep, strict=True) if k],
        labels[keep],
        [list(np.array(k)[keep]) for k in keys],
    )
    rows = select(ids, labels, keys, 13)
    for label in range(1, 8):
        counts = dict(zip(*np.unique(np.array(keys[0])[rows][labels[rows] == label], return_counts=True), strict=True))
        assert counts["w00"] == 1 and sorted(counts.values()) == [1, 3, 3, 3, 3]


def test_selection_depends_on_ids_and_seed_and_not_on_order() -> None:
    ids, labels, keys = grid(figures=9, levels=5, references=3)
    chosen = {ids[i] for i in select(ids, labels, keys, 40)}
    turn = np.random.default_rng(1).permutation(len(ids))
    turned_ids = [ids[i] for i in turn]
    turned = select(turned_ids, labels[turn], [[k[i] for i in turn] for k in keys], 40)
    assert {turned_ids[i] for i in turned} == chosen
    assert {ids[i] for i in select(ids, labels, keys, 40, seed=1)} != chosen
    by_hash = {ids[i] for i in select(ids, labels, keys[:1], 40)}  # of the images of a figure no key tells apart
    assert {turned_ids[i] for i in select(turned_ids, labels[turn], [[keys[0][i] for i in turn]], 40)} == by_hash


def test_selection_names_expressions_with_too_few_images() -> None:
    ids, labels, keys = grid(figures=2, levels=3, references=1)
    keep = np.flatnonzero((labels != 2) | (np.arange(len(ids)) % 2 == 0))
    with pytest.raises(
        UserError, match=r"6 images of each expression.*fewer of: fear 3; set per_expression to at most 3"
    ):
        select([ids[i] for i in keep], labels[keep], [[k[i] for i in keep] for k in keys], 6)
    with pytest.raises(UserError, match="anger 0"):
        select(ids, np.where(labels == 6, 7, labels), keys, 1)
