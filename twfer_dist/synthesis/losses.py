"""GANimation's losses (arXiv 1807.09251, section 4.2), and those of supervised pairs.

Every loss is a mean over images, so that the mean over the workers' equal shares of a batch is the loss of the whole
batch. The public code depends on the batch size B in two places: the Action Unit loss is weighted 4000 / B, and the
smoothness is summed over the batch. Both are fixed at their value for the paper's B = 25.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from twfer_dist.synthesis.networks import fuse, warp

PUBLIC_BATCH = 25
GRADIENT_PENALTY = 10.0
ACTION_UNITS = 4000.0 / PUBLIC_BATCH  # 160, for any batch and any split of it
CYCLE = 10.0
ATTENTION = 0.1
SMOOTHNESS = 1e-5 * PUBLIC_BATCH

NOISE, CHANGE = 0.05, 0.15
"""Of `change`, in -1..1: differences of input and truth up to NOISE (6 of 255 levels) are grain and JPEG, and CHANGE is
the scale on which larger ones count.
"""


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    """E[(|grad_x D(x)|_2 - 1)^2] on x = mix * real + (1 - mix) * fake (equation 2, third term).

    critic: images to scores of any shape, whose sum over patches is differentiated, as in the public code. real, fake:
    (B, 3, S, S). mix: (B, 1, 1, 1) uniform in 0..1. Differentiable with respect to the critic.
    """
    between = (mix * real + (1 - mix) * fake).detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return ((gradient.flatten(1).norm(dim=1) - 1) ** 2).mean()


def action_unit_loss(units: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared difference of regressed and wanted Action Units, both (B, U) (equation 4)."""
    return F.mse_loss(units, wanted)


def smoothness(attention: Tensor) -> Tensor:
    """Total variation of the attention masks (B, 1, S, S) (equation 3): absolute differences of neighbours, summed over
    each image and averaged over the images.
    """
    down = (attention[:, :, 1:] - attention[:, :, :-1]).abs().sum()
    right = (attention[:, :, :, 1:] - attention[:, :, :, :-1]).abs().sum()
    return (down + right) / len(attention)


def change(image: Tensor, truth: Tensor) -> Tensor:
    """How much `truth` differs from `image`, both (B, 3, S, S) in -1..1: (B, 1, S, S) in 0..1.

    1 - exp(-(d - NOISE) / CHANGE), where d is the largest difference of a channel at a pixel and its neighbours.
    """
    largest = F.max_pool2d((truth - image).abs().amax(dim=1, keepdim=True), 3, stride=1, padding=1)
    return 1 - torch.exp(-(largest - NOISE).clamp(min=0) / CHANGE)


MARGIN, SPREAD = 0.06, 0.02
"""How much nearer to the truth (mean difference of channels, in -1..1) paint must be than the warped input to replace
it, and how soft this threshold is.
"""


def paired_loss(
    image: Tensor, truth: Tensor, colour: Tensor, attention: Tensor, flow: Tensor | None = None
) -> dict[str, Tensor]:
    """The losses of a generated image whose truth is known (not in the paper: its photographs have no such pairs).

    image, truth and colour (B, 3, S, S) in -1..1, attention (B, 1, S, S) in 0..1. With m = `change`(image, truth):
        pixels: |fused - truth|, each pixel weighted 1 + 4 m;
        edges: the same of the differences of neighbouring pixels, which L1 alone leaves blurred;
        attention: binary cross entropy of attention with 1 - m: keep an input pixel to the degree it does not change.
    If the generator warps its input (flow (B, 2, S, S) in halves of the side), the target of attention is to keep the
    warped pixel unless paint is nearer to the truth by MARGIN, and there are two more:
        colour: |colour - truth|, each pixel weighted m: paint is trained even where it is not used yet;
        bend: the mean absolute difference of neighbouring flows in pixels: neighbours move together.
    """
    changed = change(image, truth)
    weight = 1 + 4 * changed
    moved = image if flow is None else warp(image, flow)
    error = fuse(moved, colour, attention) - truth
    pixels = (weight * error.abs()).mean()
    down = (weight[:, :, 1:] * (error[:, :, 1:] - error[:, :, :-1]).abs()).mean()
    right = (weight[:, :, :, 1:] * (error[:, :, :, 1:] - error[:, :, :, :-1]).abs()).mean()
    parts = {"pixels": pixels, "edges": down + right}
    attention = attention.clamp(1e-4, 1 - 1e-4)
    if flow is None:
        return parts | {"attention": F.binary_cross_entropy(attention, 1 - changed)}
    keep = _keep_warped(colour, moved, truth)
    bend = (flow[:, :, 1:] - flow[:, :, :-1]).abs().mean() + (flow[:, :, :, 1:] - flow[:, :, :, :-1]).abs().mean()
    return parts | {
        "attention": F.binary_cross_entropy(attention, keep),
        "colour": (changed * (colour - truth).abs()).mean(),
        "bend": bend * flow.shape[-1] / 2,
    }


@torch.no_grad()
def _keep_warped(colour: Tensor, moved: Tensor, truth: Tensor) -> Tensor:
    """The target of attention, (B, 1, S, S): near 0 where paint beats the warped input by MARGIN."""
    errors = [
        F.avg_pool2d((picture - truth).abs().mean(1, keepdim=True), 3, stride=1, padding=1)
        for picture in (colour, moved)
    ]
    return torch.sigmoid((errors[0] - errors[1] + MARGIN) / SPREAD)
