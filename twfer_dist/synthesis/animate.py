"""Animating crops with a generator, in plain PyTorch."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from twfer_dist.core.taxonomy import to_unit
from twfer_dist.synthesis.checkpoints import LoadedGenerator
from twfer_dist.synthesis.networks import AnyGenerator, WarpingGenerator, conditioning, fuse


def intensities(levels: int, drop_last: bool) -> list[float]:
    """The steps from the figure's own Action Units (0, not listed) to the reference's (1): 1/levels, 2/levels, ...

    drop_last: omit the strongest, as the paper does ("we cannot utilize the final column").
    """
    return [k / levels for k in range(1, levels + (not drop_last))]


def animate(
    generator: LoadedGenerator,
    crops: np.ndarray,
    own: np.ndarray,
    wanted: np.ndarray,
    device: torch.device | str = "cpu",
    *,
    bfloat16: bool = False,
) -> np.ndarray:
    """The crops, uint8 (B, S, S, 3) RGB, with their expression changed: uint8 (B, S, S, 3).

    own, wanted: Action Units float32 (B, 17) in 0..5, of the crops and of the result. The generator sees the crops at
    its own size; its outputs are enlarged and fused with the crop at full size (equation 1 of the paper), so that kept
    and warped regions stay as sharp as the photograph. bfloat16: for the network's convolutions; on average the result
    is 0.02 of 255 away from float32, and 999 of 1,000 values differ by at most 1.
    """
    image = torch.from_numpy(np.ascontiguousarray(crops)).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
    side = image.shape[2:]
    small = image
    if side[0] != generator.size:
        small = F.interpolate(
            image, (generator.size, generator.size), mode="bilinear", antialias=True, align_corners=False
        )
    with torch.inference_mode():
        units = [torch.from_numpy(to_unit(u)).to(device) for u in (own, wanted)]
        with torch.autocast(image.device.type, torch.bfloat16, enabled=bfloat16):
            outputs = _run_network(generator.network, small, conditioning(generator.network, *units))
        outputs = tuple(part.float() for part in outputs)
        if side[0] != generator.size:
            outputs = tuple(F.interpolate(part, side, mode="bicubic", align_corners=False) for part in outputs)
        colour, attention, *flow = outputs
        fused = fuse(image, colour, attention.clamp(0, 1), *flow)
    return ((fused.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def _run_network(network: AnyGenerator, images: Tensor, condition: Tensor) -> tuple[Tensor, ...]:
    """The network's outputs for images (B, 3, S, S); a `WarpingGenerator` encodes each run of equal images once."""
    if not isinstance(network, WarpingGenerator):
        return network(images, condition)
    new = torch.ones(len(images), dtype=torch.bool, device=images.device)
    new[1:] = (images[1:] != images[:-1]).flatten(1).any(1)
    return network.decode(network.encode(images[new])[new.cumsum(0) - 1], condition)
