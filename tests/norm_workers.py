"""A batch norm in a process of its own: worker processes import this module by its name."""

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
