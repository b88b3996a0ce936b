"""A recogniser in files: weights to start from, and the finished output of a training, ready to answer."""

import dataclasses
import io
import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import safetensors.numpy
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from twfer_dist.core.errors import UserError
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.dataset.loader import normalise
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.recognition.arm import ARM
from twfer_dist.recognition.calibration import Novelty, Threshold, probabilities
from twfer_dist.recognition.resnet import ResNet18

WEIGHTS, NOVELTY, DESCRIPTION = "model.safetensors", "novelty.safetensors", "model.json"

Architecture = Literal["resnet18", "arm"]
NAMES = {"resnet18": "ResNet-18", "arm": "ARM"}

_TORCHVISION = {"conv1": "features.0", "bn1": "features.1", **{f"layer{k}": f"features.{k + 3}" for k in (1, 2, 3, 4)}}


def build(architecture: Architecture, size: int, *, batch_mean: bool = False) -> ResNet18 | ARM:
    """A network with random weights. batch_mean: ARM's inference as in the public code (see arm.Amend)."""
    return ResNet18() if architecture == "resnet18" else ARM(size, batch_mean=batch_mean)


def load_weights(network: ResNet18 | ARM, uri: str) -> str:
    """Fill a network from a file (.safetensors, or .pth of weights alone); the sha256 of the file.

    A whole network in the public layout (`features.*`, `arm.*`, `fc.*`) must fit in every name and shape. ARM's running
    mean, which public files do not have, then starts at the mean of its batch norm's shifts, which is its mean over
    places. torchvision's ResNet-18 (`conv1.*`, `layer1.*`, any number of classes) fills the trunk and leaves the head
    as it is. Problem where the file is missing, broken or of another model.
    """
    try:
        data = storage.read_bytes(uri)
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"{uri} is not there: name a file of weights.") from None
    state = _state(data, uri)
    own = network.state_dict()
    if "conv1.weight" in state:
        state = {_renamed(name): value for name, value in state.items() if not name.startswith("fc.")}
        state |= {name: value for name, value in own.items() if not name.startswith("features.")}
    elif "arm.bn.bias" in state and "arm.shared" not in state:
        state["arm.shared"] = state["arm.bn.bias"].mean().expand(own["arm.shared"].shape if "arm.shared" in own else ())
    kind = "ARM" if isinstance(network, ARM) else "ResNet-18"
    for name in sorted(own.keys() | state.keys()):
        if name not in own or name not in state:
            fault = f"'{name}' is {'missing' if name in own else 'not a part of it'}"
        elif own[name].shape != state[name].shape:
            fault = f"'{name}' is {tuple(state[name].shape)}, expected {tuple(own[name].shape)}"
        else:
            continue
        raise UserError(
            f"{uri} does not hold the weights of this {kind} with {len(EXPRESSIONS)} expressions: {fault}; name "
            "another file."
        )
    network.load_state_dict(state)
    return storage.sha256(data)


def load_trunk(network: ResNet18 | ARM, finished: Artifact) -> None:
    """Fill a network's trunk (`features.*`) from the output of a training of either network."""
    trunk = open_recogniser(finished).network.features
    network.features.load_state_dict(trunk.state_dict())


def _renamed(name: str) -> str:
    first, _, rest = name.partition(".")
    return f"{_TORCHVISION.get(first, first)}.{rest}"


def _state(data: bytes, uri: str) -> dict[str, Tensor]:
    """The tensors of a file, without the `module.` of data-parallel training, from a checkpoint's `state_dict` if it
    has one.
    """
    try:
        if data[8:9] == b"{":  # safetensors: the length of a JSON header in eight bytes, then the header
            state: object = safetensors.torch.load(data)
        else:
            state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"{uri} is not a file of weights alone ({reason}): name a .safetensors or .pth file.") from None
    for key in ("state_dict", "model_state_dict"):
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{uri} holds something else than a network's weights: name a state dict.")
    return {str(name).removeprefix("module."): value for name, value in state.items()}


def to_bytes(network: ResNet18 | ARM) -> bytes:
    """The weights as a safetensors file."""
    return safetensors.torch.save(
        {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    )


def novelty_to_bytes(novelty: Novelty) -> bytes:
    return safetensors.numpy.save(
        {"means": novelty.means, "whitening": novelty.whitening, "limit": np.array([novelty.limit], np.float32)}
    )


@dataclass(frozen=True)
class Recogniser:
    """A trained network in inference mode with what its answers are worth. `name` is as tables show it."""

    name: str
    network: ResNet18 | ARM
    size: int
    temperature: float
    threshold: Threshold
    novelty: Novelty

    @torch.no_grad()
    def answer(self, pixels: np.ndarray, device: str = "cpu") -> tuple[np.ndarray, np.ndarray]:
        """Calibrated probabilities, float32 (B, 7), and distances from the training images, float32 (B,).

        pixels: uint8 RGB (B, size, size, 3). An answer does not depend on the other images of the batch, nor on its
        place among them, to the last bit.
        """
        features = self.network.features(normalise(pixels, device))
        # One by one: in which order a product of matrices sums up a row hangs on the row's place.
        logits = torch.cat([self.network.head(one) for one in features.split(1)]).float().cpu().numpy()
        embedded = features.mean((2, 3)).float().cpu().numpy()
        return probabilities(logits, self.temperature).astype(np.float32), self.novelty.distances(embedded)


def name_of(finished: Artifact) -> str:
    """What tables call the recogniser in the output of a training."""
    return f"{NAMES[finished.manifest.config['network']]} {finished.manifest.fingerprint[:6]}"


def open_recogniser(finished: Artifact) -> Recogniser:
    """The recogniser in the finished output of a training. Problem where it is the output of another stage."""
    try:
        description = json.loads(storage.read_bytes(finished.path(DESCRIPTION)))
    except FileNotFoundError:
        raise UserError(
            f"{finished.uri} holds no recogniser: it is the output of stage '{finished.manifest.stage}'; name a "
            "training."
        ) from None
    network = build(description["network"], description["size"])
    load_weights(network, finished.path(WEIGHTS))
    network.eval().to(memory_format=torch.channels_last)
    kept = safetensors.numpy.load(storage.read_bytes(finished.path(NOVELTY)))
    return Recogniser(
        name=name_of(finished),
        network=network,
        size=description["size"],
        temperature=description["temperature"],
        threshold=Threshold(**description["threshold"]),
        novelty=Novelty(kept["means"], kept["whitening"], float(kept["limit"][0])),
    )


def describe(
    architecture: Architecture, size: int, temperature: float, threshold: Threshold, dataset: Artifact, epoch: int
) -> bytes:
    """The file model.json beside the weights."""
    return storage.json_text(
        {
            "network": architecture,
            "size": size,
            "classes": list(EXPRESSIONS),
            "temperature": temperature,
            "threshold": dataclasses.asdict(threshold),
            "dataset": dataset.digest,
            "epoch": epoch,
        },
        indent=2,
    ).encode()
