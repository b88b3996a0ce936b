"""Mixup (arXiv 1710.09412) and CutMix (arXiv 1905.04899) by torchvision, the same on any number of workers."""

from typing import Literal

import torch
from torch import Tensor
from torchvision.transforms import v2

from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.dataset.parts import hash_of

_KINDS = {"mixup": v2.MixUp, "cutmix": v2.CutMix}


def mixed(
    images: Tensor, labels: Tensor, lanes: Tensor, kind: Literal["mixup", "cutmix"], alpha: float, seed: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """Images (B, 3, S, S), each blended with its neighbour, and their shares of the expressions, float (B, 7).

    lanes: int64 (B,), on the CPU. Neighbours are of one lane of the order of images (`dataset.order`), whose images of
    a batch are on one worker; a lane's images are blended by the same share, drawn from `seed` and the lane.
    """
    blend = _KINDS[kind](alpha=alpha, num_classes=len(EXPRESSIONS))
    blended, shares = torch.empty_like(images), images.new_zeros((len(labels), len(EXPRESSIONS)))
    for lane in lanes.unique().tolist():
        rows = torch.nonzero(lanes == lane).squeeze(1).to(images.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(hash_of(*seed, lane) % 2**63)
            blended[rows], shares[rows] = blend(images[rows], labels[rows])
    return blended, shares
