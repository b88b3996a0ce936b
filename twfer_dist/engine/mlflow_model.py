"""An MLflow model: packed where it was trained, sent and registered when MLflow takes it."""

import contextlib
import io
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION = "champion"
"""The alias of the version of a registered model that is to be used."""


@dataclass(frozen=True)
class Registration:
    """Under which name a model is registered. card: Markdown, the description of the version."""

    name: str
    card: str


def pack(save: Callable[[str], None]) -> bytes:
    """The folder `model` that `save` writes with MLflow, as a tar file."""
    packed = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=packed, mode="w") as archive:
        save(f"{folder}/model")
        archive.add(f"{folder}/model", "model")
    return packed.getvalue()


def send(client: "MlflowClient", run: str, entry: Mapping[str, Any], packed: bytes) -> None:
    """What MLflow's `log_model` does with a saved model, for a run other than this process's active one; then the
    model's own scores, and its registration.

    entry: name, time (ms), metrics, dataset (name and digest of what they were measured on, or empty), and register
    (the values of a Registration, or nothing).
    """
    from mlflow.entities import LoggedModelOutput, Metric
    from mlflow.models import Model

    source = client.get_run(run)
    model = client.create_logged_model(
        source.info.experiment_id, name=entry["name"], source_run_id=run, params=source.data.params
    )
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extractall(folder, filter="data")
        saved = Model.load(f"{folder}/model")
        saved.model_uuid = saved.model_id = model.model_id
        saved.artifact_path, saved.run_id = model.artifact_location, run
        saved.save(f"{folder}/model/MLmodel")
        client.log_model_artifacts(model.model_id, f"{folder}/model")
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(run, [LoggedModelOutput(model.model_id, step=0)])
    of = {"model_id": model.model_id, "run_id": run}
    of |= {f"dataset_{key}": value for key, value in entry["dataset"].items()}
    if entry["metrics"]:
        values = entry["metrics"].items()
        client.log_batch(run, metrics=[Metric(key, value, entry["time"], 0, **of) for key, value in values])
    if entry.get("register"):
        _register(client, run, model.model_id, Registration(**entry["register"]))


def register_again(client: "MlflowClient", runs: Sequence[str], wanted: Registration) -> str | None:
    """Register the model that one of these runs has logged, unless one of them has a version under the name already.
    The number of the new version; None where nothing was registered. LookupError where the runs have logged no model.
    """
    versions = client.search_model_versions(f"name='{wanted.name}'")
    if any(version.run_id in runs for version in versions):
        return None
    for run in runs:
        outputs = client.get_run(run).outputs
        if outputs and outputs.model_outputs:
            return _register(client, run, outputs.model_outputs[0].model_id, wanted)
    raise LookupError


def _register(client: "MlflowClient", run: str, model_id: str, wanted: Registration) -> str:
    """Make a model the newest version under its name, and the champion; the number of the version."""
    from mlflow.exceptions import MlflowException

    with contextlib.suppress(MlflowException):  # it exists; any other fault shows in the next call
        client.create_registered_model(wanted.name)
    with _default_store(client.tracking_uri):
        version = client.create_model_version(
            wanted.name, f"models:/{model_id}", run, description=wanted.card, model_id=model_id
        )
    client.update_registered_model(wanted.name, wanted.card)
    client.set_registered_model_alias(wanted.name, CHAMPION, version.version)
    return version.version


@contextlib.contextmanager
def _default_store(uri: str) -> Iterator[None]:
    """MLflow's SQL registry looks a logged model up in the process's default store, whatever the client's is."""
    from mlflow.tracking._tracking_service.utils import _use_tracking_uri

    before = os.environ.get("MLFLOW_TRACKING_URI")
    try:
        with _use_tracking_uri(uri):
            yield
    finally:
        if before is not None:
            os.environ["MLFLOW_TRACKING_URI"] = before
