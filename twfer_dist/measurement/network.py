"""The network that measures a face: 68 points, 17 Action Units, head pose, and the expected errors of the first two.

A small residual network (He et al. 2016) over a grey crop. Plain PyTorch.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from twfer_dist.core.landmarks import MIRRORED
from twfer_dist.core.taxonomy import ACTION_UNITS, MAX_INTENSITY

SIZE = 112
"""Side of the network's input crop in pixels."""

POINTS = 68
UNITS = len(ACTION_UNITS)
POSE = 3
_POSE_DEGREES = 20.0  # of a pose output of 1
_PIXELS = 10.0  # of a points output of 1, from the middle of the crop
_WIDTHS = (32, 64, 128, 256)
_MIN_SCALE = 1e-3


@dataclass(frozen=True)
class Measured:
    """The network's output for B faces. A scale is that of a Laplace distribution: the expected absolute error."""

    points: Tensor  # (B, 68, 2): x, y in pixels of the crop, iBUG's order
    point_scales: Tensor  # (B, 68), pixels
    units: Tensor  # (B, 17), intensities, 0 to 5 but not clipped
    unit_scales: Tensor  # (B, 17)
    pose: Tensor  # (B, 3): yaw (to the subject's left), pitch (up), roll in degrees

    def first(self, count: int) -> "Measured":
        return Measured(*(value[:count] for value in vars(self).values()))

    def mirrored(self) -> "Measured":
        """The measurements of the mirror images."""
        points = torch.stack([SIZE - 1 - self.points[..., 0], self.points[..., 1]], -1)[:, list(MIRRORED)]
        turned = self.pose * torch.tensor([-1.0, 1.0, -1.0], device=self.pose.device)
        return Measured(points, self.point_scales[:, list(MIRRORED)], self.units, self.unit_scales, turned)


class _Block(nn.Module):
    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(outside)
        self.second = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(outside)
        same = inside == outside and stride == 1
        self.short: nn.Module = nn.Identity() if same else nn.Conv2d(inside, outside, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.first_norm(self.first(x)))
        return torch.relu(self.second_norm(self.second(y)) + self.short(x))


class FaceNetwork(nn.Module):
    """forward(crop (B, 1, 112, 112), float32, each with mean 0 and standard deviation 1) gives `Measured`. 5.1 million
    parameters.
    """

    def __init__(self) -> None:
        super().__init__()
        a, b, c, d = _WIDTHS
        self.stem = nn.Sequential(nn.Conv2d(1, a, 5, 2, 2, bias=False), nn.BatchNorm2d(a), nn.ReLU())  # 56
        self.body = nn.Sequential(
            *(_Block(a, b, 2), _Block(b, b, 1)),  # 28
            *(_Block(b, c, 2), _Block(c, c, 1), _Block(c, c, 1)),  # 14
            *(_Block(c, d, 2), _Block(d, d, 1), _Block(d, d, 1)),  # 7
        )
        self.neck = nn.Sequential(nn.Conv2d(d, 64, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.Flatten())
        self.hidden = nn.Sequential(nn.Linear(64 * 49, 256), nn.ReLU())
        self.points = nn.Linear(256, 2 * POINTS)
        self.units = nn.Linear(256, UNITS)
        self.pose = nn.Linear(256, POSE)
        self.scales = nn.Linear(256, POINTS + UNITS)

    def forward(self, crop: Tensor) -> Measured:
        features = self.hidden(self.neck(self.body(self.stem(crop)))).float()
        scales = nn.functional.softplus(self.scales(features)) + _MIN_SCALE
        return Measured(
            SIZE / 2 + _PIXELS * self.points(features).view(-1, POINTS, 2),
            scales[:, :POINTS],
            MAX_INTENSITY / 4 + self.units(features),
            scales[:, POINTS:],
            _POSE_DEGREES * self.pose(features),
        )


def standardised(grey: Tensor) -> Tensor:
    """Grey crops, uint8 (B, S, S), as the network's input: float32 (B, 1, S, S), each with mean 0 and standard
    deviation 1.
    """
    x = grey.float().unsqueeze(1)
    deviation, mean = torch.std_mean(x, (2, 3), keepdim=True)
    return (x - mean) / (deviation + 4)


@torch.inference_mode()
def predict_batch(network: nn.Module, grey: Tensor) -> Measured:
    """The output of a network in inference mode for crops, uint8 (B, S, S), averaged with that for their mirror images,
    so that neither side is favoured.
    """
    both = standardised(torch.cat([grey, grey.flip(2)])).contiguous(memory_format=torch.channels_last)
    parts = [value.chunk(2) for value in vars(network(both)).values()]
    plain, mirror = (Measured(*halves) for halves in zip(*parts, strict=True))
    pairs = zip(vars(plain).values(), vars(mirror.mirrored()).values(), strict=True)
    return Measured(*((a + b) / 2 for a, b in pairs))
