"""The stages that train the network that measures faces, and the one that identifies figures."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from twfer_dist.core.errors import UserError
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.kind import Input, InputFile, Request, StageKind
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.tracking import Tracking
from twfer_dist.measurement import analyzer, augmentation, checkpoint, consistency, identity, training
from twfer_dist.measurement.augmentation import Heads
from twfer_dist.measurement.network import FaceNetwork
from twfer_dist.measurement.training import FaceNetworkConfig, MeasuringConfig, State, TrainingObjective
from twfer_dist.training.loop import check_divisible
from twfer_dist.training.observer import LOG, Observer, Record, log_lines
from twfer_dist.training.run import Trained, run_training
from twfer_dist.training.workers import Workers, loader_processes

VERSION = 3
IDENTITY_VERSION = 3

SCORED_HEADS = 512  # with each checkpoint


def face_network_spec(
    rendered: Sequence[Artifact],
    config: MeasuringConfig,
    tracking: Tracking,
    *,
    tests: Sequence[Artifact] = (),
    photographs: Sequence[Artifact] = (),
    initial: str = "",
    workers: int = 0,
    gpu: bool = False,
    checkpoint_seconds: float = 120,
) -> StageSpec:
    """Train the network that measures faces on the heads of `rendered`, and calibrate its intervals on held-out
    figures.

    Writes faces.safetensors (float16, for `analyzer.open_network`) and training.jsonl. `results`: scores
    (`training.scores`) on the held-out figures and on the heads of each of `tests`; the number of heads; the MLflow
    run's id. initial: weights of such a network to begin from. photographs: outputs of `twfer faces`, for which the
    network keeps the initial one's answers in any light (`consistency.consistent_objective`). workers: processes of Ray
    Train, 0 for this one. A killed training resumes from its last checkpoint, at most `checkpoint_seconds` old.
    """
    check_batch(config.batch, workers, pairs=False)
    initial, models = _opened(initial, photographs)
    objective = consistency.ObjectiveOf(tuple(photographs), initial)
    task = _Task(tuple(rendered), config, _Initial(initial), objective, _measurement_scores)

    def do(output: StageOutput) -> None:
        with run_training(
            output,
            task,
            tracking,
            Workers(workers, gpu),
            params=dataclasses.asdict(config),
            checkpoint_seconds=checkpoint_seconds,
        ) as trained:
            _finish(output, task, trained)
            _finish_measurement(output, task, trained, tests)

    inputs = _numbered(rendered=rendered, test=tests, photographs=photographs)
    return StageSpec("face-network", VERSION, inputs, config, models, {}, do)


def identity_network_spec(
    rendered: Sequence[Artifact],
    config: FaceNetworkConfig,
    tracking: Tracking,
    *,
    workers: int = 0,
    gpu: bool = False,
    checkpoint_seconds: float = 120,
) -> StageSpec:
    """Train the network that identifies figures on the heads of `rendered`, which show each figure in several scenes.

    Writes identity.safetensors (float16, for `identity.open_identity`) and training.jsonl. `results`: scores
    (`identity.scores`) on the held-out figures, the number of heads, the MLflow run's id. Everything else as in
    `face_network_spec`.
    """
    check_batch(config.batch, workers, pairs=True)
    task = _Task(tuple(rendered), config, identity.new_network, identity.contrastive_objective, identity.scores)

    def do(output: StageOutput) -> None:
        identity.check_distinct(rendered)
        with run_training(
            output,
            task,
            tracking,
            Workers(workers, gpu),
            params=dataclasses.asdict(config),
            checkpoint_seconds=checkpoint_seconds,
        ) as trained:
            _finish(output, task, trained)
            _finish_identity(output, task, trained)

    return StageSpec("identity-network", IDENTITY_VERSION, _numbered(rendered=rendered), config, {}, {}, do)


def _opened(initial: str, photographs: Sequence[Artifact]) -> tuple[str, dict[str, str]]:
    """The absolute path of the network to begin from, as workers run elsewhere, and its digest by name. UserError where
    it is no such network, or is missing although photographs need its answers.
    """
    if photographs and not initial:
        raise UserError(
            "photographs teach a network to keep its answers, and this one has none yet: name a trained one as "
            "initial, such as package:weights/faces.safetensors, or leave photographs out."
        )
    initial = storage.absolute(initial) if initial else ""
    return initial, {"initial": analyzer.open_network(initial).sha256} if initial else {}


def _numbered(**inputs: Sequence[Artifact]) -> dict[str, Artifact]:
    return {f"{name}_{number}": artifact for name, several in inputs.items() for number, artifact in enumerate(several)}


@dataclass(frozen=True)
class _Initial:
    """Builds the network that a training begins with: the one in a file of weights, or a new one."""

    uri: str

    def __call__(self) -> FaceNetwork:
        network = analyzer.open_network(self.uri).network if self.uri else FaceNetwork()
        return network.train()


def check_batch(batch: int, workers: int, *, pairs: bool) -> None:
    """Raise UserError if a batch cannot be split among the workers. pairs: it holds two pictures of each figure, for
    the same worker.
    """
    if not pairs:
        return check_divisible(batch, workers)
    if batch % 2:
        raise UserError(f"A batch of {batch} cannot show each of its figures twice: use an even number.")
    check_divisible(batch // 2, workers, "pairs of images")


@dataclass(frozen=True)
class _Task:
    """A network of faces in training, see `run.TrainingTask`."""

    rendered: tuple[Artifact, ...]
    config: FaceNetworkConfig
    build: Callable[[], nn.Module]
    objective: Callable[[Heads, Any, Any], TrainingObjective]  # of the training heads, and the device
    scores: Callable[[Any, Heads], Mapping[str, float]]  # of a network on held-out heads

    @property
    def datasets(self) -> Sequence[Artifact]:
        return self.rendered

    def heads(self) -> tuple[Heads, Heads]:
        """To train on, and held out."""
        return training.split(
            Heads.joined([*map(augmentation.load_heads, self.rendered)]), self.config.held_out, self.config.seed
        )

    def new_state(self, device: torch.device | str = "cpu") -> State:
        return training.new_state(self.config, device, self.build)

    def train(self, state: State, record: Record | None) -> None:
        from ray.train.torch import prepare_model

        heads, held_out = self.heads()
        sample = held_out.of(np.arange(min(SCORED_HEADS, len(held_out.units))))  # sorted by figure: whole figures

        def scores() -> Mapping[str, float]:
            measured = self.scores(state.network, sample)
            state.network.train()
            return measured

        observer = Observer[State](record, scores) if record else None
        device = next(state.network.parameters()).device
        objective = self.objective(heads, self.config, device)
        network = prepare_model(state.network, move_to_device=False)
        training.fit(state, network, self.config, heads, objective, observer, loader_processes(device))
        if observer:
            observer.save(state)


def _measurement_scores(network: nn.Module, held_out: Heads) -> dict[str, float]:
    predictions = training.predict(network, augmentation.aligned(held_out))
    scores = predictions.scores(training.interval_factors(predictions))
    return {name: value for name, value in scores.items() if isinstance(value, float)}


def _finish(output: StageOutput, task: _Task, trained: Trained[State, None]) -> None:
    """What both networks leave besides weights and scores."""
    output.write_file(LOG, log_lines(trained.state.log))
    output.results |= {
        "rendered": sum(rendered.manifest.rows["."] for rendered in task.rendered),
        "precision": trained.state.precision,
        "run_id": trained.run.id,
    }


def _finish_measurement(
    output: StageOutput, task: _Task, trained: Trained[State, None], tests: Sequence[Artifact]
) -> None:
    """Calibrate the intervals, write the weights as they ship, and score the network that this file holds."""
    held_out = augmentation.aligned(task.heads()[1])
    network = trained.state.network
    factors = training.interval_factors(training.predict(network, held_out))
    output.write_file(analyzer.WEIGHTS, analyzer.to_bytes(network, factors, recipe=output.spec.fingerprint))
    shipped = analyzer.open_network(storage.join(output.directory, analyzer.WEIGHTS)).network
    scores = {"held_out": training.predict(shipped, held_out).scores(factors)}
    for number, test in enumerate(tests):
        heads = augmentation.aligned(augmentation.load_heads(test))
        scores[f"test_{number + 1}"] = training.predict(shipped, heads).scores(factors)
    for split, measured in scores.items():
        trained.run.log_metrics(
            {f"{split}_{key}": value for key, value in measured.items() if isinstance(value, float)}
        )
    output.results |= {"scores": scores, "summary": [_summary(split, measured) for split, measured in scores.items()]}


def _summary(split: str, scores: Mapping[str, Any]) -> str:
    return (
        f"{split.replace('_', ' ')}: Action Units r {scores['au_pearson_mean']:.3f} (lowest "
        f"{min(scores['au_pearson'].values()):.2f}), mean error {scores['au_mae_present']:.2f} where present; "
        f"points {scores['points_nme']:.4f} of the inter-ocular distance; n = {scores['n']}"
    )


def _finish_identity(output: StageOutput, task: _Task, trained: Trained[State, None]) -> None:
    """Write the weights, and score the network that this file holds."""
    output.write_file(identity.WEIGHTS, checkpoint.to_bytes(trained.state.network, recipe=output.spec.fingerprint))
    network = identity.open_identity(storage.join(output.directory, identity.WEIGHTS)).network
    scores = identity.scores(network, task.heads()[1])
    trained.run.log_metrics({f"held_out_{key}": value for key, value in scores.items()})
    figures = round(scores["figures"])
    hits = round(scores["identity_rank1"] * figures)
    output.results |= {
        "scores": {"held_out": scores},
        "summary": [f"held out: {hits} of {figures} figures recognised in another scene"],
    }


def _build(request: Request) -> StageSpec:
    return face_network_spec(
        request.all("rendered"),
        request.config,
        request.tracking,
        tests=request.all("test"),
        photographs=request.all("photographs"),
        initial=request.files.get("initial", ""),
        workers=request.compute.workers,
        gpu=request.compute.gpus > 0,
    )


def _build_identity(request: Request) -> StageSpec:
    compute = request.compute
    return identity_network_spec(
        request.all("rendered"), request.config, request.tracking, workers=compute.workers, gpu=compute.gpus > 0
    )


KIND = StageKind(
    "face-network",
    makes="the network that measures faces",
    config=MeasuringConfig,
    inputs=(
        Input("rendered", ("render",), several=True),
        Input("test", ("render",), several=True, optional=True),
        Input(
            "photographs", ("faces",), several=True, optional=True, meaning="learned to be measured alike in any light"
        ),
    ),
    files=(InputFile("initial", "weights of such a network to start from"),),
    build=_build,
    check=lambda request: check_batch(request.config.batch, request.compute.workers, pairs=False),
    tracked=True,
)
IDENTITY_KIND = StageKind(
    "identity-network",
    makes="the network that tells figures apart",
    config=FaceNetworkConfig,
    inputs=(Input("rendered", ("render",), several=True),),
    build=_build_identity,
    check=lambda request: check_batch(request.config.batch, request.compute.workers, pairs=True),
    tracked=True,
)
