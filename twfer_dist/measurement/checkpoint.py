"""Weight files of the networks of faces: float16, with the fingerprint of the stage that trained them."""

from collections.abc import Mapping

from torch import Tensor, nn

from twfer_dist.core.errors import UserError
from twfer_dist.training import weights


def to_bytes(network: nn.Module, *, recipe: str, extra: Mapping[str, Tensor] | None = None) -> bytes:
    """A safetensors file of a network's weights in float16, and of `extra` tensors unchanged. recipe: the stage's
    fingerprint, kept in the metadata.
    """
    return weights.encode(network, half=True, metadata={"recipe": recipe}, extra=extra)


def fill(network: nn.Module, tensors: Mapping[str, Tensor], uri: str, remedy: str) -> None:
    """Load the weights of the file `uri` into a network. Raises UserError, ending in `remedy`, if they are another
    model's.
    """
    try:
        network.load_state_dict(tensors)
    except RuntimeError:
        raise UserError(f"{uri} holds the weights of another model: {remedy}.") from None
