"""One MLflow run, the same on the driver and on workers. What MLflow does not take waits in its journal."""

import dataclasses
import io
import sys
import tarfile
import tempfile
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mlflow import MlflowClient

from twfer_dist.core.errors import UserError
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.journal import Journal, without_password
from twfer_dist.engine.mlflow_store import LOG_SECONDS, REFUSED, Away, Store, patience, problem_of

PARENT = "mlflow.parentRunId"
KEY = "twfer.key"
"""The tag by which a run is found, so that no start of a process makes it twice."""
WAIT = 60.0
"""Seconds before a store that did not answer is asked again."""

_UPLOADS = ("file", "model")  # these may fail alone: artifacts lie elsewhere than metrics

_silent: dict[str, float] = {}
"""Until when a store is left alone, by its address."""
_told: set[str] = set()
"""The stores of which it was said that they do not answer."""


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
    id: str | None = None  # None until MLflow has taken the run
    _waits: bool = False

    @classmethod
    def of(cls, left: Journal, tracking: Store) -> "Run | None":
        """The run that a journal belongs to, if it was meant for this store; a journal of none is deleted."""
        noted = left.run()
        if noted is None:
            left.close()
        if noted is None or noted["store"] != tracking.shown:
            return None
        return cls._from(noted, left, dataclasses.replace(tracking, experiment=noted["experiment"]))

    @classmethod
    def _from(cls, noted: dict[str, Any], left: Journal, tracking: Store) -> "Run":
        parent = noted["parent"] and cls._from(noted["parent"], left, tracking)
        return cls(tracking, noted["name"], noted["tags"], parent, left, noted["key"], noted["since"], noted["id"])

    def _noted(self) -> dict[str, Any]:
        plain = {key: getattr(self, key) for key in ("name", "tags", "key", "since", "id")}
        store = {"store": self.tracking.shown, "experiment": self.tracking.experiment}
        return plain | store | {"parent": self.parent and self.parent._noted()}

    def open(self, params: Mapping[str, Any]) -> None:
        self.journal.open(self._noted())
        self._log("params", values={key: without_password(str(value)) for key, value in params.items()})

    def close(self, state: str) -> None:
        """End the run, after all that waits of it is sent."""
        entry = {"op": "end", "time": _now(), "data": False, "state": state}
        if self.journal.names() or not self._taken(entry, None):
            self.journal.add(entry, None)
            self.send()
        else:
            self.journal.close()

    def bury(self) -> None:
        """Close a run whose process was killed."""
        self.close("KILLED")

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        self._log("metrics", values={key: float(value) for key, value in metrics.items()}, step=step)

    def log_dataset(self, finished: Artifact, context: str) -> None:
        """Record the data set at `finished` by its digest as an input of the run."""
        fields = {
            "name": finished.name,
            "digest": finished.digest,
            "source_type": "local" if "://" not in finished.uri else finished.uri.split("://")[0],
            "source": storage.json_text({"uri": without_password(finished.uri)}),
            "profile": storage.json_text({"rows": finished.manifest.rows, "counts": finished.manifest.counts}),
        }
        self._log("dataset", fields=fields, context=context)

    def log_text(self, text: str, name: str) -> None:
        self.log_bytes(text.encode(), name)

    def log_bytes(self, data: bytes, name: str) -> None:
        """Log a file of the run; `name` may hold folders."""
        self._log("file", data, name=name)

    def log_model(self, module: "torch.nn.Module", name: str, example: np.ndarray) -> None:
        """Log a network with an input example (float32, batch first, at least two so that the batch stays free)."""
        import mlflow.pytorch
        import torch

        packed = io.BytesIO()
        with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=packed, mode="w") as archive:
            requirements = [f"torch=={torch.__version__}"]
            try:
                mlflow.pytorch.save_model(
                    module, f"{folder}/model", input_example=example, pip_requirements=requirements
                )
            except Exception as error:  # hours of training do not end over their log
                return tell(f"MLflow cannot save the network of {self.name}, which goes on without ({error}).")
            archive.add(f"{folder}/model", "model")
        self._log("model", packed.getvalue(), name=name)

    def send(self) -> int:
        """Send what waits, as far as MLflow takes it; how many entries still wait. The journal goes with the end of the
        run.
        """
        left, ended, names = 0, False, self.journal.names()
        for number, name in enumerate(names, start=1):
            if (found := self.journal.read(name)) is None:
                continue
            entry, data = found
            ended = entry["op"] == "end"
            if self._taken(entry, data) and not (ended and left):  # the end stays the last one
                self.journal.drop(name)
                continue
            left += 1
            if entry["op"] not in _UPLOADS:
                left += len(names) - number
                break
        self._waits = bool(left)
        if ended and not left:
            self.journal.close()
        return left

    def _log(self, op: str, data: bytes | None = None, **values: Any) -> None:
        """Tell MLflow, or note it for later."""
        entry = {"op": op, "time": _now(), "data": data is not None, **values}
        if not self._taken(entry, data):
            self._waits = True
            self.journal.add(entry, data)
        elif self._waits:
            self.send()

    def _taken(self, entry: Mapping[str, Any], data: bytes | None) -> bool:
        """Whether MLflow took an entry, or never will. A store that did not answer is left alone for a while."""
        store = self.tracking.uri
        if is_silent(store):
            return False
        try:
            with patience(LOG_SECONDS):
                self._send(self.tracking.client, entry, data)
        except Exception as error:  # whatever it is, it stops no work
            sentence = problem_of(error, store)
            if getattr(error, "error_code", None) in REFUSED and "failed with error code" not in str(error):
                tell(f"MLflow rejects the {entry['op']} of {self.name}, which goes on without: {sentence}")
                return True
            fall_silent(store, self.name, sentence, 0 if entry["op"] in _UPLOADS else WAIT)
            return False
        if entry["op"] not in _UPLOADS:
            _told.discard(store)
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
            case "dataset":
                client.log_inputs(
                    run, [DatasetInput(Dataset(**entry["fields"]), [InputTag("mlflow.data.context", entry["context"])])]
                )
            case "file":
                assert data is not None
                with tempfile.TemporaryDirectory() as folder:
                    path = Path(folder) / Path(entry["name"]).name
                    path.write_bytes(data)
                    client.log_artifact(
                        run, str(path), str(Path(entry["name"]).parent) if "/" in entry["name"] else None
                    )
            case "model":
                assert data is not None
                self._send_model(client, run, entry["name"], data)
            case _:
                if entry["state"] != "KILLED" or client.get_run(run).info.status == "RUNNING":
                    client.set_terminated(run, entry["state"], entry["time"])

    def _send_model(self, client: "MlflowClient", run: str, name: str, data: bytes) -> None:
        """What `mlflow.pytorch.log_model` does with a saved model, for a run that is not this process's current one."""
        from mlflow.entities import LoggedModelOutput
        from mlflow.models import Model

        found = client.get_run(run)
        model = client.create_logged_model(
            found.info.experiment_id, name=name, source_run_id=run, params=found.data.params
        )
        with tempfile.TemporaryDirectory() as folder:
            with tarfile.open(fileobj=io.BytesIO(data)) as archive:
                archive.extractall(folder, filter="data")
            saved = Model.load(f"{folder}/model")
            saved.model_uuid = saved.model_id = model.model_id
            saved.artifact_path, saved.run_id = model.artifact_location, run
            saved.save(f"{folder}/model/MLmodel")
            client.log_model_artifacts(model.model_id, f"{folder}/model")
        client.finalize_logged_model(model.model_id, "READY")
        client.log_outputs(run, [LoggedModelOutput(model.model_id, step=0)])

    def _id(self, client: "MlflowClient") -> str:
        """The run's id in MLflow, which makes the run at the first word."""
        if self.id is None:
            experiment = self.tracking.experiment_id()
            found = client.search_runs([experiment], f"tags.`{KEY}` = '{self.key}'", max_results=1)
            if found:
                self.id = found[0].info.run_id
                return self.id
            tags = {**self.tags, KEY: self.key, **({PARENT: self.parent._id(client)} if self.parent else {})}
            self.id = client.create_run(experiment, self.since, tags, self.name).info.run_id
        return self.id


def is_silent(store: str) -> bool:
    return time.monotonic() < _silent.get(store, 0)


def ask_again(store: str) -> None:
    """Ask a store that did not answer at the next word."""
    _silent.pop(store, None)


def fall_silent(store: str, name: str, problem: UserError, seconds: float) -> None:
    """Leave a store alone for a while; why is said once."""
    sentence = (
        str(problem).rpartition(": ")[0] + "." if isinstance(problem, Away) else str(problem)
    )  # its remedy is to start again
    if seconds:
        _silent[store] = time.monotonic() + seconds
    if store not in _told:
        tell(f"{name} goes on without MLflow and keeps its log to send it later: {sentence}")
    _told.add(store)


def tell(line: str) -> None:
    print(f"twfer: {line}", file=sys.stderr, flush=True)


def _now() -> int:
    return int(time.time() * 1000)
