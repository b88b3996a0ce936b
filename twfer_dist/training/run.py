"""A training as a stage: an MLflow run, workers, checkpoints, and exact resume after a kill."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import torch

from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.mlflow_run import Run
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.system_metrics import log_system
from twfer_dist.engine.tracking import Tracking
from twfer_dist.training.checkpoint import set_aside_damaged
from twfer_dist.training.distributed import rank_and_world_size
from twfer_dist.training.observer import Record
from twfer_dist.training.state import TrainingState
from twfer_dist.training.workers import Workers, run_workers, worker_device

S = TypeVar("S", bound=TrainingState)
R = TypeVar("R", covariant=True)


class TrainingTask(Protocol[S, R]):
    """What a room supplies: its networks, and how they are trained. Travels to the workers."""

    @property
    def datasets(self) -> Sequence[Artifact]:
        """What it learns from, for MLflow."""
        ...

    def new_state(self, device: torch.device | str = "cpu") -> S:
        """The state before the first step, the same on all workers."""
        ...

    def train(self, state: S, record: Record | None) -> R:
        """Train on this worker from `state` to the end; what rank 0 returns becomes
        `Trained.result`.

        record: where rank 0 records the training, and saves its last checkpoint; None on other ranks.
        """
        ...


@dataclass(frozen=True)
class Trained(Generic[S, R]):
    """A completed training, while its MLflow run is still open."""

    run: Run
    state: S  # on the CPU
    result: R  # what `TrainingTask.train` returned on rank 0


@contextlib.contextmanager
def run_training(
    output: StageOutput,
    task: TrainingTask[S, R],
    tracking: Tracking,
    workers: Workers,
    *,
    params: Mapping[str, Any],
    checkpoint_seconds: float,
    tags: Mapping[str, str] | None = None,
    total: tuple[float, str] = (100, "%"),
) -> Iterator[Trained[S, R]]:
    """Train `task`, or resume it from the last checkpoint that an interrupted start has left.

    The checkpoint is at most `checkpoint_seconds`, and one step or epoch, old. total: the amount of progress at the
    end, with its unit.
    """
    spec = output.spec
    tags = {"stage": spec.stage, "fingerprint": spec.fingerprint} | dict(tags or {})
    with tracking.start(f"{spec.stage}-{spec.fingerprint}", output.out, tags=tags, params=params) as run:
        for dataset in task.datasets:
            run.log_dataset(dataset, context="training")
        record = Record(run, output.scratch(), checkpoint_seconds)
        set_aside_damaged(record.checkpoint_uri, task.new_state)
        with output.progress(*total).follow(record.progress_uri):
            work = partial(_work, task, record, workers.gpu)
            result = run_workers(work, workers, output.scratch("ray"))
        state = task.new_state()
        record.resume(state)
        yield Trained(run, state, result)


def _work(task: TrainingTask[S, R], record: Record, gpu: bool) -> R:
    """What each worker does."""
    state = task.new_state(worker_device(gpu))
    record.resume(state)
    rank, _ = rank_and_world_size()
    if rank == 0:
        record.replay_log(state)
        with log_system(record.run):
            return task.train(state, record)
    return task.train(state, None)
