"""One MLflow run, on the driver and on workers. Entries that MLflow does not accept are kept in the run's journal."""

import dataclasses
import logging
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twfer_dist.core.errors import UserError
from twfer_dist.engine import mlflow_model, storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.journal import Journal, without_password
from twfer_dist.engine.lease import Holder
from twfer_dist.engine.mlflow_model import Registration
from twfer_dist.engine.mlflow_store import LOG_TIMEOUT_S, REJECTED, Store, Unavailable, explain, request_timeout

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

PARENT = "mlflow.parentRunId"
KEY = "twfer.key"
"""The tag that identifies a run, so that no process creates it twice."""
RETRY_AFTER_S = 60.0
"""How long a store that did not answer is left alone."""

_UPLOADS = ("file", "model")  # these may fail alone: artifacts are stored elsewhere than metrics

_suspended: dict[str, float] = {}
"""Until when (monotonic seconds) each store is left alone, by its address."""
_one_at_a_time = threading.Lock()
"""Threads of a process that log to the same run must not both create it."""
_reported: set[str] = set()
"""The stores whose outage was logged."""


@dataclass
class Run:
    """An MLflow run. Travels to workers, which log into the same run."""

    tracking: Store
    name: str
    tags: Mapping[str, str]
    parent: "Run | None"
    journal: Journal
    key: str = field(default_factory=lambda: uuid.uuid4().hex[:16])
    since: int = field(default_factory=lambda: _now())
    holder: Holder | None = None  # the process that opened it, which closes it
    id: str | None = None  # None until MLflow has created the run
    _pending: bool = False  # entries are kept in the journal

    @classmethod
    def from_journal(cls, journal: Journal, tracking: Store) -> "Run | None":
        """The run that a journal belongs to, if it was meant for this store. A journal without a run is deleted."""
        record = journal.run()
        if record is None:
            journal.close()
        if record is None or record["store"] != tracking.shown:
            return None
        return cls._from_record(record, journal, dataclasses.replace(tracking, experiment=record["experiment"]))

    @classmethod
    def _from_record(cls, record: dict[str, Any], journal: Journal, tracking: Store) -> "Run":
        parent = record["parent"] and cls._from_record(record["parent"], journal, tracking)
        holder = Holder(**record["holder"]) if record.get("holder") else None
        known = {key: record[key] for key in ("name", "tags", "key", "since", "id")}
        return cls(tracking, parent=parent, journal=journal, holder=holder, **known)

    def _record(self) -> dict[str, Any]:
        plain = {key: getattr(self, key) for key in ("name", "tags", "key", "since", "id")}
        store = {"store": self.tracking.shown, "experiment": self.tracking.experiment}
        holder = self.holder and dataclasses.asdict(self.holder)
        return plain | store | {"holder": holder, "parent": self.parent and self.parent._record()}

    @property
    def is_orphan(self) -> bool:
        """Whether the process that would close it is gone; of a nested run, that of its parent."""
        holder = (self.parent or self).holder
        return holder is not None and holder.shares_processes_with(Holder.this_process()) and not holder.is_alive()

    @property
    def label(self) -> str:
        """What tells it from the other runs of an output folder."""
        return storage.name_of(self.journal.uri).rpartition(".")[0]

    def open(self, params: Mapping[str, Any]) -> None:
        """Start the run, now."""
        self.since, self.holder = _now(), Holder.this_process()
        self.journal.open(self._record())
        self._log("params", values={key: without_password(str(value)) for key, value in params.items()})

    def close(self, state: str) -> None:
        """End the run once its pending entries are sent. `state`: FINISHED, FAILED, or KILLED by someone else."""
        entry = {"op": "end", "time": _now(), "data": False, "state": state}
        if self.journal.names() or not self._deliver(entry, None):
            self.journal.add(entry, None)
            self.send()
        else:
            self.journal.close()

    def tag(self, key: str, value: str) -> None:
        self._log("tag", key=key, value=value)

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        self._log("metrics", values={key: float(value) for key, value in metrics.items()}, step=step)

    def log_dataset(self, output: Artifact, context: str) -> None:
        """Record an output by its digest as an input of the run. context: such as "training"."""
        fields = {
            "name": output.name,
            "digest": output.digest,
            "source_type": "local" if "://" not in output.uri else output.uri.split("://")[0],
            "source": storage.json_text({"uri": without_password(output.uri)}),
            "profile": storage.json_text({"rows": output.manifest.rows, "counts": output.manifest.counts}),
        }
        self._log("dataset", fields=fields, context=context)

    def log_text(self, text: str, name: str) -> None:
        self.log_bytes(text.encode(), name)

    def log_bytes(self, data: bytes, name: str) -> None:
        """Log a file of the run; `name` may contain folders."""
        self._log("file", data, name=name)

    def log_model(
        self,
        save: Callable[[str], None],
        name: str,
        metrics: Mapping[str, float] | None = None,
        dataset: Artifact | None = None,
        registration: Registration | None = None,
    ) -> None:
        """Log the model that `save` writes to a folder with MLflow, and register it where that is wanted.

        metrics: the model's own scores, tied to it and to the data set that they were measured on.
        """
        try:
            packed = mlflow_model.pack(save)
        except Exception as error:  # a training of hours must survive a failure to log it
            return logger.warning("MLflow cannot save the network of %s, which continues (%s).", self.name, error)
        used = {"name": dataset.name, "digest": dataset.digest} if dataset else {}
        register = registration and dataclasses.asdict(registration)
        self._log("model", packed, name=name, metrics=dict(metrics or {}), dataset=used, register=register)

    def send(self) -> int:
        """Send the pending entries as far as MLflow accepts them; return how many remain. The journal is deleted once
        the end of the run is sent.
        """
        remaining, ended, names = 0, False, self.journal.names()
        for number, name in enumerate(names, start=1):
            if (pending := self.journal.read(name)) is None:
                continue
            entry, data = pending
            ended = entry["op"] == "end"
            if self._deliver(entry, data) and not (ended and remaining):  # the end stays the last entry
                self.journal.drop(name)
                continue
            remaining += 1
            if entry["op"] not in _UPLOADS:
                remaining += len(names) - number
                break
        self._pending = bool(remaining)
        if ended and not remaining:
            self.journal.close()
        return remaining

    def _log(self, op: str, data: bytes | None = None, **values: Any) -> None:
        """Send an entry to MLflow, or keep it in the journal."""
        entry = {"op": op, "time": _now(), "data": data is not None, **values}
        with _one_at_a_time:
            if not self._deliver(entry, data):
                self._pending = True
                self.journal.add(entry, data)
            elif self._pending:
                self.send()

    def _deliver(self, entry: Mapping[str, Any], data: bytes | None) -> bool:
        """Whether MLflow accepted an entry, or never will. A store that does not answer is left alone for a while."""
        store = self.tracking.uri
        if is_suspended(store):
            return False
        try:
            with request_timeout(LOG_TIMEOUT_S):
                self._send(self.tracking.client, entry, data)
        except Exception as error:  # no failure of MLflow stops the work
            problem = explain(error, store)
            if getattr(error, "error_code", None) in REJECTED and "failed with error code" not in str(error):
                logger.warning("MLflow rejects the %s of %s, which continues: %s", entry["op"], self.name, problem)
                return True
            suspend(store, self.name, problem, 0 if entry["op"] in _UPLOADS else RETRY_AFTER_S)
            return False
        if entry["op"] not in _UPLOADS:
            _reported.discard(store)
        return True

    def _send(self, client: "MlflowClient", entry: Mapping[str, Any], data: bytes | None) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param

        run = self._id(client)
        match entry["op"]:
            case "params":
                client.log_batch(run, params=[Param(key, value) for key, value in entry["values"].items()])
            case "metrics":
                values = entry["values"].items()
                client.log_batch(
                    run, metrics=[Metric(key, value, entry["time"], entry["step"]) for key, value in values]
                )
            case "tag":
                client.set_tag(run, entry["key"], entry["value"])
            case "dataset":
                client.log_inputs(
                    run, [DatasetInput(Dataset(**entry["fields"]), [InputTag("mlflow.data.context", entry["context"])])]
                )
            case "file":
                assert data is not None
                self._send_file(client, run, Path(entry["name"]), data)
            case "model":
                assert data is not None
                mlflow_model.send(client, run, entry, data)
            case _:
                if entry["state"] != "KILLED" or client.get_run(run).info.status == "RUNNING":
                    client.set_terminated(run, entry["state"], entry["time"])

    def _send_file(self, client: "MlflowClient", run: str, name: Path, data: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / name.name).write_bytes(data)
            client.log_artifact(run, f"{folder}/{name.name}", str(name.parent) if len(name.parts) > 1 else None)

    def _id(self, client: "MlflowClient") -> str:
        """The run's id in MLflow, where the run is created with its first entry."""
        if self.id is None:
            experiment = self.tracking.experiment_id()
            existing = client.search_runs([experiment], f"tags.`{KEY}` = '{self.key}'", max_results=1)
            if existing:
                self.id = existing[0].info.run_id
                return self.id
            tags = {**self.tags, KEY: self.key, **({PARENT: self.parent._id(client)} if self.parent else {})}
            self.id = client.create_run(experiment, self.since, tags, self.name).info.run_id
        return self.id


def is_suspended(store: str) -> bool:
    """Whether a store is left alone because it did not answer."""
    return time.monotonic() < _suspended.get(store, 0)


def resume(store: str) -> None:
    """Send the next entry to a store that did not answer."""
    _suspended.pop(store, None)


def suspend(store: str, run: str, problem: UserError, seconds: float) -> None:
    """Leave a store alone for a while; the reason is logged once for each outage."""
    sentence = str(problem)
    if isinstance(problem, Unavailable):  # its remedy is for a run that has not started
        sentence = sentence.rpartition(": ")[0] + "."
    if seconds:
        _suspended[store] = time.monotonic() + seconds
    if store not in _reported:
        logger.warning("%s continues without MLflow and keeps its log to send it later: %s", run, sentence)
    _reported.add(store)


def _now() -> int:
    return int(time.time() * 1000)
