"""The exponential moving average of a network's weights."""

import copy
from typing import TypeVar

import torch
from torch import nn

N = TypeVar("N", bound=nn.Module)


def averaged_copy(network: N) -> N:
    """A copy that is only changed by `update_average`."""
    copied = copy.deepcopy(network).requires_grad_(False)
    return copied.eval()


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float, updates: int) -> None:
    """Move the weights and running statistics of `average` towards those of `network` after a number of updates.

    decay: how much of the average stays; at first less, (1 + updates) / (10 + updates), so that it does not keep the
    initial weights.
    """
    keep = min(decay, (1 + updates) / (10 + updates))
    for mine, theirs in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if mine.is_floating_point():
            mine.lerp_(theirs, 1 - keep)
        else:
            mine.copy_(theirs)
