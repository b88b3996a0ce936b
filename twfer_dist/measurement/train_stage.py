"""The stages that train the network that measures faces and the one that tells figures apart, data-parallel on Ray
Train.
"""

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from torch import nn

from twfer_dist.core.errors import UserError
from twfer_dist.engine import ray_cluster, storage
from twfer_dist.engine.artifact import WORK, Artifact
from twfer_dist.engine.kind import Input, Request, StageKind
from twfer_dist.engine.mlflow_run import Run
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.progress import ProgressReporter
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.tracking import Tracking
from twfer_dist.measurement import analyzer, augmentation, checkpoint, identity, training
from twfer_dist.measurement.augmentation import Heads
from twfer_dist.measurement.network import FaceNetwork
from twfer_dist.measurement.training import FaceNetworkConfig, State, TrainingObjective
from twfer_dist.training.checkpoint import keep_checkpoint, set_aside_damaged
from twfer_dist.training.loop import check_divisible

VERSION = 1
IDENTITY_VERSION = 2

LOG = "training.jsonl"
CHECKPOINT = "checkpoint.pt"

LOG_EVERY = 20  # seconds
LOOK_EVERY = 120  # seconds between checkpoints and scores of a running training
LOOK_HEADS = 512


def face_network_job(
    rendered: Artifact,
    config: FaceNetworkConfig,
    tracking: Tracking,
    *,
    test: Artifact | None = None,
    workers: int = 0,
    gpu: bool = False,
) -> StageSpec:
    """Train the network that measures faces on the heads of `rendered` and choose its intervals on figures that it has
    not seen.

    Writes faces.safetensors (float16, with what `measure.open_network` needs) and training.jsonl. `results`: scores on
    the held-out figures (`learning.scores`) and, where given, on the heads of `test`; the number of heads; the MLflow
    run's id. workers: processes of Ray Train, 0 for this one. A training that was killed goes on from its last
    checkpoint, at most two minutes old.
    """
    check_batch(config.batch, workers, pairs=False)

    def do(work: StageOutput) -> None:
        with _trained(work, _MEASURE, rendered, config, tracking, workers, gpu) as (run, state, held_out):
            _finish_measuring(work, run, state, held_out, test)

    inputs = {"rendered": rendered, **({"test": test} if test else {})}
    return StageSpec("face-network", VERSION, inputs, config, {}, {}, do)


def identity_network_job(
    rendered: Artifact, config: FaceNetworkConfig, tracking: Tracking, *, workers: int = 0, gpu: bool = False
) -> StageSpec:
    """Train the network that tells figures apart on the heads of `rendered`, of each figure in several scenes.

    Writes identity.safetensors (float16, for `identity.open_identity`) and training.jsonl. `results`: scores on the
    held-out figures (`identity.scores`), the number of heads, the MLflow run's id. All else as in `face_network_job`.
    """
    check_batch(config.batch, workers, pairs=True)

    def do(work: StageOutput) -> None:
        with _trained(work, _TELL_APART, rendered, config, tracking, workers, gpu) as (run, state, held_out):
            weights = checkpoint.to_bytes(state.network, recipe=work.spec.fingerprint)
            work.write_file(identity.WEIGHTS, weights)
            scores = identity.scores(
                identity.open_identity(storage.join(work.directory, identity.WEIGHTS)).network, held_out
            )
            figures = round(scores["figures"])
            run.log_metrics({f"held_out_{key}": value for key, value in scores.items()})
            work.results |= {
                "scores": {"held_out": scores},
                "summary": [
                    (
                        f"held out: {round(scores['identity_rank1'] * figures)} of {figures} figures known again in "
                        "another scene"
                    )
                ],
            }

    return StageSpec("identity-network", IDENTITY_VERSION, {"rendered": rendered}, config, {}, {}, do)


