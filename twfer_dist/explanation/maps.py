"""Where in a face a recogniser found its answer: integrated gradients on a small grid.

Three methods were compared on 36 rendered faces and the demo's ARM. Integrated gradients put 0.31 of the map where the
face had really moved, occlusion 0.30 at five times the cost, GradCAM on the last three stages of the trunk 0.15 to
0.18; that region was 0.11 of the picture.
"""

import copy
from collections.abc import Callable

import cv2
import numpy as np
import torch
from captum.attr import IntegratedGradients
from torch import Tensor, nn

from twfer_dist.core.images import resize_square
from twfer_dist.dataset.loader import normalise
from twfer_dist.recognition.recogniser import Recogniser

GRID = 28
"""Rows and columns of a map."""

STEPS = 16
"""Of the integral. With 64, a map changes by 7 % of its sum, and its part where the face moved by 0.001."""

_BLUR = 1 / 8  # of the picture's side: the standard deviation of the blur that leaves a face without features


def attribution_map(network: nn.Module, pixels: np.ndarray, label: int) -> np.ndarray:
    """How much each place speaks for the answer `label` (1 to 7), float32 (GRID, GRID); negative where it speaks
    against it.

    Integrated gradients (Sundararajan, Taly and Yan 2017, eq. 1) of the label's logit less the mean of the seven, from
    the face with all its features blurred to the face itself, summed over colours. The values add up to the difference
    that the features make. pixels: uint8 RGB (size, size, 3).
    """

    def centred(images: Tensor) -> Tensor:
        logits = network(images)
        return logits - logits.mean(1, keepdim=True)

    side = len(pixels)
    blurred = cv2.GaussianBlur(pixels, (0, 0), side * _BLUR)
    face, baseline = (normalise(image[None], "cpu") for image in (pixels, blurred))
    found = IntegratedGradients(centred).attribute(
        face, baselines=baseline, target=label - 1, n_steps=STEPS, internal_batch_size=STEPS
    )
    summed = found.sum(1)[0].detach().numpy().astype(np.float32)
    smooth = cv2.GaussianBlur(summed, (0, 0), side / GRID)  # single pixels mean nothing
    return cv2.resize(smooth, (GRID, GRID), interpolation=cv2.INTER_AREA) * (side / GRID) ** 2


def randomised(recogniser: Recogniser) -> nn.Module:
    """The recogniser's network with random weights: an explanation that stays the same explains the picture, not the
    network (Adebayo et al. 2018, the model parameter randomisation test). The same weights in every call.
    """
    network = copy.deepcopy(recogniser.network)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for module in network.modules():
            # The statistics of batch norm stay: with others, the signal would die on the way or overflow.
            reset: Callable[[], None] | None = getattr(module, "reset_parameters", None)
            if reset and not isinstance(module, nn.BatchNorm2d):
                reset()
    return network.eval()


def to_grid(region: np.ndarray) -> np.ndarray:
    """The share of each cell that a region covers, float32 (GRID, GRID). region: bool (S, S)."""
    return cv2.resize(region.astype(np.float32), (GRID, GRID), interpolation=cv2.INTER_AREA)


def sized(image: np.ndarray, recogniser: Recogniser) -> np.ndarray:
    """A square crop at the size that the recogniser takes."""
    return resize_square(image, recogniser.size)
