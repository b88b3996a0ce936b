"""Batch norms over the images of all workers, so that a batch gives the same result however it is divided."""

import torch
from torch import Tensor, nn

from twfer_dist.training.distributed import rank_and_world_size, stacked


class SynchronisedBatchNorm2d(nn.BatchNorm2d):
    """A batch norm whose statistics, in training, are those of all workers' images: on any device.

    PyTorch's SyncBatchNorm computes the same, on GPUs only. A worker may have no image of a batch.
    """

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or rank_and_world_size()[1] == 1:
            return super().forward(input)
        x = input.to(torch.promote_types(input.dtype, torch.float32))
        count = x.new_tensor([x.numel() / x.shape[1]])
        mean = x.sum((0, 2, 3)) / count.clamp_min(1)
        squares = ((x - mean[:, None, None]) ** 2).sum((0, 2, 3))
        counts, means, all_squares = stacked(torch.cat([count, mean, squares])).split([1, len(mean), len(mean)], 1)
        total = counts.sum()
        mean = (counts * means).sum(0) / total
        squares = (all_squares + counts * (means - mean) ** 2).sum(0)  # of the parts, and between them
        self._remember(mean.detach(), squares.detach() / (total - 1))
        scale = torch.rsqrt(squares / total + self.eps) * self.weight
        return ((x - mean[:, None, None]) * scale[:, None, None] + self.bias[:, None, None]).to(input.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum or 0.1)
            self.running_var.lerp_(variance, self.momentum or 0.1)


def synchronise(network: nn.Module) -> None:
    """Make the batch norms of a network those of all workers, in place: names and weights stay. PyTorch's own on GPUs,
    ours on processors, which PyTorch's does not support.
    """
    if rank_and_world_size()[1] == 1:
        return
    if next(network.parameters()).device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SynchronisedBatchNorm2d
