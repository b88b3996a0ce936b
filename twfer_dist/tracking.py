"""MLflow: every run, its parameters, metrics, data sets and models; nested runs; the same on the driver and on workers.

Ray's own MLflow callback can neither nest runs nor log data sets, so this thin layer stands over `MlflowClient`: a run is
made on the driver, its id travels, and rank 0 or a trial resumes it there.
"""

import contextlib
import logging
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

import numpy as np

from twfer_dist import storage
from twfer_dist.errors import Problem
from twfer_dist.progress import Log
from twfer_dist.storage import Finished

if TYPE_CHECKING:
    import torch
    from mlflow import MlflowClient

PARENT = "mlflow.parentRunId"


@dataclass(frozen=True)
class Tracking:
    """An MLflow store and an experiment in it. Travels to workers; is in no fingerprint."""

    uri: str  # http(s)://..., or sqlite:////absolute/path.db
    experiment: str

    @property
    def client(self) -> "MlflowClient":
        from mlflow import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.ERROR)
        logging.getLogger("alembic").setLevel(logging.ERROR)
        return MlflowClient(tracking_uri=self.uri)

    def experiment_id(self) -> str:
        """The id of the experiment, which is made where it is not there; an SQLite store keeps artifacts beside itself."""
        from mlflow.exceptions import MlflowException

        self.check()
        client = self.client
        try:
            if found := client.get_experiment_by_name(self.experiment):
                return found.experiment_id
            database = _sqlite_path(self.uri)
            location = (database.parent / "mlartifacts").as_uri() if database else None
            return client.create_experiment(self.experiment, artifact_location=location)
        except MlflowException as error:
            raise Problem(f"MLflow at {self.uri} refused the experiment '{self.experiment}' ({error.message}): name another.") from None

    def check(self) -> None:
        """Problem where the store cannot be reached, or is a file of this machine while the cluster has several."""
        if self.uri.startswith(("http://", "https://")):
            try:
                urllib.request.urlopen(f"{self.uri.rstrip('/')}/health", timeout=10).close()
            except (urllib.error.URLError, TimeoutError, OSError) as error:
                reason = getattr(error, "reason", error)
                raise Problem(
                    f"MLflow at {self.uri} does not answer ({reason}): start it, or set tracking to sqlite:///mlflow.db."
                ) from None
            return
        database = _sqlite_path(self.uri)
        if database is None:
            raise Problem(f"{self.uri} is no MLflow address this program knows: give http://host:port or sqlite:///file.db.")
        if database.exists() and database.stat().st_size and database.open("rb").read(16) != b"SQLite format 3\0":
            raise Problem(f"{database} is not an SQLite database: name another file for tracking.")
        database.parent.mkdir(parents=True, exist_ok=True)
        import ray

        if ray.is_initialized() and sum(node["Alive"] for node in ray.nodes()) > 1:
            raise Problem(f"{self.uri} is a file and the cluster has several nodes: start `mlflow server` and give its http address.")

    @contextlib.contextmanager
    def start(self, name: str, *, parent: str | None = None, tags: Mapping[str, str] | None = None) -> Iterator["Run"]:
        """A new run, nested under the run `parent` where given; it is closed as finished or as failed."""
        tags = {"mlflow.runName": name, **(tags or {}), **({PARENT: parent} if parent else {})}
        experiment = self.experiment_id()
        client = self.client
        run_id = client.create_run(experiment, run_name=name, tags=tags).info.run_id
        try:
            yield Run(self, run_id, client)
        except BaseException:
            client.set_terminated(run_id, "FAILED")
            raise
        client.set_terminated(run_id, "FINISHED")

    @contextlib.contextmanager
    def progress(self, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> Iterator[Log]:
        """A run for the progress of a stage: what logs its figures. A store that falls silent meanwhile stops no work: it is said once.
        Problem where it does not take the run at the start.
        """
        from mlflow.exceptions import MlflowException

        experiment = self.experiment_id()
        try:
            run = Run(self, self.client.create_run(experiment, run_name=name, tags=dict(tags)).info.run_id, self.client)
            run.log_params(params)
        except MlflowException as error:
            raise Problem(f"MLflow at {self.uri} did not take the run '{name}' ({error.message}): mend that, and start again.") from None
        silent = False

        def attempt(call: Callable[[], None]) -> None:
            nonlocal silent
            try:
                if not silent:
                    call()
            except MlflowException as error:
                silent = True
                print(f"twfer: MLflow at {self.uri} is silent ({error.message}): {name} goes on without it.", file=sys.stderr, flush=True)

        state = "FAILED"
        try:
            yield lambda metrics, step: attempt(lambda: run.log_metrics(metrics, step))
            state = "FINISHED"
        finally:
            attempt(lambda: self.client.set_terminated(run.id, state))

    def resume(self, run_id: str) -> "Run":
        """The run `run_id`, to log into it from another process."""
        return Run(self, run_id, self.client)


class Run:
    """An MLflow run that is being written."""

    def __init__(self, tracking: Tracking, run_id: str, client: "MlflowClient") -> None:
        self.id = run_id
        self._tracking = tracking
        self._client = client

    def log_params(self, params: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        self._client.log_batch(self.id, params=[Param(key, str(value)) for key, value in params.items()])

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        import time

        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(self.id, metrics=[Metric(key, float(value), now, step) for key, value in metrics.items()])

    def log_dataset(self, finished: Finished, context: str) -> None:
        """Record the data set at `finished` by its digest as an input of the run."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        profile = storage.json_text({"rows": finished.manifest["rows"], "counts": finished.manifest["counts"]})
        dataset = Dataset(
            name=finished.name,
            digest=finished.digest,
            source_type="local" if "://" not in finished.uri else finished.uri.split("://")[0],
            source=storage.json_text({"uri": finished.uri}),
            profile=profile,
        )
        self._client.log_inputs(self.id, [DatasetInput(dataset, [InputTag("mlflow.data.context", context)])])

    def log_text(self, text: str, name: str) -> None:
        self._client.log_text(self.id, text, name)

    def log_bytes(self, data: bytes, name: str) -> None:
        """Log a file of the run; `name` may hold folders."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / Path(name).name
            path.write_bytes(data)
            self._client.log_artifact(self.id, str(path), str(Path(name).parent) if "/" in name else None)

    def log_model(self, module: "torch.nn.Module", name: str, example: np.ndarray) -> str:
        """Log a network with an input example (float32, batch first, at least two so that the batch stays free); its URI `models:/...`."""
        import mlflow
        import mlflow.pytorch
        import torch

        mlflow.set_tracking_uri(self._tracking.uri)
        with mlflow.start_run(run_id=self.id):
            return mlflow.pytorch.log_model(
                module, name=name, input_example=example, pip_requirements=[f"torch=={torch.__version__}"]
            ).model_uri


def _sqlite_path(uri: str) -> Path | None:
    parsed = urlparse(uri)
    return Path(parsed.path[1:]) if parsed.scheme == "sqlite" and parsed.path else None
