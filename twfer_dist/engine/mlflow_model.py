"""A network as an MLflow model: packed where it was trained, sent when MLflow takes it."""

import io
import tarfile
import tempfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch
    from mlflow import MlflowClient


def pack(module: "torch.nn.Module", example: np.ndarray) -> bytes:
    """The folder `model` that MLflow makes of a network, as a tar file. example: float32, an input, batch first."""
    import mlflow.pytorch
    import torch

    packed = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=packed, mode="w") as archive:
        requirements = [f"torch=={torch.__version__.partition('+')[0]}"]  # no registry has a local version
        mlflow.pytorch.save_model(module, f"{folder}/model", input_example=example, pip_requirements=requirements)
        archive.add(f"{folder}/model", "model")
    return packed.getvalue()


def send(client: "MlflowClient", run: str, entry: Mapping[str, Any], packed: bytes) -> None:
    """What `mlflow.pytorch.log_model` does with a saved model, for a run other than this process's active one; then the
    model's own scores.

    entry: name, time (ms), metrics, and dataset (name and digest of what they were measured on, or empty).
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
