"""A perceptual distance in the features of the network that measures faces."""

import torch
from torch import Tensor
from torch.nn import functional as F

from twfer_dist.measurement.network import SIZE, FaceNetwork, standardised


def feature_distance(network: FaceNetwork, a: Tensor, b: Tensor) -> Tensor:
    """A map (B, 1, S, S) of how differently the network sees two pictures, (B, 3, S, S) in -1..1; 0 where equal.

    As LPIPS (Zhang et al. 2018), without its learned weights, on grey pictures: after the stem and after each block,
    channels are normalised at each position, and their squared difference is enlarged to the picture; the mean over
    these layers.
    """
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    x = torch.cat([a, b])
    grey = F.interpolate(
        (x * weights).sum(1, keepdim=True), (SIZE, SIZE), mode="bilinear", antialias=True, align_corners=False
    )
    x = standardised((grey.squeeze(1) + 1) * 127.5)
    maps = []
    for layer in (network.stem, *network.body):
        x = layer(x)
        one, other = F.normalize(x).chunk(2)
        difference = (one - other).square().sum(1, keepdim=True)
        maps.append(F.interpolate(difference, a.shape[2:], mode="bilinear", align_corners=False))
    return torch.stack(maps).mean(0)
