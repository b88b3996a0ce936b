"""GANimation's networks against the public code's outputs, and our warping generator."""

from pathlib import Path

import numpy as np
import pytest
import torch

from twfer_dist.synthesis import checkpoints
from twfer_dist.synthesis.networks import Generator, WarpingGenerator, conditioning, fuse, warp

GOLDEN = Path(__file__).parents[1] / "data" / "ganimation_official.npz"


@pytest.fixture(scope="module")
def official() -> dict[str, torch.Tensor]:
    """Small public networks' weights with their inputs and outputs."""
    with np.load(GOLDEN) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def saved(official: dict[str, torch.Tensor], network: str, path: Path) -> str:
    start = f"{network}/state/"
    torch.save({name.removeprefix(start): v for name, v in official.items() if name.startswith(start)}, path)
    return str(path)


def test_generator_and_critic_equal_the_public_ones(official: dict[str, torch.Tensor], tmp_path: Path) -> None:
    generator = checkpoints.load_generator(saved(official, "G", tmp_path / "g.pth")).network
    critic = checkpoints.load_critic(saved(official, "D", tmp_path / "d.pth"))
    with torch.no_grad():
        colour, attention = generator(official["image"], official["aus"])
        score, units = critic(official["image"])
    outputs = {"color": colour, "attention": attention, "fused": fuse(official["image"], colour, attention)}
    outputs |= {"critic_score": score, "critic_aus": units}
    for name, value in outputs.items():
        assert value.shape == official[name].shape
        assert (value - official[name]).abs().max() <= 1e-5, name


@pytest.mark.parametrize("side", [32, 96])
def test_warp_samples_where_the_flow_points(side: int) -> None:
    image, flow = torch.rand(1, 3, side, side), torch.zeros(1, 2, side, side)
    torch.testing.assert_close(warp(image, flow), image, atol=1e-5, rtol=0)
    flow[:, 0] = 0.5  # a quarter of the side to the right
    torch.testing.assert_close(warp(image, flow)[..., : -side // 4], image[..., side // 4 :], atol=1e-5, rtol=0)
    torch.testing.assert_close(fuse(image, image * 0, torch.ones(1, 1, side, side), flow), warp(image, flow))


def test_our_generator_is_conditioned_on_the_change() -> None:
    own, wanted = torch.rand(2, 17), torch.rand(2, 17)
    torch.testing.assert_close(conditioning(WarpingGenerator(4), own, wanted), wanted - own)
    torch.testing.assert_close(conditioning(Generator(4), own, wanted), wanted)


def test_our_untrained_generator_moves_nothing() -> None:
    colour, attention, flow = WarpingGenerator(4)(torch.rand(2, 3, 32, 32), torch.rand(2, 17))
    assert colour.shape == (2, 3, 32, 32)
    assert attention.shape == (2, 1, 32, 32) and attention.min() > 0.9
    assert flow.shape == (2, 2, 32, 32) and (flow == 0).all()


def test_our_generator_is_recognised_in_its_file(tmp_path: Path) -> None:
    ours = WarpingGenerator(4)
    (tmp_path / "g.safetensors").write_bytes(checkpoints.save(ours, size=64))
    loaded = checkpoints.load_generator(str(tmp_path / "g.safetensors"))
    assert isinstance(loaded.network, WarpingGenerator)
    torch.testing.assert_close(loaded.network.state_dict(), ours.state_dict())
