"""Weight files of generators and critics: this project's, and the public state dicts of GANimation."""

from dataclasses import dataclass

from torch import Tensor, nn

from twfer_dist.core.errors import UserError
from twfer_dist.core.taxonomy import ACTION_UNITS
from twfer_dist.engine.config import package_path
from twfer_dist.synthesis.networks import AnyGenerator, Critic, Generator, WarpingGenerator
from twfer_dist.training import weights
from twfer_dist.training.weights import Weights

SHIPPED = package_path("package:weights/generator.safetensors")

PUBLIC_SIZE = 128  # pixels of the public checkpoints' training images, which their files do not state
_REMEDY = "name a .safetensors or .pth file of weights"


@dataclass(frozen=True)
class LoadedGenerator:
    """A generator in inference mode, the size in pixels of its training images, and the sha256 of its file."""

    network: AnyGenerator
    size: int
    sha256: str


def save(network: nn.Module, *, size: int, half: bool = False) -> bytes:
    """A safetensors file of the network's weights, float16 with `half`, else float32, with the image size in its
    metadata.
    """
    return weights.encode(network, half=half, metadata={"size": str(size)})


def load_generator(uri: str) -> LoadedGenerator:
    """The generator in a file (path or URI) of either layout; its width and depth follow from the shapes.

    Raises UserError if the file is missing, broken, of another model, or for other Action Units than our 17.
    """
    file = weights.read(uri, _REMEDY)
    # The public code spells it "attetion", and so do our networks; some copies correct the spelling.
    tensors = {name.replace("attention_reg.", "attetion_reg."): value for name, value in file.tensors.items()}
    try:
        network, units = _build_generator(tensors)
        network.load_state_dict(tensors)
        size = _size(file)
    except (KeyError, RuntimeError, ValueError) as error:
        raise UserError(
            f"{uri} does not hold a GANimation generator ({weights.reason(error)}): name a generator's weights."
        ) from None
    if units != len(ACTION_UNITS):
        raise UserError(
            f"{uri} holds a generator for {units} Action Units, and {len(ACTION_UNITS)} (OpenFace's) are needed: name "
            "another."
        )
    return LoadedGenerator(network.eval(), size, file.sha256)


def load_critic(uri: str) -> Critic:
    """The critic in a file (path or URI) of either layout. Raises UserError as `load_generator`."""
    tensors = weights.read(uri, _REMEDY).tensors
    try:
        width = tensors["main.0.weight"].shape[0]
        depth = sum(name.startswith("main.") and name.endswith(".weight") for name in tensors)
        units, _, kernel, _ = tensors["conv2.weight"].shape
        network = Critic(kernel << depth, width, units, depth)
        network.load_state_dict(tensors)
    except (KeyError, RuntimeError, ValueError) as error:
        raise UserError(
            f"{uri} does not hold a GANimation critic ({weights.reason(error)}): name a critic's weights."
        ) from None
    return network.eval()


def _build_generator(tensors: dict[str, Tensor]) -> tuple[AnyGenerator, int]:
    """A generator with the shapes of these weights, and its number of Action Units."""
    if "flow.weight" in tensors:
        units = tensors["blocks.0.first_style.weight"].shape[1]
        blocks = len({name.split(".")[1] for name in tensors if name.startswith("blocks.")})
        return WarpingGenerator(tensors["flow.weight"].shape[1], units, blocks), units
    width, channels = tensors["main.0.weight"].shape[:2]
    blocks = len({name.split(".")[1] for name in tensors if name.startswith("main.") and ".main.0." in name})
    return Generator(width, channels - 3, blocks), channels - 3


def _size(file: Weights) -> int:
    return int(file.metadata.get("size", PUBLIC_SIZE))
