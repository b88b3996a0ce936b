"""Animating crops with a generator, in plain PyTorch, and laying the results out as a strip."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch.nn import functional as F

from twfer_dist.synthesis.checkpoints import LoadedGenerator
from twfer_dist.synthesis.networks import fuse
from twfer_dist.taxonomy import to_unit


def intensities(levels: int, drop_last: bool) -> list[float]:
    """The steps from the source's own Action Units (0, not listed) towards the reference's (1): 1/levels, 2/levels, ...

    drop_last: leave out the strongest, as the paper does ("we cannot utilize the final column").
    """
    return [k / levels for k in range(1, levels + (not drop_last))]


def animate(generator: LoadedGenerator, crops: np.ndarray, units: np.ndarray, device: torch.device | str = "cpu") -> np.ndarray:
    """Crops uint8 (B, S, S, 3) RGB with the Action Units float32 (B, 17) in 0..5 that they are asked to show: uint8 (B, S, S, 3).

    The generator sees the crops at its own size. Its colour and attention are enlarged and meet the crop at the crop's size
    in equation 1 of the paper, so that where attention keeps the source, the sculpture's texture stays as sharp as it was.
    """
    image = torch.from_numpy(np.ascontiguousarray(crops)).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
    side = image.shape[2:]
    small = image
    if side[0] != generator.size:
        small = F.interpolate(image, (generator.size, generator.size), mode="bilinear", antialias=True, align_corners=False)
    with torch.inference_mode():
        colour, attention = generator.network(small, torch.from_numpy(to_unit(units)).to(device))
        if side[0] != generator.size:
            colour = F.interpolate(colour, side, mode="bicubic", align_corners=False)
            attention = F.interpolate(attention, side, mode="bilinear", align_corners=False)
        fused = fuse(image, colour, attention)
    return ((fused.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def strip(source: bytes, rows: Sequence[tuple[str, Sequence[bytes]]], side: int = 96) -> np.ndarray:
    """A face's animations for the eye, uint8 (H, W, 3) RGB: a row for each expression, from the source to the strongest.

    source: the encoded crop. rows: an expression's name and its encoded images from weak to strong. side: pixels of a cell.
    """
    lines = []
    for name, images in rows:
        label = np.full((side, side, 3), 255, np.uint8)
        cv2.putText(label, name, (4, side // 2), cv2.FONT_HERSHEY_SIMPLEX, side / 230, (40, 40, 40), 1, cv2.LINE_AA)
        lines.append(np.concatenate([label, *(_cell(data, side) for data in (source, *images))], axis=1))
    return np.concatenate(lines)


def _cell(data: bytes, side: int) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None, "an image of our own tables"
    return cv2.cvtColor(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB)
