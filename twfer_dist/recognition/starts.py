"""Where a training starts: at random weights, a file of weights, or the trunk of another training."""

from dataclasses import dataclass

import torch

from twfer_dist.core.errors import UserError
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.kind import Input, InputFile, Request
from twfer_dist.recognition import recogniser, training
from twfer_dist.recognition.train_config import TrainConfig
from twfer_dist.recognition.training import State

TRUNK = Input(
    "trunk", ("train",), optional=True, meaning="the network starts with its trunk; ResNet-18 and ARM have the same one"
)
INITIAL = InputFile(
    "initial",
    "weights to start from: a whole network, such as a public ARM or a training's model.safetensors, or torchvision's "
    "ResNet-18 for the trunk",
)


@dataclass(frozen=True)
class Start:
    """initial: the URI of a file of weights (`recogniser.load_weights`). trunk: a training's output to take the trunk
    from: the papers' networks start from one that has seen many faces. Without either the weights are random, or those
    of `recogniser.start`. Travels to the workers.
    """

    initial: str | None = None
    trunk: Artifact | None = None

    @classmethod
    def of(cls, initial: str | None, trunk: Artifact | None) -> "Start":
        return cls(storage.absolute(initial) if initial else None, trunk)

    @property
    def inputs(self) -> dict[str, Artifact]:
        """What a stage that starts here adds to its inputs."""
        return {"trunk": self.trunk} if self.trunk else {}

    @property
    def params(self) -> dict[str, str | None]:
        """What its run in MLflow says of it."""
        return {"initial": self.initial, "trunk": self.trunk.uri if self.trunk else None}

    def check(self, config: TrainConfig, dataset: Artifact) -> dict[str, str]:
        """The sha256 of the files of weights. UserError if the network cannot start here, or if the trunk may have seen
        the figures that it is tested on.
        """
        _check_one(self.initial, self.trunk)
        network = recogniser.build(config.network, config.size)
        models = recogniser.start(network)
        if self.initial:
            models["initial"] = recogniser.load_weights(network, self.initial)
        if self.trunk:
            recogniser.load_trunk(network, self.trunk)
            if dataset.manifest.config.get("fold") and self.trunk.manifest.inputs["dataset"] != dataset.digest:
                raise UserError(
                    f"The trunk {self.trunk.uri} may have seen the figures of the fold that {dataset.uri} leaves out: "
                    "start from a training on this data set."
                )
        return models

    def new_state(self, config: TrainConfig, device: torch.device | str = "cpu") -> State:
        """The state before the first update."""
        state = training.new_state(config, device)
        if self.initial:
            recogniser.load_weights(state.network, self.initial)
        if self.trunk:
            recogniser.load_trunk(state.network, self.trunk)
        training.start_average(state, config)
        return state


def check_request(request: Request) -> None:
    """UserError where a recipe gives a training two starts."""
    _check_one(request.files.get("initial"), request.one("trunk"))


def _check_one(initial: str | None, trunk: object | None) -> None:
    if initial and trunk:
        raise UserError("A training starts from 'initial' or from a 'trunk', not from both: leave one out.")
