"""What rank 0 of a training records: progress, log lines in MLflow, scores and checkpoints."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from twfer_dist.engine import storage
from twfer_dist.engine.mlflow_run import Run
from twfer_dist.engine.progress import ProgressReporter
from twfer_dist.training.checkpoint import CHECKPOINT, last_checkpoint, save_checkpoint
from twfer_dist.training.state import LogLine, SteppedState, TrainingState

T = TypeVar("T", bound=TrainingState)
S = TypeVar("S", bound=SteppedState)

LOG = "training.jsonl"
LOG_SECONDS = 15.0
"""Seconds between two log lines, each the mean of the steps since the last one."""

_POSITION = ("phase", "epoch", "step", "seconds")  # what a log line holds besides metrics
_METRICS = {"learning_rate": "scheduled_learning_rate"}  # a metric named like a parameter hides it in MLflow's tables


@dataclass(frozen=True)
class Record:
    """Where a training is recorded. Travels to rank 0."""

    run: Run
    directory: str
    checkpoint_seconds: float

    @property
    def checkpoint_uri(self) -> str:
        return storage.join(self.directory, CHECKPOINT)

    @property
    def progress_uri(self) -> str:
        return storage.join(self.directory, "progress.txt")

    def resume(self, state: TrainingState) -> None:
        """Load the last checkpoint into `state`, if there is one."""
        if (saved := last_checkpoint(self.checkpoint_uri)) is not None:
            state.load(saved)

    def replay_log(self, state: TrainingState, lines: Sequence[LogLine] | None = None) -> None:
        """Send the log to the run unless the run has it: after a kill, a new run receives what came before.

        lines: the log as the run gets it, where that is not as it is.
        """
        if state.run_id != self.run.key:
            for line in state.log if lines is None else lines:
                log_line(self.run, line)
            state.run_id = self.run.key


class Recorder(Generic[T]):
    """Saves checkpoints, every `record.checkpoint_seconds` at most, and reports progress."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.report = ProgressReporter(record.progress_uri)
        self._saved = time.monotonic()

    def checkpoint_due(self) -> bool:
        return time.monotonic() - self._saved >= self.record.checkpoint_seconds

    def save(self, state: T) -> None:
        """Save a checkpoint, and the log beside it, to be read while the training runs."""
        save_checkpoint(self.record.checkpoint_uri, state.to_bytes())
        storage.write_bytes(storage.join(self.record.directory, LOG), log_lines(state.log))
        self._saved = time.monotonic()


class Observer(Recorder[S]):
    """Observes each step: reports progress, logs the mean losses every LOG_SECONDS, and scores the network with each
    checkpoint.

    scores: named scores of the network as it is; it leaves the network in training mode.
    """

    def __init__(self, record: Record, scores: Callable[[], Mapping[str, float]]) -> None:
        super().__init__(record)
        self._scores = scores
        self._window: list[dict[str, float]] = []
        self._logged = time.monotonic()

    def __call__(self, state: S, values: dict[str, float]) -> None:
        self._window.append(values)
        self.report(100 * self.total_progress(state, values["progress"]))
        if values["progress"] >= 1 or time.monotonic() - self._logged > LOG_SECONDS:
            names = sorted(values.keys() - {"progress"})
            self._note(state, {name: float(np.mean([step[name] for step in self._window])) for name in names})
            self._window, self._logged = [], time.monotonic()
        if self.checkpoint_due():
            if scores := self._scores():
                self._note(state, scores)
            self.save(state)

    def total_progress(self, state: S, progress: float) -> float:
        """The finished share of the whole training, where `progress` is that of the current phase."""
        return progress

    def position(self, state: S) -> LogLine:
        """Where in the training a log line belongs."""
        return {"step": state.step, "seconds": round(state.seconds, 1)}

    def _note(self, state: S, values: Mapping[str, float]) -> None:
        state.log.append(self.position(state) | {key: float(f"{value:.5g}") for key, value in values.items()})
        log_line(self.record.run, state.log[-1])


def log_line(run: Run, line: LogLine) -> None:
    """Send a line's metrics to a run, at its step or epoch; the phase is a prefix of their names."""
    prefix = f"{line['phase']}_" if "phase" in line else ""
    metrics = {f"{prefix}{_METRICS.get(key, key)}": float(value) for key, value in line.items() if key not in _POSITION}
    run.log_metrics(metrics, step=int(line["epoch" if "epoch" in line else "step"]))


def log_lines(log: list[LogLine]) -> bytes:
    """The log as JSON lines."""
    return "".join(json.dumps(line) + "\n" for line in log).encode()
