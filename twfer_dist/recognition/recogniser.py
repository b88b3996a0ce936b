"""A recogniser in files: initial weights, and the output of a training, ready to predict."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import safetensors.numpy
import torch
from torch import Tensor

from twfer_dist.core.errors import UserError
from twfer_dist.core.status import LOW_CONFIDENCE, OK, OUT_OF_DISTRIBUTION
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.dataset.loader import normalise
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.measurement.analyzer import SHIPPED
from twfer_dist.recognition.arm import ARM
from twfer_dist.recognition.au_resnet import AUResNet
from twfer_dist.recognition.calibration import Novelty, Threshold, probabilities
from twfer_dist.recognition.resnet import ResNet18
from twfer_dist.training import weights

WEIGHTS, NOVELTY, DESCRIPTION = "model.safetensors", "novelty.safetensors", "model.json"

Architecture = Literal["resnet18", "arm", "au-resnet"]
NAMES = {"resnet18": "ResNet-18", "arm": "ARM", "au-resnet": "AU-ResNet"}
Network = ResNet18 | ARM | AUResNet

_MEASURING = {"stem": "features.1", "body": "features.2", "neck": "neck", "hidden": "hidden"}
_TORCHVISION = {"conv1": "features.0", "bn1": "features.1", **{f"layer{k}": f"features.{k + 3}" for k in (1, 2, 3, 4)}}


def build(architecture: Architecture, size: int) -> Network:
    """A network with random weights, for images of `size` pixels."""
    if architecture == "au-resnet":
        return AUResNet()
    return ResNet18() if architecture == "resnet18" else ARM(size)


def start(network: Network) -> dict[str, str]:
    """Load the weights that trainings of such a network start from unless they are given others: those of the measuring
    network that ships for AU-ResNet. Their sha256; empty where they are random.
    """
    return {"measuring": load_weights(network, SHIPPED)} if isinstance(network, AUResNet) else {}


def load_weights(network: Network, uri: str) -> str:
    """Load a file of weights (.safetensors or .pth) into a network; the sha256 of the file.

    A whole network in the public layout (`features.*`, `arm.*`, `fc.*`) must match in every name and shape. ARM's
    running mean, which public files lack, then starts at the mean of its batch norm's shifts, which is its mean over
    places. torchvision's ResNet-18 (`conv1.*`, `layer1.*`, any number of classes) fills the trunk and leaves the head
    as it is; so does the network that measures faces (`measurement.analyzer`) with an AU-ResNet. Raises UserError if
    the file is missing, broken, or of another model.
    """
    file = weights.read(uri, "name a .safetensors or .pth file of weights")
    own = network.state_dict()
    state = _public_layout(file.tensors, own)
    for name in sorted(own.keys() | state.keys()):
        if name not in own or name not in state:
            fault = f"'{name}' is {'missing' if name in own else 'unknown'}"
        elif own[name].shape != state[name].shape:
            fault = f"'{name}' is {tuple(state[name].shape)}, expected {tuple(own[name].shape)}"
        else:
            continue
        raise UserError(
            f"{uri} does not hold the weights of this {_kind(network)} with {len(EXPRESSIONS)} expressions: {fault}; "
            "name another file."
        )
    network.load_state_dict(state)
    return file.sha256


def load_trunk(network: Network, trained: Artifact) -> None:
    """Load the trunk (`features.*`) of a training's network into another; ResNet-18 and ARM have the same trunk. Raises
    UserError if it is another trunk.
    """
    trunk = open_recogniser(trained).network
    if isinstance(trunk, AUResNet) != isinstance(network, AUResNet):
        raise UserError(
            f"{trained.uri} has the trunk of {_kind(trunk)}, and {_kind(network)} has another: name a training of "
            f"{_kind(network)} as the trunk, or leave it out."
        )
    network.features.load_state_dict(trunk.features.state_dict())


def _kind(network: Network) -> str:
    return {ResNet18: "ResNet-18", ARM: "ARM", AUResNet: "AU-ResNet"}[type(network)]


def _public_layout(tensors: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of any known layout as a whole state dict in the public one. own: the network's present weights."""
    if "conv1.weight" in tensors:
        head = {name: value for name, value in own.items() if not name.startswith("features.")}
        return {_renamed(name, _TORCHVISION): t for name, t in tensors.items() if not name.startswith("fc.")} | head
    if "stem.0.weight" in tensors:
        head = {name: value for name, value in own.items() if name.startswith("fc.")}
        parts = tuple(f"{part}." for part in _MEASURING)
        return {_renamed(name, _MEASURING): t for name, t in tensors.items() if name.startswith(parts)} | head
    if "arm.bn.bias" in tensors and "arm.shared" not in tensors:
        shape = own["arm.shared"].shape if "arm.shared" in own else ()
        return tensors | {"arm.shared": tensors["arm.bn.bias"].mean().expand(shape)}
    return tensors


