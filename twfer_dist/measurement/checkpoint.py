"""Weights of the networks of faces in safetensors files, in half precision, with the digest of the recipe that made
them.
"""

from collections.abc import Mapping

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn

from twfer_dist.core.errors import UserError
from twfer_dist.engine import storage


def to_bytes(network: nn.Module, *, recipe: str, beside: Mapping[str, Tensor] | None = None) -> bytes:
    """A safetensors file of a network's weights, float16, and of tensors `beside` them as they are. recipe: kept in the
    metadata.
    """
    state = {name: value.half() if value.is_floating_point() else value for name, value in network.state_dict().items()}
    return safetensors.torch.save(
        {name: value.contiguous() for name, value in {**state, **(beside or {})}.items()}, {"recipe": recipe}
    )


def read(uri: str, remedy: str) -> tuple[dict[str, Tensor], str]:
    """The tensors of a file that `to_bytes` made, in float32, and the file's sha256. Problem, ending with `remedy`,
    where the file is missing or broken.
    """
    try:
        data = storage.read_bytes(uri)
        state = safetensors.torch.load(data)
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"{uri} is not there: {remedy}.") from None
    except (SafetensorError, ValueError) as error:
        raise UserError(f"{uri} is not a safetensors file ({error}): {remedy}.") from None
    return {
        name: value.float() if value.is_floating_point() else value for name, value in state.items()
    }, storage.sha256(data)


def fill(network: nn.Module, state: Mapping[str, Tensor], uri: str, remedy: str) -> None:
    """Give a network the weights of the file `uri`. Problem, ending with `remedy`, where they are another model's."""
    try:
        network.load_state_dict(state)
    except RuntimeError:
        raise UserError(f"{uri} holds the weights of another model: {remedy}.") from None
