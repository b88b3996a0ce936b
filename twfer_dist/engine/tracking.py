"""MLflow runs with parameters, metrics, data sets and models, nested, and shared by the driver and its workers.

Ray's MLflow callback can neither nest runs nor log data sets, hence this thin layer over `MlflowClient`: the driver
opens a run, and rank 0 or a trial logs into the same run. No failure of MLflow stops the work: entries that it does not
accept are kept in a journal beside the outputs and sent later.
"""

import contextlib
import logging
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from twfer_dist.engine import storage
from twfer_dist.engine.journal import FOLDER, Journal, journals
from twfer_dist.engine.mlflow_run import RETRY_AFTER_S, Run, is_suspended, resume, suspend
from twfer_dist.engine.mlflow_store import Store, Unavailable

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tracking(Store):
    """An MLflow store and an experiment in it. Travels to workers; is in no fingerprint.

    origin: where its runs come from: the tags of each, see `origin.origin_tags`. recipe: the text of the recipe, which
    each run keeps as recipe.yaml.
    """

    origin: Mapping[str, str] = field(default_factory=dict, compare=False)
    recipe: str = field(default="", repr=False, compare=False)

    @contextlib.contextmanager
    def start(
        self,
        name: str,
        out: str,
        *,
        tags: Mapping[str, str] | None = None,
        params: Mapping[str, Any],
    ) -> Iterator["Run"]:
        """A new run with its parameters, closed as finished or failed. Its journal is kept under `out`. Runs of the
        same name whose process was killed are closed first, with the runs nested under them. UserError where MLflow
        refuses the run; where it does not answer, entries are kept. MLflow shows it under the name of its recipe's
        stage, if it has one.
        """
        if not is_suspended(self.uri):
            try:
                self.experiment_id()
            except Unavailable as error:
                suspend(self.uri, name, error, RETRY_AFTER_S)
        for journal in list(journals(out, name)):
            if killed := Run.from_journal(journal, self):
                killed.close("KILLED")
        run = self._run(name, self.origin.get("twfer.stage", name), out, None, tags or {})
        run.open(params)
        if self.recipe:
            run.log_text(self.recipe, "recipe.yaml")
        state = "FAILED"
        try:
            yield run
            state = "FINISHED"
        finally:
            resume(self.uri)  # a last try for this run
            run.close(state)
            self.send_waiting(out)

    def nested(self, name: str, out: str, parent: "Run", tags: Mapping[str, str]) -> "Run":
        """A run under `parent`, which MLflow sees once a process calls its `open`. The caller closes it."""
        return self._run(f"{parent.label}~{name}", name, out, parent, tags)

    def _run(self, label: str, title: str, out: str, parent: "Run | None", tags: Mapping[str, str]) -> "Run":
        journal = Journal(storage.join(out, FOLDER, f"{label}.{uuid.uuid4().hex[:8]}"))
        return Run(self, title, {**self.origin, **tags}, parent, journal)

    def send_waiting(self, out: str) -> int:
        """Send the entries kept under `out`, and log how many are still pending; return their number. Runs whose
        process was killed on this machine are closed.
        """
        for journal in list(journals(out)):
            if journal.run() and (run := Run.from_journal(journal, self)) and run.is_orphan:
                run.close("KILLED")
        pending = [journal for journal in journals(out) if journal.names()]
        if count := sum(run.send() for journal in pending if (run := Run.from_journal(journal, self))):
            logger.warning(
                "%d entries of runs are kept in %s until MLflow at %s answers; to send them: twfer track sync %s",
                count,
                storage.join(out, FOLDER),
                self.shown,
                out,
            )
        return count


def stores_waiting(out: str) -> list[Tracking]:
    """The MLflow stores that runs in an output folder belong to which are not closed yet."""
    records = [record for journal in journals(out) if (record := journal.run())]
    return [Tracking(*store) for store in sorted({(record["store"], record["experiment"]) for record in records})]
