"""GANimation's generator and critic (Pumarola et al., arXiv 1807.09251), equal to the public ones; and our generator.

Module names are those of the public code, so that its state dicts load as they are: `main.0.weight`,
`img_reg.0.weight`, and `attetion_reg.0.weight` with its spelling. Images are float32 (B, 3, S, S) in -1 to 1, Action
Units float32 (B, U) in 0 to 1.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from twfer_dist.core.taxonomy import ACTION_UNITS, MAX_INTENSITY


class ResidualBlock(nn.Module):
    """x + IN(conv(relu(IN(conv(x))))), 3x3 convolutions of `width` channels."""

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

    7x7 convolution, two down, six residual blocks, two up, and two 7x7 heads. Instance norms are affine and use the
    image's own statistics in training and in inference.

    forward(image (B, 3, S, S) in -1..1, units (B, U) in 0..1), S a multiple of 4, gives
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
    """A residual block of `width` channels, whose normalised features are stretched and shifted as the wanted change
    says.
    """

    def __init__(self, width: int, units: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.InstanceNorm2d(width)
        self.first_style, self.second_style = nn.Linear(units, 2 * width), nn.Linear(units, 2 * width)

    def forward(self, x: Tensor, change: Tensor) -> Tensor:
        change = MAX_INTENSITY * change  # as large as the features: else it takes hundreds of steps to be heard
        y = torch.relu(self._styled(self.first(x), self.first_style(change)))
        return x + self._styled(self.second(y), self.second_style(change))

    def _styled(self, y: Tensor, style: Tensor) -> Tensor:
        stretch, shift = style[:, :, None, None].chunk(2, dim=1)
        return self.norm(y) * (1 + stretch) + shift


class WarpingGenerator(nn.Module):
    """Ours: it is told the *change* of the Action Units, and beside GANimation's two heads has a third that moves the
    image's pixels.

    An expression is mostly movement, and what is moved keeps its grain and its cracks, at any size of the image; colour
    is left to paint what movement cannot bring: an opened mouth, a fold and its shadow. The change enters behind the
    norms of the residual blocks (Huang and Belongie 2017): GANimation lays it beside the image as constant planes,
    which the instance norm behind the first convolution takes away again, all but what leaks in from the border. The
    trunk begins at half the image's side, on FOLD x FOLD pixels at each place (Shi et al. 2016).

    forward(image (B, 3, S, S) in -1..1, change (B, U) in -1..1), S a multiple of 8, gives colour and attention as
        `Generator` does, and flow (B, 2, S, S): how far right and down of itself each pixel is fetched from, in
        halves of the image's side.
    """

    FOLD = 2
    REACH = 0.25
    """The farthest that a pixel is fetched from, in halves of the side: a dropped jaw moves the chin by 0.15."""

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
        for head, start in (
            (self.attention, 4.0),
            (self.flow, 0.0),
        ):  # at first nothing moves, and hardly anything is painted
            nn.init.zeros_(head.weight)
            nn.init.constant_(head.bias, start)  # type: ignore[arg-type]

    def forward(self, image: Tensor, change: Tensor) -> tuple[Tensor, ...]:
        return self.decode(self.encode(image), change)

    def encode(self, image: Tensor) -> Tensor:
        """What the trunk sees in an image, (B, 4 width, S / 8, S / 8): the same whatever the change."""
        return self.down(self.first(F.pixel_unshuffle(image, self.FOLD)))

    def decode(self, features: Tensor, change: Tensor) -> tuple[Tensor, ...]:
        """What `forward` gives, of images that have been `seen`."""
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
    """What a generator is told, from the Action Units (B, U) in 0..1 that the image shows and those that it shall
    show.
    """
    return wanted - own if isinstance(generator, WarpingGenerator) else wanted


class Critic(nn.Module):
    """D(I): a patch score and the Action Units seen in I (section 4.1): `depth` stride-2 convolutions and two heads.

    forward(image (B, 3, size, size)) gives score (B, s, s) with s = size / 2^depth, and units (B, U), unbounded.
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

    flow: of a `WarpingGenerator`; the image is moved by it first.
    """
    moved = image if flow is None else warp(image, flow)
    return attention * moved + (1 - attention) * colour


def warp(image: Tensor, flow: Tensor) -> Tensor:
    """The image (B, C, H, W) whose pixels are fetched from where `flow` (B, 2, H, W) says, in halves of its side; edges
    repeat.
    """
    height, width = image.shape[2:]
    down = (torch.arange(height, device=image.device) + 0.5) * 2 / height - 1
    right = (torch.arange(width, device=image.device) + 0.5) * 2 / width - 1
    grid = torch.stack(torch.meshgrid(right, down, indexing="xy"), dim=-1) + flow.permute(0, 2, 3, 1)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)
