"""The runs of a sweep in MLflow: its own, and those of its trials, each of which begins with its trial and says how the
trial ended.
"""

import contextlib
import dataclasses
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.mlflow_run import Run
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.tracking import Tracking
from twfer_dist.recognition import training
from twfer_dist.recognition.search import SweepConfig
from twfer_dist.recognition.starts import Start
from twfer_dist.recognition.sweep_results import SCORE
from twfer_dist.training.checkpoint import delete_checkpoints, set_aside_damaged
from twfer_dist.training.observer import LOG, Record, log_lines
from twfer_dist.training.state import LogLine

METRIC = "best_balanced_accuracy/validation"
"""Of a trial's epochs so far: what ASHA and Optuna go by, and what chooses the best trial."""

ENDED = "ended.jsonl"
"""The log of a trial that has ended: a sweep that is killed and resumed does not train it again."""

_RANGES = ("alpha", "gamma", "learning_rate", "class_alphas")  # these take the place of the training's


@contextlib.contextmanager
def open_runs(
    output: StageOutput, dataset: Artifact, config: SweepConfig, start: Start, tracking: Tracking, seconds: float
) -> Iterator[tuple[Run, tuple[Record, ...]]]:
    """The sweep's run, and the records of its trials. seconds: between two checkpoints of a trial."""
    spec = output.spec
    tags = {"stage": "sweep", "fingerprint": spec.fingerprint, "network": config.train.network}
    own = {name: value for name, value in dataclasses.asdict(config).items() if name != "train"}
    params = dataclasses.asdict(config.train) | start.params
    params |= {name if name in _RANGES else f"sweep.{name}": value for name, value in own.items()}
    with tracking.start(f"sweep-{spec.fingerprint}", output.out, tags=tags, params=params) as run:
        run.log_dataset(dataset, context="training")
        with _trial_records(output, tracking, run, config.count, seconds) as records:
            for record in records:  # the swept settings change no shape of a state
                set_aside_damaged(record.checkpoint_uri, partial(training.new_state, config.train))
            yield run, records


@contextlib.contextmanager
def _trial_records(
    output: StageOutput, tracking: Tracking, parent: Run, count: int, checkpoint_seconds: float
) -> Iterator[tuple[Record, ...]]:
    """The records of `count` trials, whose runs are nested in `parent` and opened by the trials themselves. Those that
    nobody has closed at the end, because the sweep failed, are closed as killed.
    """
    names = [f"trial-{number:03d}" for number in range(count)]
    runs = [tracking.nested(name, output.out, parent, {"stage": "trial"}) for name in names]
    try:
        yield tuple(
            Record(run, output.scratch(name), checkpoint_seconds) for run, name in zip(runs, names, strict=True)
        )
    finally:
        for run in runs:
            if run.journal.run():
                run.close("KILLED")


def told(log: Sequence[LogLine]) -> list[LogLine]:
    """The lines of a trial's log as Ray Tune and MLflow get them, each with METRIC; it comes first, because MLflow
    compares runs by the metric logged first.
    """
    best = itertools.accumulate((float(line[SCORE]) for line in log), max)
    return [{METRIC: score, **line} for score, line in zip(best, log, strict=True)]


def keep_log(record: Record, log: Sequence[LogLine]) -> None:
    """Keep a trial's log where `close_trial` finds it."""
    storage.write_bytes(storage.join(record.directory, LOG), log_lines(list(log)))


def ended_log(record: Record) -> list[LogLine] | None:
    """The log of a trial that ended before its sweep was killed; None of any other."""
    uri = storage.join(record.directory, ENDED)
    return _read(uri) if storage.exists(uri) else None


def close_trial(record: Record, last: Mapping[str, Any], epochs: int) -> None:
    """End a trial: its run, and its log in place of its checkpoint. last: what it reported last. A trial that ASHA
    stops cannot do this itself.
    """
    run, done = record.run, int(last["epoch"])
    if "refused" in last:
        run.tag("twfer.outcome", str(last["refused"]))
    elif "diverged" in last:
        run.log_text(str(last["diverged"]), "diverged.txt")
        run.tag("twfer.outcome", f"diverged in epoch {done}")
    else:
        log = _read(storage.join(record.directory, LOG))[:done]
        storage.write_bytes(storage.join(record.directory, ENDED), log_lines(log))
        delete_checkpoints(record.checkpoint_uri)
        run.tag("twfer.outcome", "all epochs" if done >= epochs else f"stopped early, after {done} of {epochs} epochs")
    run.close("FAILED" if last.keys() & {"diverged", "refused"} else "FINISHED")


def close_failed(record: Record, sentence: str) -> None:
    """End the run of a trial that failed again and again."""
    record.run.tag("twfer.outcome", f"failed: {sentence}")
    record.run.close("FAILED")


def _read(uri: str) -> list[LogLine]:
    return [json.loads(line) for line in storage.read_bytes(uri).splitlines()]
