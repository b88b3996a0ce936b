"""GANimation's generator and critic (Pumarola et al., arXiv 1807.09251), as published, and our warping generator.

Parameter names follow the public code, so its state dicts load unchanged: `main.0.weight`, `img_reg.0.weight`, and
`attetion_reg.0.weight` with its spelling. Images are float32 (B, 3, S, S) in -1 to 1, Action Units float32 (B, U) in 0
to 1.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from twfer_dist.core.taxonomy import ACTION_UNITS, MAX_INTENSITY


class ResidualBlock(nn.Module):
    """x + IN(conv(relu(IN(conv(x))))): 3x3 convolutions with `width` channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.InstanceNorm2d(width, affine=True),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.InstanceNorm2d(width, affine=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.main(x)


class Generator(nn.Module):
    """G(I | y): a colour mask and an attention mask for the image I and the wanted Action Units y (section 4.1).

    A 7x7 convolution, two downsampling layers, six residual blocks, two upsampling layers, and two 7x7 heads. Instance
    norms are affine and use each image's own statistics, in training and in inference.

    forward(image (B, 3, S, S) in -1..1, units (B, U) in 0..1), S a multiple of 4, returns
        colour (B, 3, S, S) in -1..1, attention (B, 1, S, S) in 0..1.
    """

    def __init__(self, width: int = 64, units: int = len(ACTION_UNITS), blocks: int = 6) -> None:
        super().__init__()
        self.width = width
        layers: list[nn.Module] = [
            nn.Conv2d(3 + units, width, 7, padding=3, bias=False),
            nn.InstanceNorm2d(width, affine=True),
            nn.ReLU(inplace=True),
        ]
        channels = width
        for _ in range(2):
            layers += [
                nn.Conv2d(channels, 2 * channels, 4, stride=2, padding=1, bias=False),
                nn.InstanceNorm2d(2 * channels, affine=True),
                nn.ReLU(inplace=True),
            ]
            channels *= 2
        layers += [ResidualBlock(channels) for _ in range(blocks)]
        for _ in range(2):
            layers += [
                nn.ConvTranspose2d(channels, channels // 2, 4, stride=2, padding=1, bias=False),
                nn.InstanceNorm2d(channels // 2, affine=True),
                nn.ReLU(inplace=True),
            ]
            channels //= 2
        self.main = nn.Sequential(*layers)
        self.img_reg = nn.Sequential(nn.Conv2d(width, 3, 7, padding=3, bias=False), nn.Tanh())
        self.attetion_reg = nn.Sequential(nn.Conv2d(width, 1, 7, padding=3, bias=False), nn.Sigmoid())

    def forward(self, image: Tensor, units: Tensor) -> tuple[Tensor, ...]:
        planes = units[:, :, None, None].expand(-1, -1, *image.shape[2:])
        features = self.main(torch.cat([image, planes], dim=1))
        return self.img_reg(features), self.attetion_reg(features)


class ModulatedBlock(nn.Module):
    """A residual block with `width` channels; the requested change scales and shifts its normalised features."""

    def __init__(self, width: int, units: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.InstanceNorm2d(width)
        self.first_style, self.second_style = nn.Linear(units, 2 * width), nn.Linear(units, 2 * width)

    def forward(self, x: Tensor, change: Tensor) -> Tensor:
        change = MAX_INTENSITY * change  # on the scale of the features; otherwise it takes hundreds of steps to matter
        y = torch.relu(self._modulate(self.first(x), self.first_style(change)))
        return x + self._modulate(self.second(y), self.second_style(change))

    def _modulate(self, y: Tensor, style: Tensor) -> Tensor:
        scale, shift = style[:, :, None, None].chunk(2, dim=1)
        return self.norm(y) * (1 + scale) + shift


class WarpingGenerator(nn.Module):
    """Our generator: conditioned on the *change* of the Action Units, with a third head that warps the image.

    An expression is mostly motion, and warped pixels keep their grain and cracks at any resolution. The colour head
    paints only what motion cannot produce: an open mouth, a fold and its shadow. The change modulates the normalised
    features of the residual blocks (Huang and Belongie 2017). GANimation appends it to the image as constant planes,
    which the first instance norm removes again, except for what leaks in from the border. The trunk runs at half the
    image's resolution, with FOLD x FOLD pixels folded into channels (Shi et al. 2016).

    forward(image (B, 3, S, S) in -1..1, change (B, U) in -1..1), S a multiple of 8, returns colour and attention as
        `Generator` does, and flow (B, 2, S, S): the offset, right and down, from which each pixel is sampled, in
        halves of the image's side.
    """

    FOLD = 2
    REACH = 0.25
    """The largest flow, in halves of the side: a dropped jaw moves the chin by 0.15."""

    def __init__(self, width: int = 64, units: int = len(ACTION_UNITS), blocks: int = 6) -> None:
        super().__init__()
        self.width = width

        def step(layer: nn.Module, channels: int) -> nn.Sequential:
            return nn.Sequential(layer, nn.InstanceNorm2d(channels, affine=True), nn.ReLU(inplace=True))

        self.first = step(nn.Conv2d(3 * self.FOLD**2, width, 7, padding=3, bias=False), width)
        self.down = nn.Sequential(
            *(
                step(nn.Conv2d(width << k, width << k + 1, 4, stride=2, padding=1, bias=False), width << k + 1)
                for k in (0, 1)
            )
        )
        self.blocks = nn.ModuleList(ModulatedBlock(4 * width, units) for _ in range(blocks))
        self.up = nn.Sequential(
            *(step(nn.ConvTranspose2d(2 * c, c, 4, stride=2, padding=1, bias=False), c) for c in (2 * width, width))
        )
        self.colour = nn.Conv2d(width, 3 * self.FOLD**2, 7, padding=3)
        self.attention = nn.Conv2d(width, self.FOLD**2, 7, padding=3)
        self.flow = nn.Conv2d(width, 2, 7, padding=3)
        # At first nothing moves, and hardly anything is painted.
        for head, start in ((self.attention, 4.0), (self.flow, 0.0)):
            nn.init.zeros_(head.weight)
            nn.init.constant_(head.bias, start)  # type: ignore[arg-type]

    def forward(self, image: Tensor, change: Tensor) -> tuple[Tensor, ...]:
        return self.decode(self.encode(image), change)

    def encode(self, image: Tensor) -> Tensor:
        """Features of the image, (B, 4 width, S / 8, S / 8), independent of the change."""
        return self.down(self.first(F.pixel_unshuffle(image, self.FOLD)))

    def decode(self, features: Tensor, change: Tensor) -> tuple[Tensor, ...]:
        """The outputs of `forward` from `encode`d images."""
        side = features.shape[-1] * 4 * self.FOLD
        for block in self.blocks:
            features = block(features, change)
        features = self.up(features)
        colour = F.pixel_shuffle(torch.tanh(self.colour(features)), self.FOLD)
        attention = F.pixel_shuffle(torch.sigmoid(self.attention(features)), self.FOLD)
        flow = self.REACH * torch.tanh(self.flow(features).float())
        return colour, attention, F.interpolate(flow, (side, side), mode="bilinear", align_corners=False)


AnyGenerator = Generator | WarpingGenerator


def conditioning(generator: AnyGenerator, own: Tensor, wanted: Tensor) -> Tensor:
    """The generator's conditioning vector (B, U), from the image's own and the wanted Action Units (B, U) in 0..1."""
    return wanted - own if isinstance(generator, WarpingGenerator) else wanted


class Critic(nn.Module):
    """D(I): a patch score and the Action Units of I (section 4.1), from `depth` stride-2 convolutions and two heads.

    forward(image (B, 3, size, size)) returns score (B, s, s), s = size / 2^depth, and units (B, U), unbounded.
    """

    def __init__(self, size: int = 128, width: int = 64, units: int = len(ACTION_UNITS), depth: int = 6) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for k in range(depth):
            layers += [nn.Conv2d(channels, width << k, 4, stride=2, padding=1), nn.LeakyReLU(0.01, inplace=True)]
            channels = width << k
        self.main = nn.Sequential(*layers)
        self.conv1 = nn.Conv2d(channels, 1, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(channels, units, size >> depth, bias=False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        features = self.main(image)
        return self.conv1(features).squeeze(1), self.conv2(features).flatten(1)


def fuse(image: Tensor, colour: Tensor, attention: Tensor, flow: Tensor | None = None) -> Tensor:
    """The animated image, equation 1 of the paper: attention * image + (1 - attention) * colour, at any common size.

    flow: of a `WarpingGenerator`; the image is warped by it first.
    """
    warped = image if flow is None else warp(image, flow)
    return attention * warped + (1 - attention) * colour


def warp(image: Tensor, flow: Tensor) -> Tensor:
    """The image (B, C, H, W) sampled at `flow` (B, 2, H, W), right and down in halves of its side, from each pixel.

    Bilinear; border pixels repeat.
    """
    height, width = image.shape[2:]
    down = (torch.arange(height, device=image.device) + 0.5) * 2 / height - 1
    right = (torch.arange(width, device=image.device) + 0.5) * 2 / width - 1
    grid = torch.stack(torch.meshgrid(right, down, indexing="xy"), dim=-1) + flow.permute(0, 2, 3, 1)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)
