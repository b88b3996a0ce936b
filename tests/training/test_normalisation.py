"""Batch norms of two real processes against PyTorch's own over all images."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from twfer_dist.training.normalisation import synchronise

IMAGES = torch.randn(6, 4, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
WANTED = torch.linspace(-1, 2, 6 * 4 * 5 * 7, dtype=torch.float64).reshape(IMAGES.shape)  # gradient of the output


def normalised(images: Tensor, wanted: Tensor) -> list[Tensor]:
    """The output, the gradients of images, weight and bias, and the running statistics."""
    norm = nn.BatchNorm2d(4).double()
    nn.init.uniform_(norm.weight, 0.5, 2, torch.Generator().manual_seed(1))
    synchronise(norm)
    images = images.clone().requires_grad_()
    output = norm(images)
    output.backward(wanted)
    gradients = [images.grad, norm.weight.grad, norm.bias.grad]
    found = [output, *gradients, norm.running_mean, norm.running_var]
    return [value.detach() for value in found if value is not None]


def of_worker(rank: int, first: int, store: str) -> list[Tensor]:
    """The first worker has the `first` images, the second the others."""
    dist.init_process_group("gloo", f"file://{store}", rank=rank, world_size=2)
    try:
        mine = slice(None, first) if rank == 0 else slice(first, None)
        return normalised(IMAGES[mine], WANTED[mine])
    finally:
        dist.destroy_process_group()


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
