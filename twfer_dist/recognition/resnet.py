"""ResNet-18 (He et al., arXiv 1512.03385) from torchvision, with the parameter names of the public ARM code."""

from torch import Tensor, nn
from torchvision.models import resnet18

from twfer_dist.core.taxonomy import EXPRESSIONS

CHANNELS = 512
"""Channels of the trunk's output."""

STRIDE = 32
"""Pixels of the image for each position of the trunk's output."""


def trunk() -> nn.Sequential:
    """ResNet-18 without its pooling, random weights: (B, 3, S, S) -> (B, 512, ceil(S / 32), ceil(S / 32))."""
    return nn.Sequential(*list(resnet18(weights=None).children())[:-2])


class ResNet18(nn.Module):
    """ResNet-18 with seven outputs. State-dict names: `features.*` (the trunk) and `fc.*`.

    forward(image (B, 3, S, S), normalised as in `dataset.loader`) returns logits (B, 7).
    """

    channels = CHANNELS

    def __init__(self) -> None:
        super().__init__()
        self.features = trunk()
        self.fc = nn.Linear(CHANNELS, len(EXPRESSIONS))

    def head(self, features: Tensor) -> Tensor:
        """Logits (B, 7) of the trunk's output (B, 512, s, s): its mean over the positions, and a linear layer."""
        return self.fc(features.mean((2, 3)))

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.features(image))
