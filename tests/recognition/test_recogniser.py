"""Files of a recogniser: public weights, other models' weights."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from recognition_data import SMALL
from torchvision.models import resnet18

from twfer_dist.core.errors import UserError
from twfer_dist.core.images import to_grey
from twfer_dist.core.taxonomy import MAX_INTENSITY
from twfer_dist.dataset import loader
from twfer_dist.measurement.analyzer import SHIPPED, open_network
from twfer_dist.measurement.network import standardised
from twfer_dist.recognition import recogniser
from twfer_dist.recognition.arm import ARM

KEYS = json.loads((Path(__file__).parents[1] / "data" / "arm_official_state_keys.json").read_text())


def random_state(layout: str) -> dict[str, torch.Tensor]:
    """Weights with the names and shapes of a public network."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.rand(shape, generator=generator) if shape else torch.tensor(0)
        for name, shape in KEYS[layout].items()
    }


@pytest.mark.parametrize(("layout", "network"), [("ResNet18_ARM___RAF", "arm"), ("ResNet18", "resnet18")])
@pytest.mark.parametrize("wrapped", [False, True])
def test_public_state_dicts_load(tmp_path: Path, layout: str, network: recogniser.Architecture, wrapped: bool) -> None:
    state = random_state(layout)
    file = tmp_path / "public.pth"
    torch.save(
        {"iter": 3, "model_state_dict": {f"module.{k}": v for k, v in state.items()}} if wrapped else state, file
    )
    model = recogniser.build(network, 224)
    recogniser.load_weights(model, str(file))
    own = model.state_dict()
    assert all(torch.equal(own[name], value) for name, value in state.items())
    assert own.keys() - state.keys() == ({"arm.shared"} if network == "arm" else set())


def test_torchvisions_trunk_starts_either_network(tmp_path: Path) -> None:
    public = resnet18(weights=None)
    safetensors.torch.save_file(public.state_dict(), tmp_path / "trunk.safetensors")
    for network in ("resnet18", "arm"):
        model = recogniser.build(network, 96)
        head = model.fc.weight.clone()
        recogniser.load_weights(model, str(tmp_path / "trunk.safetensors"))
        assert torch.equal(
            model.state_dict()["features.7.1.conv2.weight"], public.state_dict()["layer4.1.conv2.weight"]
        )
        assert torch.equal(model.fc.weight, head)


def test_au_resnet_begins_as_the_measuring_network() -> None:
    """With the measuring network's own last layer it would give that network's Action Units."""
    measuring = open_network(SHIPPED).network
    network = recogniser.build("au-resnet", 112).eval()
    assert recogniser.start(network).keys() == {"measuring"}
    pixels = np.random.default_rng(0).integers(0, 255, (2, 112, 112, 3), np.uint8)
    grey = torch.from_numpy(np.stack([to_grey(image) for image in pixels]))
    with torch.no_grad():
        network.fc.weight, network.fc.bias = measuring.units.weight, measuring.units.bias
        units = MAX_INTENSITY / 4 + network(loader.normalise(torch.from_numpy(pixels), "cpu"))
        expected = measuring(standardised(grey)).units
    assert float((units - expected).abs().max()) < 0.05  # grey values are rounded there
    assert float(expected.std()) > 0.1


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (lambda: random_state("ResNet18"), "weights of this ARM with 7 expressions: 'arm.alpha' is missing"),
        (lambda: {**random_state("ResNet18_ARM___RAF"), "extra": torch.zeros(1)}, "'extra' is unknown"),
        (
            lambda: {**random_state("ResNet18_ARM___RAF"), "fc.weight": torch.zeros(8, 121)},
            r"'fc.weight' is \(8, 121\), expected \(7, 121\)",
        ),
    ],
)
def test_weights_of_another_model_are_refused(tmp_path: Path, state: Callable[[], object], words: str) -> None:
    torch.save(state(), tmp_path / "other.pth")
    with pytest.raises(UserError, match=words):
        recogniser.load_weights(ARM(224), str(tmp_path / "other.pth"))


def test_a_missing_file_of_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none.pth does not exist: name a .safetensors or .pth file of weights"):
        recogniser.load_weights(ARM(224), str(tmp_path / "none.pth"))


def test_images_too_small_for_arm_are_refused() -> None:
    with pytest.raises(ValueError, match="size is 64, and ARM needs 96 or more"):
        dataclasses.replace(SMALL, network="arm", size=64)
