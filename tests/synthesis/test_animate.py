"""Animating crops with a generator."""

from pathlib import Path

import cv2
import numpy as np
import torch

from twfer_dist.core.prototypes import prototype
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.engine.config import package_path
from twfer_dist.synthesis import checkpoints
from twfer_dist.synthesis.animate import animate, intensities
from twfer_dist.synthesis.networks import Generator, WarpingGenerator


class HalfPainted(Generator):
    """Keeps the upper half, paints the lower half white."""

    def forward(self, image: torch.Tensor, units: torch.Tensor) -> tuple[torch.Tensor, ...]:
        attention = torch.ones_like(image[:, :1])
        attention[:, :, 32:] = 0
        return torch.ones_like(image), attention


def test_where_attention_is_one_pixels_are_kept() -> None:
    loaded = checkpoints.LoadedGenerator(HalfPainted(4), 64, "")
    crops = np.random.default_rng(0).integers(0, 256, (2, 112, 112, 3), dtype=np.uint8)
    animated = animate(loaded, crops, *np.zeros((2, 2, 17), np.float32))
    assert (animated[:, :54] == crops[:, :54]).all()
    assert (animated[:, 58:] == 255).all()


def test_equal_crops_are_encoded_once_with_the_same_result() -> None:
    torch.manual_seed(0)
    network = WarpingGenerator(4)
    torch.nn.init.normal_(network.attention.weight, std=0.1)
    loaded = checkpoints.LoadedGenerator(network.eval(), 64, "")
    rng = np.random.default_rng(0)
    crops = rng.integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)[[0, 0, 1]]
    wanted = rng.uniform(0, 5, (3, 17)).astype(np.float32)
    together = animate(loaded, crops, np.zeros_like(wanted), wanted).astype(int)
    each = [animate(loaded, crops[k : k + 1], 0 * wanted[:1], wanted[k : k + 1])[0] for k in range(3)]
    assert np.abs(together - np.stack(each)).max() <= 1
    assert np.abs(together[0] - together[1]).max() > 1


def test_bfloat16_hardly_changes_the_pictures() -> None:
    loaded = checkpoints.load_generator(package_path("package:weights/generator.safetensors"))
    photographs = sorted(Path(package_path("package:demo/tw58")).rglob("*.jpg"))[:8]
    pictures = [np.asarray(cv2.imread(str(path))) for path in photographs]
    crops = np.stack([cv2.resize(picture, (128, 128), interpolation=cv2.INTER_AREA)[..., ::-1] for picture in pictures])
    wanted = np.stack([prototype(name) for name in EXPRESSIONS] + [prototype("surprise")]).astype(np.float32)
    float32, bfloat16 = (
        animate(loaded, crops, np.zeros_like(wanted), wanted, bfloat16=half).astype(int) for half in (False, True)
    )
    difference = np.abs(float32 - bfloat16)
    assert difference.mean() < 0.5 and np.quantile(difference, 0.999) <= 2
    assert difference.any()  # it was computed in another precision


def test_intensities_leave_out_the_strongest() -> None:
    assert intensities(5, True) == [0.2, 0.4, 0.6, 0.8]
    assert intensities(2, False) == [0.5, 1.0]
