"""Splits by and within figures, and the check against leakage."""

import numpy as np
import pytest
from dataset_tables import grid

from twfer_dist.core.errors import UserError
from twfer_dist.dataset import splits
from twfer_dist.dataset.balance import select

GAN18K = np.array([15_730, 2_960])


def gan18k() -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Labels (0 to 6), figures and ids of a data set of GAN18K's shape."""
    ids, labels, keys = grid(figures=58, levels=10, references=6)
    rows = select(ids, labels, keys, 2_670)
    return labels[rows] - 1, np.array(keys[0])[rows], [ids[i] for i in rows]


def nearest_sum(sizes: list[int], target: int) -> int:
    """The sum of some of `sizes`, not none and not all, that is nearest to `target`, by listing all sums."""
    sums = {0}
    for size in sizes:
        sums |= {s + size for s in sums}
    return min(sums - {0, sum(sizes)}, key=lambda s: abs(s - target))


def test_apportion() -> None:
    assert splits.apportion(10, (7, 1, 2)).tolist() == [7, 1, 2]
    assert splits.apportion(18_690, (7, 1, 2)).tolist() == [13_083, 1_869, 3_738]
    assert splits.apportion(11, (1, 1, 1)).sum() == 11


def test_by_figure_in_the_shape_of_gan18k() -> None:
    labels, figure_ids, _ = gan18k()
    parts = splits.by_figure([labels], figure_ids, GAN18K)
    reached = np.bincount(parts)
    sizes = np.unique(figure_ids, return_counts=True)[1].tolist()
    assert abs(reached[1] - 2_960) == abs(nearest_sum(sizes, 2_960) - 2_960)  # 322 and 323 do not make 2,960
    assert all(len(set(parts[figure_ids == s])) == 1 for s in set(figure_ids))
    for label in range(7):
        assert abs((parts[labels == label] == 1).sum() - reached[1] / 7) < 2


def test_by_figure_reaches_the_nearest_sizes() -> None:
    rng = np.random.default_rng(2)
    for _ in range(60):
        images = rng.integers(1, 60, int(rng.integers(2, 30)))
        figure_ids = np.repeat([f"s{i}" for i in range(len(images))], images)
        sizes = splits.apportion(len(figure_ids), (84, 16))
        parts = splits.by_figure([rng.integers(0, 7, len(figure_ids))], figure_ids, sizes)
        reached = (parts == 1).sum()
        assert abs(reached - sizes[1]) == abs(nearest_sum(images.tolist(), sizes[1]) - sizes[1])


def test_by_figure_gives_each_of_three_parts_a_figure() -> None:
    labels, figure_ids, _ = gan18k()
    parts = splits.by_figure([labels], figure_ids, splits.apportion(len(labels), (7, 1, 2)))
    assert [len(set(figure_ids[parts == p])) for p in range(3)] == [41, 6, 11]
    three = np.repeat(["a", "b", "c"], [300, 100, 50])
    assert sorted(splits.by_figure([np.zeros(450, int)], three, np.array([315, 45, 90]))[[0, 300, 400]]) == [0, 1, 2]
    two = np.repeat(["a", "b"], 50)
    for sizes in (np.array([90, 10]), np.array([10, 90])):  # an empty part would be nearer
        assert sorted(splits.by_figure([np.zeros(100, int)], two, sizes)[[0, 99]]) == [0, 1]
    with pytest.raises(UserError, match="into 3 parts needs at least as many figures but there are 2"):
        splits.by_figure([np.zeros(400, int)], three[:400], np.array([280, 40, 80]))


def test_by_figure_is_stratified_by_label_and_corpus() -> None:
    """Each photograph its own figure, expressions as unequal as in RAF-DB, beside figures with many images."""
    rng = np.random.default_rng(3)
    single = rng.choice(7, 3_000, p=[0.1, 0.03, 0.06, 0.4, 0.15, 0.06, 0.2])
    labels = np.concatenate([single, np.tile(np.arange(7), 200)])
    corpora = np.repeat([0, 1], [3_000, 1_400])
    figure_ids = np.concatenate(
        [np.array([f"p{i}" for i in range(3_000)]), np.repeat([f"w{i}" for i in range(20)], 70)]
    )
    sizes = splits.apportion(len(labels), (7, 1, 2))
    parts = splits.by_figure([labels, corpora], figure_ids, sizes)
    assert np.bincount(parts).tolist() == sizes.tolist()
    for codes in (labels, corpora):
        for code in np.unique(codes):
            share = np.bincount(parts[codes == code], minlength=3) / (codes == code).sum()
            assert share == pytest.approx([0.7, 0.1, 0.2], abs=0.03)


@pytest.mark.parametrize("sizes", [GAN18K, splits.apportion(18_690, (7, 1, 2)), splits.apportion(18_690, (70, 30))])
def test_within_figure(sizes: np.ndarray) -> None:
    labels, figure_ids, ids = gan18k()
    parts = splits.within_figure(labels, figure_ids, ids, sizes)
    assert np.bincount(parts).tolist() == sizes.tolist()
    share = sizes / sizes.sum()
    for label in range(7):
        here = np.bincount(parts[labels == label], minlength=len(sizes))
        assert np.abs(here - share * here.sum()).max() <= 2
    for figure_id in np.unique(figure_ids):
        here = figure_ids == figure_id
        counts = np.bincount(parts[here], minlength=len(sizes))
        assert np.abs(counts - share * counts.sum()).max() <= len(sizes) - 1
        for label in range(7):
            cell = np.bincount(parts[here & (labels == label)], minlength=len(sizes))
            assert np.abs(cell - share * cell.sum()).max() <= len(sizes) - 1


def test_splits_depend_on_ids_and_seed_and_not_on_order() -> None:
    labels, figure_ids, ids = gan18k()
    turn = np.random.default_rng(4).permutation(len(ids))
    turned = [ids[i] for i in turn]
    sizes = splits.apportion(len(ids), (7, 1, 2))
    by_figure = splits.by_figure([labels], figure_ids, sizes)
    assert (splits.by_figure([labels[turn]], figure_ids[turn], sizes) == by_figure[turn]).all()
    assert (splits.by_figure([labels], figure_ids, sizes, seed=1) != by_figure).any()
    within = splits.within_figure(labels, figure_ids, ids, sizes)
    assert (splits.within_figure(labels[turn], figure_ids[turn], turned, sizes) == within[turn]).all()
    assert (splits.within_figure(labels, figure_ids, ids, sizes, seed=1) != within).any()


def test_leakage_is_refused() -> None:
    splits.check_leakage(["a", "a", "b"], ["train", "train", "test"])
    with pytest.raises(UserError, match="1 figures are in more than one part.*a in test and train"):
        splits.check_leakage(["a", "a", "b"], ["train", "test", "test"])
