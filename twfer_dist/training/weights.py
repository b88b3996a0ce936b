"""Weight files: safetensors, and public PyTorch state dicts (`.pth`), whose pickles are read without running code."""

import io
import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass

import safetensors.torch
import torch
from torch import Tensor, nn

from twfer_dist.core.errors import UserError
from twfer_dist.engine import storage

_WRAPPERS = ("state_dict", "model_state_dict")  # keys under which public checkpoints keep their weights


@dataclass(frozen=True)
class Weights:
    """The content of a weight file."""

    tensors: dict[str, Tensor]  # on the CPU, floating-point ones in float32, names without `module.`
    metadata: dict[str, str]
    sha256: str


def encode(
    network: nn.Module,
    *,
    half: bool = False,
    metadata: Mapping[str, str] | None = None,
    extra: Mapping[str, Tensor] | None = None,
) -> bytes:
    """A safetensors file of a network's weights. half: floating-point weights become float16. extra: tensors that are
    stored beside them unchanged.
    """
    state = network.state_dict()
    if half:
        state = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    tensors = {name: value.detach().cpu().contiguous() for name, value in {**state, **(extra or {})}.items()}
    return safetensors.torch.save(tensors, dict(metadata) if metadata else None)


def read(uri: str, remedy: str) -> Weights:
    """The weights in a file. Raises UserError, ending in `remedy`, if it is missing, broken, or holds anything but a
    state dict.
    """
    try:
        data = storage.read_bytes(uri)
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"{uri} does not exist: {remedy}.") from None
    try:
        state, metadata = _decode(data)
    except Exception as error:  # damaged files of PyTorch's old format raise anything, such as AssertionError
        fault = "it holds more than weights" if isinstance(error, pickle.UnpicklingError) else reason(error)
        raise UserError(f"{uri} is not a weight file ({fault}): {remedy}.") from None
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{uri} holds something other than a network's weights: {remedy}.")
    tensors = {
        str(name).removeprefix("module."): value.float() if value.is_floating_point() else value
        for name, value in state.items()
    }
    return Weights(tensors, metadata, storage.sha256(data))


def reason(error: Exception) -> str:
    """An error in one short line."""
    return " ".join(str(error).split())[:160] or type(error).__name__


def _decode(data: bytes) -> tuple[object, dict[str, str]]:
    """The state dict in a file, or whatever object it holds instead, and the metadata."""
    if data[8:9] == b"{":  # safetensors: the length of a JSON header in eight bytes, then the header
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        return safetensors.torch.load(data), header.get("__metadata__", {})
    state: object = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    for key in _WRAPPERS:
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    return state, {}
