"""AU-ResNet: the network that measures Action Units, trained on to recognise expressions."""

from torch import Tensor, nn

from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.dataset.loader import DEVIATION, MEAN
from twfer_dist.measurement.network import SIZE, FaceNetwork, standardised

CHANNELS = 256
"""Channels of the trunk's output."""

_HIDDEN = 256
_LUMA = (0.299, 0.587, 0.114)


class Grey(nn.Module):
    """Images (B, 3, S, S), normalised as in `dataset.loader`, as the measuring network's input (B, 1, 112, 112)."""

    def forward(self, image: Tensor) -> Tensor:
        mean, deviation, luma = (image.new_tensor(values).view(1, 3, 1, 1) for values in (MEAN, DEVIATION, _LUMA))
        grey = 255 * ((image * deviation + mean) * luma).sum(1)
        if grey.shape[-1] != SIZE:
            grey = nn.functional.interpolate(grey[:, None], (SIZE, SIZE), mode="bilinear", antialias=True)[:, 0]
        return standardised(grey)


class AUResNet(nn.Module):
    """The layers of `measurement.network.FaceNetwork` up to its hidden one, and a linear layer for the expressions.

    It begins with what the measuring network has learned from rendered heads (`recogniser.load_weights`): faces of few
    figures are enough to tell it which movements make an expression. State-dict names: `features.*` (the trunk),
    `neck.*`, `hidden.*` and `fc.*`. forward(image (B, 3, S, S), normalised as in `dataset.loader`) returns logits
    (B, 7).
    """

    channels = CHANNELS

    def __init__(self) -> None:
        super().__init__()
        network = FaceNetwork()
        self.features = nn.Sequential(Grey(), network.stem, network.body)
        self.neck, self.hidden = network.neck, network.hidden
        self.fc = nn.Linear(_HIDDEN, len(EXPRESSIONS))

    def head(self, features: Tensor) -> Tensor:
        """Logits (B, 7) of the trunk's output (B, 256, 7, 7)."""
        return self.fc(self.hidden(self.neck(features)))

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.features(image))
