"""Generators and critics in files: our safetensors, and the public state dicts of GANimation (`.pth`)."""

import io
import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from twfer_dist.core.errors import UserError
from twfer_dist.core.taxonomy import ACTION_UNITS
from twfer_dist.engine import storage
from twfer_dist.synthesis.networks import AnyGenerator, Critic, Generator, WarpingGenerator

PUBLIC_SIZE = 128  # of the images that the public checkpoints were trained on; their files do not say it


@dataclass(frozen=True)
class LoadedGenerator:
    """A generator in inference mode, the size in pixels of the images it was trained on, and the sha256 of its file."""

    network: AnyGenerator
    size: int
    sha256: str


def save(network: nn.Module, *, size: int, half: bool = False) -> bytes:
    """The network's weights as a safetensors file that notes the image size; float16 where `half`, else float32."""
    kind = torch.float16 if half else torch.float32
    weights = {name: value.detach().to("cpu", kind).contiguous() for name, value in network.state_dict().items()}
    return safetensors.torch.save(weights, {"size": str(size)})


def load_generator(uri: str) -> LoadedGenerator:
    """The generator in a file (path or URI), ours or public; its width and blocks are read from the shapes.

    Problem where the file is missing, broken, of another model, or of other Action Units than our 17.
    """
    data = _read(uri)
    state, size = _state(data, uri)
    state = {name.replace("attention_reg.", "attetion_reg."): value for name, value in state.items()}
    try:
        network: AnyGenerator
        if "flow.weight" in state:
            units = state["blocks.0.first_style.weight"].shape[1]
            blocks = len({name.split(".")[1] for name in state if name.startswith("blocks.")})
            network = WarpingGenerator(state["flow.weight"].shape[1], units, blocks)
        else:
            width, channels = state["main.0.weight"].shape[:2]
            units = channels - 3
            blocks = len({name.split(".")[1] for name in state if name.startswith("main.") and ".main.0." in name})
            network = Generator(width, units, blocks)
        network.load_state_dict(state)
    except (KeyError, RuntimeError, ValueError) as error:
        raise UserError(
            f"{uri} does not hold a GANimation generator ({_first_line(error)}): name the generator's checkpoint."
        ) from None
    if units != len(ACTION_UNITS):
        raise UserError(
            f"{uri} holds a generator for {units} Action Units and this program uses OpenFace's "
            f"{len(ACTION_UNITS)}: name another."
        )
    return LoadedGenerator(network.eval(), size, storage.sha256(data))


def load_critic(uri: str) -> Critic:
    """The critic in a file (path or URI), ours or public. Problem as in `load_generator`."""
    state, size = _state(_read(uri), uri)
    try:
        width = state["main.0.weight"].shape[0]
        depth = sum(name.startswith("main.") and name.endswith(".weight") for name in state)
        units, _, kernel, _ = state["conv2.weight"].shape
        network = Critic(kernel << depth, width, units, depth)
        network.load_state_dict(state)
    except (KeyError, RuntimeError, ValueError) as error:
        raise UserError(
            f"{uri} does not hold a GANimation critic ({_first_line(error)}): name the critic's checkpoint."
        ) from None
    return network.eval()


def _read(uri: str) -> bytes:
    try:
        return storage.read_bytes(uri)
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"{uri} is not there: name the file of a checkpoint.") from None


def _state(data: bytes, uri: str) -> tuple[dict[str, Tensor], int]:
    """The tensors of a file in float32, without the `module.` of data-parallel training, and the image size."""
    size = PUBLIC_SIZE
    try:
        if data[8:9] == b"{":  # safetensors: the length of a JSON header in eight bytes, then the header
            header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
            size = int(header.get("__metadata__", {}).get("size", PUBLIC_SIZE))
            state: object = safetensors.torch.load(data)
        else:
            state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise UserError(
            f"{uri} is not a checkpoint of weights alone ({_first_line(error)}): name a .safetensors or .pth file."
        ) from None
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{uri} holds something else than a network's weights: name a state dict.")
    return {str(name).removeprefix("module."): value.float() for name, value in state.items()}, size


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:160] if lines else type(error).__name__
