"""Batch norms over the images of all workers, so that a batch gives the same result however it is divided."""

from typing import Any

import torch
from torch import Tensor, nn

from twfer_dist.training.distributed import rank_and_world_size, stacked, total


class SynchronisedBatchNorm2d(nn.BatchNorm2d):
    """A batch norm whose statistics, in training, are those of all workers' images: on any device.

    PyTorch's SyncBatchNorm computes the same, on GPUs only. A worker may have no image of a batch.
    """

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or rank_and_world_size()[1] == 1:
            return super().forward(input)
        x = input.to(torch.promote_types(input.dtype, torch.float32))
        mean, variance, count = _of_all_workers(x.detach())
        self._remember(mean, variance * count / (count - 1))
        return _Normalised.apply(x, self.weight, self.bias, mean, variance, count, self.eps).to(input.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum or 0.1)
            self.running_var.lerp_(variance, self.momentum or 0.1)


def _of_all_workers(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance (C,) of each channel over the images (N, C, H, W) of all workers, and its number of values."""
    count = x.new_tensor([x.numel() / x.shape[1]])
    variance, mean = torch.var_mean(x, (0, 2, 3), correction=0) if len(x) else (x.new_zeros(x.shape[1]),) * 2
    counts, means, variances = stacked(torch.cat([count, mean, variance])).split([1, len(mean), len(mean)], 1)
    whole = counts.sum()
    mean = (counts * means).sum(0) / whole
    squares = (counts * (variances + (means - mean) ** 2)).sum(0)  # of the parts, and between them
    return mean, squares / whole, whole


class _Normalised(torch.autograd.Function):
    """Values normalised by statistics of all workers, which depend on the values themselves. PyTorch's own kernels do
    what each worker can do alone, so that only the sums in the gradient are left.
    """

    @staticmethod
    def forward(
        context: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, count: Tensor, eps: float
    ) -> Tensor:
        context.save_for_backward(x, weight, mean, variance, count)
        context.eps = eps
        return nn.functional.batch_norm(x, mean, variance, weight, bias, eps=eps)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance, count = context.saved_tensors
        gradient, of_weight, of_bias = gradients[0], torch.zeros_like(weight), torch.zeros_like(weight)
        if len(x):  # the kernel divides by the number of images; its statistics are constants
            gradient, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
                gradient, x, weight, mean, variance, None, None, False, context.eps, [True, True, True]
            )
        products, sums = total(torch.stack([of_weight, of_bias])) / count
        scale = torch.rsqrt(variance + context.eps)
        slope = -weight * scale**2 * products
        offset = -weight * scale * sums - slope * mean
        gradient = gradient.addcmul(x, slope[:, None, None]).add_(offset[:, None, None])
        return gradient, of_weight, of_bias, None, None, None, None


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
