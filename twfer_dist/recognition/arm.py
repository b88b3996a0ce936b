"""ARM, the Amend Representation Module on ResNet-18 (Shi and Zhu, arXiv 2103.10189), as in the public code.

Padding makes the edges of a trunk's output pale ("albino"); ARM weighs them down with one large convolution, and then
adds to each face what all faces share. In the public code "all faces" is the batch, in inference too, so that the
prediction for a face depends on its neighbours. Here inference uses a running mean, or the batch mean on request.
"""

import torch
from torch import Tensor, nn

from twfer_dist.core.errors import UserError
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.recognition.resnet import CHANNELS, STRIDE, trunk
from twfer_dist.training.distributed import rank_and_world_size, total

SMALLEST = 96
"""The smallest image in pixels: at 64 a single value would be left of a face."""

_BLOCK = 16  # PixelShuffle: 512 channels at 7 x 7 become 2 channels at 112 x 112
_KERNEL, _STEP = 32, 8  # of the de-albino convolution


def side(size: int) -> int:
    """The side of ARM's output for images of `size` pixels: 11 at 224, 5 at 112, 3 at 96."""
    return (_BLOCK * -(-size // STRIDE) - _KERNEL) // _STEP + 1


class Amend(nn.Module):
    """The three parts of section 3: feature arrangement, de-albino and sharing affinity.

    forward(features (B, 512, s, s)) returns (B, 1, t, t), t = side(32 s):
        x = BatchNorm(deAlbino(PixelShuffle(features)))        (B, 2, t, t), one kernel for both channels
        mean_channels(x) + alpha * mean_batch,channels(x)
    In inference the second mean is the running mean from training (momentum 0.1, as in batch norm), so that a
    prediction depends on its face only. `batch_mean=True` uses the batch mean in inference too, as the public code.
    In training the batch is that of all workers.
    """

    shared: Tensor

    def __init__(self, t: int, *, batch_mean: bool = False) -> None:
        super().__init__()
        self.batch_mean = batch_mean
        self.arrangement = nn.PixelShuffle(_BLOCK)
        self.de_albino = nn.Conv2d(1, 1, _KERNEL, stride=_STEP, bias=False)
        self.bn = nn.BatchNorm2d(CHANNELS // _BLOCK**2)
        self.alpha = nn.Parameter(torch.ones(1))
        self.register_buffer("shared", torch.zeros(t, t))

    def forward(self, features: Tensor) -> Tensor:
        x = self.arrangement(features)
        batch, channels = x.shape[:2]
        x = self.de_albino(x.flatten(0, 1).unsqueeze(1))
        x = self.bn(x.view(batch, channels, *x.shape[2:]))
        if self.training or self.batch_mean:
            shared = _batch_mean(x) if self.training else x.mean((0, 1))
            if self.training:
                self.shared.lerp_(shared.detach().to(self.shared.dtype), self.bn.momentum or 0.1)
        else:
            shared = self.shared
        return x.mean(1, keepdim=True) + self.alpha * shared


def _batch_mean(x: Tensor) -> Tensor:
    """The mean (t, t) over the channels and the images of all workers of x (B, C, t, t)."""
    if rank_and_world_size()[1] == 1:
        return x.mean((0, 1))
    images = total(torch.tensor(len(x), device=x.device))
    precise = torch.promote_types(x.dtype, torch.float32)
    return (total(x.sum((0, 1), dtype=precise)) / (images * x.shape[1])).to(x.dtype)


class ARM(nn.Module):
    """ResNet-18's trunk, ARM, and a linear layer. State-dict names are the public ones: `features.*`, `arm.*`, `fc.*`.

    Only the buffer `arm.shared` (the running mean) is ours. size: pixels of the square images, at least SMALLEST.
    forward(image (B, 3, size, size), normalised as in `dataset.loader`) returns logits (B, 7).
    """

    channels = CHANNELS

    def __init__(self, size: int = 224, *, batch_mean: bool = False) -> None:
        if size < SMALLEST:
            raise UserError(f"ARM cannot use images of {size} pixels: set size to {SMALLEST} or more, or use resnet18.")
        super().__init__()
        t = side(size)
        self.features = trunk()
        self.arm = Amend(t, batch_mean=batch_mean)
        self.fc = nn.Linear(t * t, len(EXPRESSIONS))

    def head(self, features: Tensor) -> Tensor:
        """Logits (B, 7) of the trunk's output (B, 512, s, s)."""
        return self.fc(self.arm(features).flatten(1))

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.features(image))
