"""Maps of what a network looks at, on networks whose truth is known."""

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from twfer_dist.dataset.loader import normalise
from twfer_dist.explanation.maps import GRID, attribution_map, randomised, to_grid
from twfer_dist.recognition.calibration import Novelty, Threshold
from twfer_dist.recognition.recogniser import Recogniser, build

SIDE = 56


class LooksLeft(nn.Module):
    """Its logit for surprise is the mean brightness of the left third of a picture; its others are 0."""

    def forward(self, images: Tensor) -> Tensor:
        seen = images[:, :, :, : SIDE // 3].mean((1, 2, 3))
        return torch.stack([seen, *[torch.zeros_like(seen)] * 6], 1)


def face() -> np.ndarray:
    """Noise, with a dark patch that only one side of the picture has."""
    pixels = np.random.default_rng(0).integers(100, 255, (SIDE, SIDE, 3)).astype(np.uint8)
    pixels[20:40, 8:18] = 10
    return pixels


def recogniser() -> Recogniser:
    novelty = Novelty(np.zeros((1, 512), np.float32), np.eye(512, dtype=np.float32), 1.0)
    return Recogniser("r", build("resnet18", SIDE).eval(), SIDE, 1.0, Threshold(0.7, 0.5, 1, 1, 1), novelty)


def test_a_map_lies_where_the_network_looks() -> None:
    found = np.abs(attribution_map(LooksLeft(), face(), 1))
    assert found.shape == (GRID, GRID) and found.dtype == np.float32
    assert found[:, : GRID // 3 + 2].sum() > 0.97 * found.sum()


def test_a_map_adds_up_to_what_the_features_make() -> None:
    """For a linear network exactly: the logit of the face less that of the blurred one, less the mean of the seven."""
    blurred = cv2.GaussianBlur(face(), (0, 0), SIDE / 8)
    seen, unseen = (LooksLeft()(normalise(pixels[None], "cpu"))[0, 0].item() for pixels in (face(), blurred))
    total = attribution_map(LooksLeft(), face(), 1).sum()
    assert total == pytest.approx((seen - unseen) * 6 / 7, rel=0.05)


def test_random_weights_are_always_the_same() -> None:
    own = recogniser()
    before = {name: value.clone() for name, value in own.network.state_dict().items()}
    first, second = (randomised(own).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(torch.equal(own.network.state_dict()[name], value) for name, value in before.items())
    assert not torch.equal(first["fc.weight"], before["fc.weight"])


def test_a_region_on_the_grid_keeps_its_area() -> None:
    region = np.zeros((SIDE, SIDE), bool)
    region[:10, :20] = True
    assert to_grid(region).mean() == pytest.approx(region.mean(), abs=1e-6)
