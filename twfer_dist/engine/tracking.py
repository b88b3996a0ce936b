"""MLflow: every run, its parameters, metrics, data sets and models; nested runs; the same on the driver and on workers.

Ray's own MLflow callback can neither nest runs nor log data sets, so this thin layer stands over `MlflowClient`: a run
is opened on the driver, and rank 0 or a trial logs into the same run. Nothing that MLflow does stops the work: what it
does not take waits in a journal beside the outputs and is sent when it answers again.
"""

import contextlib
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from twfer_dist.engine import storage
from twfer_dist.engine.journal import FOLDER, Journal, journals
from twfer_dist.engine.mlflow_run import WAIT, Run, ask_again, fall_silent, is_silent, tell
from twfer_dist.engine.mlflow_store import Away, Store


@dataclass(frozen=True)
class Tracking(Store):
    """An MLflow store and an experiment in it. Travels to workers; is in no fingerprint."""

    @contextlib.contextmanager
    def start(
        self,
        name: str,
        out: str,
        *,
        parent: "Run | None" = None,
        tags: Mapping[str, str] | None = None,
        params: Mapping[str, Any],
    ) -> Iterator["Run"]:
        """A new run with its parameters, nested under the run `parent` where given; it is closed as finished or as
        failed. Its journal lies under `out`. Runs of the same name whose process was killed are closed first, those
        nested under them too.
        """
        if not is_silent(self.uri):
            try:
                self.experiment_id()  # where MLflow will never take the run, that is said now
            except Away as away:
                fall_silent(self.uri, name, away, WAIT)
        label = f"{parent.name}~{name}" if parent else name
        for left in list(journals(out, label)):
            if killed := Run.of(left, self):
                killed.bury()
        run = Run(self, name, tags or {}, parent, Journal(storage.join(out, FOLDER, f"{label}.{uuid.uuid4().hex[:8]}")))
        run.open(params)
        state = "FAILED"
        try:
            yield run
            state = "FINISHED"
        finally:
            if not parent:
                ask_again(self.uri)  # the last chance of this run
            run.close(state)
            if not parent:
                self.send_waiting(out)

    def send_waiting(self, out: str) -> None:
        """Send what waits under `out` since MLflow did not answer; how much of it still waits is said."""
        waiting = [left for left in journals(out) if left.names()]
        if left := sum(run.send() for one in waiting if (run := Run.of(one, self))):
            tell(
                f"{left} entries of runs wait in {storage.join(out, FOLDER)} for MLflow at {self.shown}: "
                "run the recipe again once it answers, and they are sent."
            )
