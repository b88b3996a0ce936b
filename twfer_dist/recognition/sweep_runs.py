"""The MLflow runs of a sweep's trials: each begins with its trial, and says how the trial ended."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from twfer_dist.engine.mlflow_run import Run
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.tracking import Tracking
from twfer_dist.training.observer import Record


@contextlib.contextmanager
def trial_records(
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


def close_trial(run: Run, last: Mapping[str, Any], epochs: int) -> None:
    """End the run of a trial. last: what it reported last. A trial that ASHA stops cannot close its own run."""
    done = int(last["epoch"])
    if "refused" in last:
        run.tag("twfer.outcome", str(last["refused"]))
    elif "diverged" in last:
        run.log_text(str(last["diverged"]), "diverged.txt")
        run.tag("twfer.outcome", f"diverged in epoch {done}")
    else:
        run.tag("twfer.outcome", "all epochs" if done >= epochs else f"stopped early, after {done} of {epochs} epochs")
    run.close("FAILED" if last.keys() & {"diverged", "refused"} else "FINISHED")
