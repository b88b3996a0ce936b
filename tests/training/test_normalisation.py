"""Batch norms of two real processes against PyTorch's own over all images."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import torch
from norm_workers import IMAGES, WANTED, normalised, of_worker


@pytest.mark.parametrize("first", [4, 6])
def test_two_workers_normalise_as_one(tmp_path: Path, first: int) -> None:
    """A worker may have no image of a batch."""
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        one, two = pool.map(partial(of_worker, first=first, store=str(tmp_path / "store")), (0, 1))
    alone = normalised(IMAGES, WANTED)
    for k in (0, 1):  # of the images
        torch.testing.assert_close(torch.cat([one[k], two[k]]), alone[k])
    for k in (2, 3):  # of what the workers share, which they add
        torch.testing.assert_close(one[k] + two[k], alone[k])
    for k in (4, 5):
        torch.testing.assert_close(one[k], alone[k])
        torch.testing.assert_close(two[k], alone[k])