def check_batch(batch: int, workers: int, *, pairs: bool) -> None:
    """Problem where a batch cannot be dealt to the workers. pairs: two pictures of each figure, which one worker
    gets.
    """
    if not pairs:
        return check_divisible(batch, workers)
    if batch % 2:
        raise UserError(f"A batch of {batch} cannot show each of its figures twice: choose an even one.")
    check_divisible(batch // 2, workers, "pairs of images")


@dataclass(frozen=True)
class _Task:
    """What a network is trained for. The functions are a module's own: they travel to workers by name."""

    make: Callable[[], nn.Module]
    lesson: Callable[[Heads, FaceNetworkConfig, Any], TrainingObjective]  # for the heads to learn from, and the device
    look: Callable[[Any, Heads], dict[str, float]]  # scores on held-out heads


def _measuring_scores(network: nn.Module, held_out: Heads) -> dict[str, float]:
    found = training.answers(network, augmentation.aligned(held_out))
    told = found.scores(training.interval_factors(found))
    return {name: value for name, value in told.items() if isinstance(value, float)}


_MEASURE = _Task(FaceNetwork, training.measurement_objective, _measuring_scores)
_TELL_APART = _Task(identity.new_network, identity.contrastive_objective, identity.scores)


@contextlib.contextmanager
def _trained(
    work: StageOutput,
    task: _Task,
    rendered: Artifact,
    config: FaceNetworkConfig,
    tracking: Tracking,
    workers: int,
    gpu: bool,
) -> Iterator[tuple[Run, State, Heads]]:
    """Train to the end: the open MLflow run, the last state, and the held-out heads; the training's log is written
    afterwards.
    """
    tags = {"stage": work.spec.stage, "fingerprint": work.spec.fingerprint}
    with tracking.start(
        f"{work.spec.stage}-{work.spec.fingerprint}", work.out, tags=tags, params=dataclasses.asdict(config)
    ) as run:
        run.log_dataset(rendered, context="training")
        checkpoint = storage.join(work.directory, WORK, CHECKPOINT)
        set_aside_damaged(checkpoint, lambda: training.new_state(config, make=task.make))
        arguments: dict[str, Any] = {
            "task": task,
            "rendered": rendered,
            "config": config,
            "run": run,
            "gpu": gpu,
            "checkpoint": checkpoint,
            "told": storage.join(work.directory, WORK, "progress.txt"),
        }
        with work.progress(100, "%").follow(arguments["told"]):
            ray_cluster.train(_worker, arguments, storage.join(work.directory, WORK, "ray"), workers=workers, gpu=gpu)
        _, held_out = training.split(augmentation.load_heads(rendered), config.held_out, config.seed)
        state = training.new_state(config, make=task.make)
        state.load(storage.read_bytes(arguments["checkpoint"]))
        yield run, state, held_out
        work.write_file(LOG, _lines(state.log))
        work.results |= {
            "rendered": rendered.manifest.rows["."],
            "precision": " and ".join(state.precisions),
            "run_id": run.id,
        }


def _worker(arguments: dict[str, Any]) -> None:
    """What each worker runs: the same batches, its own share of each; rank 0 logs, looks and keeps the checkpoint."""
    import ray.train
    from ray.train.torch import prepare_model

    task: _Task = arguments["task"]
    config: FaceNetworkConfig = arguments["config"]
    heads, held_out = training.split(augmentation.load_heads(arguments["rendered"]), config.held_out, config.seed)
    device = ray_cluster.train_device(arguments["gpu"])
    state = training.new_state(config, device, task.make)
    if storage.exists(arguments["checkpoint"]):
        state.load(storage.read_bytes(arguments["checkpoint"]))
    observer = None
    if ray.train.get_context().get_world_rank() == 0:
        looked_at = held_out.of(np.arange(min(LOOK_HEADS, len(held_out.units))))  # sorted by figure: whole ones
        observer = _Observer(
            arguments["run"],
            partial(task.look, state.network, looked_at),
            arguments["checkpoint"],
            ProgressReporter(arguments["told"]),
        )
    lesson = task.lesson(heads, config, device)
    training.fit(
        state,
        prepare_model(state.network, move_to_device=False),
        config,
        heads,
        lesson,
        observer or (lambda state, values: None),
    )
    if observer:
        observer.keep(state)


class _Observer:
    """Logs losses every `LOG_EVERY` seconds; every `LOOK_EVERY` seconds scores and keeps a checkpoint."""

    def __init__(self, run: Run, look: Callable[[], dict[str, float]], checkpoint: str, tell: ProgressReporter) -> None:
        self.run, self.look, self.checkpoint, self.tell = run, look, checkpoint, tell
        self.waiting: list[dict[str, float]] = []
        self.logged = self.looked = time.monotonic()

    def __call__(self, state: State, values: dict[str, float]) -> None:
        self.waiting.append(values)
        self.tell(100 * values["progress"])
        now = time.monotonic()
        if now - self.logged > LOG_EVERY or values["progress"] >= 1:
            names = self.waiting[0].keys() - {"progress"}
            self.note(
                state, {name: float(np.mean([values[name] for values in self.waiting])) for name in sorted(names)}
            )
            self.waiting, self.logged = [], now
        if now - self.looked > LOOK_EVERY:
            self.note(state, self.look())
            state.network.train()
            self.keep(state)
            self.looked = time.monotonic()

    def note(self, state: State, values: dict[str, float]) -> None:
        rounded = {key: float(f"{value:.5g}") for key, value in values.items()}
        state.log.append({"step": state.step, "seconds": round(state.seconds, 1), **rounded})
        self.run.log_metrics(values, step=state.step)

    def keep(self, state: State) -> None:
        keep_checkpoint(self.checkpoint, state.to_bytes())
        storage.write_bytes(self.checkpoint.replace(CHECKPOINT, LOG), _lines(state.log))


def _finish_measuring(work: StageOutput, run: Run, state: State, held_out: Heads, test: Artifact | None) -> None:
    """Intervals, the weights as they are shipped, and scores of these weights."""
    found = training.answers(state.network, augmentation.aligned(held_out))
    factors = training.interval_factors(found)
    work.write_file(analyzer.WEIGHTS, analyzer.to_bytes(state.network, factors, recipe=work.spec.fingerprint))
    shipped = analyzer.open_network(storage.join(work.directory, analyzer.WEIGHTS))
    scores = {"held_out": training.answers(shipped.network, augmentation.aligned(held_out)).scores(factors)}
    if test:
        scores["test"] = training.answers(shipped.network, augmentation.aligned(augmentation.load_heads(test))).scores(
            factors
        )
    for split, one in scores.items():
        run.log_metrics({f"{split}_{key}": value for key, value in one.items() if isinstance(value, float)})
    work.results |= {"scores": scores, "summary": [_say(s, one) for s, one in scores.items()]}


def _say(split: str, scores: dict[str, Any]) -> str:
    return (
        f"{split.replace('_', ' ')}: Action Units r {scores['au_pearson_mean']:.3f} (least "
        f"{min(scores['au_pearson'].values()):.2f}), "
        f"off by {scores['au_mae_present']:.2f} where there; points {scores['points_nme']:.4f} of the eyes' "
        f"distance; n = {scores['n']}"
    )


def _lines(log: list[dict[str, float]]) -> bytes:
    return "".join(json.dumps(line) + "\n" for line in log).encode()


def _build(request: Request) -> StageSpec:
    return face_network_job(
        request.one("rendered"),
        request.config,
        request.tracking,
        test=request.one("test"),
        workers=request.compute.workers,
        gpu=request.compute.gpus > 0,
    )


def _build_identity(request: Request) -> StageSpec:
    compute = request.compute
    return identity_network_job(
        request.one("rendered"), request.config, request.tracking, workers=compute.workers, gpu=compute.gpus > 0
    )


KIND = StageKind(
    "face-network",
    config=FaceNetworkConfig,
    inputs=(Input("rendered", ("render",)), Input("test", ("render",), optional=True)),
    build=_build,
    check=lambda request: check_batch(request.config.batch, request.compute.workers, pairs=False),
    tracked=True,
)
IDENTITY_KIND = StageKind(
    "identity-network",
    config=FaceNetworkConfig,
    inputs=(Input("rendered", ("render",)),),
    build=_build_identity,
    check=lambda request: check_batch(request.config.batch, request.compute.workers, pairs=True),
    tracked=True,
)
