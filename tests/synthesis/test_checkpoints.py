"""Weight files of generators and critics, in this project's layout and in the public one."""

import json
from pathlib import Path

import pytest
import torch

from twfer_dist.core.errors import UserError
from twfer_dist.engine import storage
from twfer_dist.synthesis import checkpoints
from twfer_dist.synthesis.networks import Critic, Generator

DATA = Path(__file__).parents[1] / "data"


def saved(path: Path, value: object) -> str:
    torch.save(value, path)
    return str(path)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_public_key_layouts_load(tmp_path: Path, prefix: str) -> None:
    layouts = json.loads((DATA / "ganimation_official_state_keys.json").read_text())
    shapes = {name.split()[0]: layout for name, layout in layouts.items()}
    for network, load in (
        ("generator", lambda path: checkpoints.load_generator(path).network),
        ("critic", checkpoints.load_critic),
    ):
        state = {prefix + name: torch.full(shape, 0.5) for name, shape in shapes[network].items()}
        module = load(saved(tmp_path / f"{network}.pth", {"state_dict": state} if prefix else state))
        assert {name: list(value.shape) for name, value in module.state_dict().items()} == shapes[network]
        assert all((value == 0.5).all() for value in module.state_dict().values())


def test_a_half_precision_file_keeps_size_and_weights(tmp_path: Path) -> None:
    generator = Generator(4)
    (tmp_path / "g.safetensors").write_bytes(checkpoints.save(generator, size=64, half=True))
    loaded = checkpoints.load_generator(str(tmp_path / "g.safetensors"))
    assert loaded.size == 64
    assert loaded.sha256 == storage.sha256((tmp_path / "g.safetensors").read_bytes())
    torch.testing.assert_close(loaded.network.state_dict(), generator.state_dict(), atol=1e-3, rtol=1e-3)


def test_the_corrected_spelling_of_attention_loads(tmp_path: Path) -> None:
    generator = Generator(4)
    respelt = {name.replace("attetion", "attention"): value for name, value in generator.state_dict().items()}
    loaded = checkpoints.load_generator(saved(tmp_path / "g.pth", respelt))
    torch.testing.assert_close(loaded.network.state_dict(), generator.state_dict())
    assert loaded.size == checkpoints.PUBLIC_SIZE


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        (Critic(64, 2).state_dict(), "does not hold a GANimation generator"),
        (Generator(4, units=5).state_dict(), "for 5 Action Units"),
        ({**Generator(4).state_dict(), "main.1.running_mean": torch.zeros(4)}, "does not hold a GANimation generator"),
    ],
)
def test_files_without_a_generator_are_refused(
    tmp_path: Path, content: dict[str, torch.Tensor] | None, message: str
) -> None:
    path = tmp_path / "g.pth"
    if content is not None:
        torch.save(content, path)
    with pytest.raises(UserError, match=message) as error:
        checkpoints.load_generator(str(path))
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_files_without_a_critic_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not hold a GANimation critic"):
        checkpoints.load_critic(saved(tmp_path / "d.pth", Generator(4).state_dict()))
