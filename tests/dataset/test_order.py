"""The order of an epoch's images."""

import numpy as np
import pytest

from twfer_dist.dataset.order import LANES, EpochOrder, batch_edges, locate_in_order, share


def named(order: EpochOrder, images: np.ndarray) -> list[tuple[int, int]]:
    groups, rows = order.locate(images)
    return list(zip(groups.tolist(), rows.tolist(), strict=True))


@pytest.mark.parametrize("counts", [[1], [0, 5], [42], [7, 0, 12, 3], [100] * 20])
def test_an_epoch_has_every_image_once(counts: list[int]) -> None:
    order = EpochOrder(np.array(counts), 0, 1)
    found = named(order, np.arange(sum(counts)))
    assert sorted(found) == [(group, row) for group, count in enumerate(counts) for row in range(count)]
    assert [named(order, np.array([k]))[0] for k in range(sum(counts))] == found
    if sum(counts) > 5:
        assert found != named(EpochOrder(np.array(counts), 0, 2), np.arange(sum(counts)))
        assert found != named(EpochOrder(np.array(counts), 1, 1), np.arange(sum(counts)))


@pytest.mark.parametrize("world", [1, 2, 3, 4, 8, 9, 20])
def test_workers_divide_each_batch(world: int) -> None:
    edges = batch_edges(1000, 64)
    for first, end in zip(edges, edges[1:], strict=False):
        shares = [share(np.arange(first, end), rank, world) for rank in range(world)]
        assert sorted(np.concatenate(shares)) == list(range(first, end))
        if world in (1, 2, 4, 8):
            assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("world", [1, 2, 4, 8])
def test_workers_read_their_row_groups_alone(world: int) -> None:
    """Each row group of 40 is in one lane, or in two where a lane begins within it."""
    order = EpochOrder(np.full(40, 100), 0, 1)
    images = np.arange(4000)
    read = [set(order.locate(share(images, rank, world))[0].tolist()) for rank in range(world)]
    assert sum(map(len, read)) <= 40 + LANES - 1
    assert max(map(len, read)) <= 40 // world + 1


def test_a_batch_mixes_row_groups() -> None:
    groups, _ = EpochOrder(np.full(40, 100), 0, 1).locate(np.arange(32))
    assert len(set(groups.tolist())) == LANES


def test_ids_are_taken_in_their_order() -> None:
    groups, rows = locate_in_order(np.array([2, 0, 3]), np.arange(5))
    assert groups.tolist() == [0, 0, 2, 2, 2] and rows.tolist() == [0, 1, 0, 1, 2]


def test_no_image_is_alone_in_a_batch() -> None:
    for count in range(2, 70):
        for batch in (1, 2, 3, 8, 32):
            for pieces in (1, 2, 3):
                sizes = np.diff(batch_edges(count, batch, pieces))
                assert sizes.min() > 1 and sizes.max() <= max(batch, 2) + 1 and sizes.sum() == count
                assert len(sizes) % (len(batch_edges(count, batch)) - 1) == 0
