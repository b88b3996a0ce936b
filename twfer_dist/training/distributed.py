"""What the workers of a data-parallel training exchange. Every function also works in a process without a group."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


def rank_and_world_size() -> tuple[int, int]:
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def gather(value: T) -> list[T]:
    """Every worker's value, in the order of ranks, on every worker."""
    if not dist.is_initialized():
        return [value]
    values: list[T] = [value] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def maximum(value: float, device: torch.device) -> float:
    """The largest of the workers' values, rounded to float32 if there is a group."""
    if not dist.is_initialized():
        return value
    shared = torch.tensor(value, device=device)
    dist.all_reduce(shared, dist.ReduceOp.MAX)
    return shared.item()


def mean_values(values: Mapping[str, float], device: torch.device) -> dict[str, float]:
    """Named numbers averaged over the workers."""
    if not dist.is_initialized():
        return dict(values)
    shared = torch.tensor(list(values.values()), device=device)
    dist.all_reduce(shared)
    return dict(zip(values, (shared / dist.get_world_size()).tolist(), strict=True))


class _Total(torch.autograd.Function):
    """The sum over all workers, with the gradient of what all of them make of it."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        shared = values.contiguous().clone()
        dist.all_reduce(shared)
        return shared

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        shared = gradients[0].contiguous().clone()
        dist.all_reduce(shared)
        return shared


def total(values: Tensor) -> Tensor:
    """A tensor summed over the workers. Gradients flow back to every worker."""
    return values if rank_and_world_size()[1] == 1 else _Total.apply(values)


def stacked(values: Tensor) -> Tensor:
    """The vectors (K,) of all workers as (N, K), in the order of ranks. Gradients flow back to every worker."""
    rank, world = rank_and_world_size()
    return total(torch.nn.functional.one_hot(torch.tensor(rank, device=values.device), world)[:, None] * values)


def mean_gradients(gradients: Sequence[Tensor]) -> Sequence[Tensor]:
    """Gradients averaged over the workers, in one exchange."""
    world = rank_and_world_size()[1]
    if world == 1:
        return gradients
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    pieces = (flat / world).split([gradient.numel() for gradient in gradients])
    return [piece.view_as(gradient) for piece, gradient in zip(pieces, gradients, strict=True)]
