"""MLflow runs with parameters, metrics, data sets and models, nested, and shared by the driver and its workers.

Ray's MLflow callback can neither nest runs nor log data sets, hence this thin layer over `MlflowClient`: the driver
opens a run, and rank 0 or a trial logs into the same run. No failure of MLflow stops the work: entries that it does not
accept are kept in a journal beside the outputs and sent later.
"""

import contextlib
import logging
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from twfer_dist.engine import storage
from twfer_dist.engine.journal import FOLDER, Journal, journals
from twfer_dist.engine.mlflow_run import RETRY_AFTER_S, Run, is_suspended, resume, suspend
from twfer_dist.engine.mlflow_store import Store, Unavailable

logger = logging.getLogger(__name__)


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
        """A new run with its parameters, nested under `parent` where given, and closed as finished or failed. Its
        journal is kept under `out`. Runs of the same name whose process was killed are closed first, with the runs
        nested under them. UserError where MLflow refuses the run; where it does not answer, entries are kept.
        """
        if not is_suspended(self.uri):
            try:
                self.experiment_id()
            except Unavailable as error:
                suspend(self.uri, name, error, RETRY_AFTER_S)
        label = f"{parent.name}~{name}" if parent else name
        for journal in list(journals(out, label)):
            if killed := Run.from_journal(journal, self):
                killed.close("KILLED")
        run = Run(self, name, tags or {}, parent, Journal(storage.join(out, FOLDER, f"{label}.{uuid.uuid4().hex[:8]}")))
        run.open(params)
        state = "FAILED"
        try:
            yield run
            state = "FINISHED"
        finally:
            if not parent:
                resume(self.uri)  # a last try for this run
            run.close(state)
            if not parent:
                self.send_waiting(out)

    def send_waiting(self, out: str) -> None:
        """Send the entries kept under `out`, and log how many are still pending."""
        pending = [journal for journal in journals(out) if journal.names()]
        if count := sum(run.send() for journal in pending if (run := Run.from_journal(journal, self))):
            logger.warning(
                "%d entries of runs are kept in %s until MLflow at %s answers: run the recipe again to send them.",
                count,
                storage.join(out, FOLDER),
                self.shown,
            )