def _renamed(name: str, parts: Mapping[str, str]) -> str:
    first, _, rest = name.partition(".")
    return f"{parts.get(first, first)}.{rest}"


def novelty_to_bytes(novelty: Novelty) -> bytes:
    return safetensors.numpy.save(
        {"means": novelty.means, "whitening": novelty.whitening, "limit": np.array([novelty.limit], np.float32)}
    )


@dataclass(frozen=True)
class Recogniser:
    """A trained network in inference mode, with its calibration. `name`: as in tables."""

    name: str
    network: Network
    size: int
    temperature: float
    threshold: Threshold
    novelty: Novelty

    @torch.no_grad()
    def predict(self, pixels: np.ndarray, device: str = "cpu") -> tuple[np.ndarray, np.ndarray]:
        """Calibrated probabilities, float32 (B, 7), and distances from the training images, float32 (B,).

        pixels: uint8 RGB (B, size, size, 3). A prediction is the same to the last bit whatever the other images of the
        batch are, and wherever in the batch the image is.
        """
        features = self.network.features(normalise(pixels, device))
        # One by one: in a matrix product, the order of summation depends on the row's place.
        logits = torch.cat([self.network.head(one) for one in features.split(1)]).float().cpu().numpy()
        embedded = features.mean((2, 3)).float().cpu().numpy()
        return probabilities(logits, self.temperature).astype(np.float32), self.novelty.distances(embedded)

    def verdict(self, confidence: float, distance: float) -> tuple[str, str]:
        """The status of an answer (OK, OUT_OF_DISTRIBUTION or LOW_CONFIDENCE), and why it is not accepted, if so."""
        threshold = self.threshold.confidence
        if distance > self.novelty.limit:
            return OUT_OF_DISTRIBUTION, "the face is unlike the images that the model was trained on"
        if threshold is None or confidence < threshold:
            return LOW_CONFIDENCE, "the confidence is below the model's threshold"
        return OK, ""

    @torch.no_grad()
    def embed(self, pixels: np.ndarray) -> np.ndarray:
        """The trunk's features, averaged over places: float32 (B, channels), none negative. pixels: as in `predict`."""
        return self.network.features(normalise(pixels, "cpu")).mean((2, 3)).float().cpu().numpy()


def name_of(trained: Artifact) -> str:
    """The name in tables of the recogniser in a training's output."""
    return f"{NAMES[trained.manifest.config['network']]} {trained.manifest.fingerprint[:6]}"


def open_recogniser(trained: Artifact) -> Recogniser:
    """The recogniser in a training's output. Raises UserError if it is the output of another stage."""
    if trained.manifest.stage != "train":
        raise UserError(
            f"{trained.uri} holds no recogniser, being the output of stage '{trained.manifest.stage}': name a training."
        )
    return read_recogniser(trained.uri, name_of(trained))


def read_recogniser(directory: str, name: str) -> Recogniser:
    """The recogniser in the files of a directory. FileNotFoundError where there is none."""
    description = json.loads(storage.read_bytes(storage.join(directory, DESCRIPTION)))
    network = build(description["network"], description["size"])
    load_weights(network, storage.join(directory, WEIGHTS))
    network.eval().to(memory_format=torch.channels_last)
    novelty = safetensors.numpy.load(storage.read_bytes(storage.join(directory, NOVELTY)))
    return Recogniser(
        name=name,
        network=network,
        size=description["size"],
        temperature=description["temperature"],
        threshold=Threshold(**description["threshold"]),
        novelty=Novelty(novelty["means"], novelty["whitening"], float(novelty["limit"][0])),
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
