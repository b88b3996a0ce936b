"""The stage that trains a recogniser: files, scores, MLflow, trunk and initial weights, workers."""

import dataclasses
import json
import os
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Run
from recognition_data import SMALL, dataset, rows

from twfer_dist.core.errors import UserError
from twfer_dist.dataset import loader
from twfer_dist.dataset.loader import Decoding
from twfer_dist.dataset.parts import parts_of
from twfer_dist.dataset.stream import ImageSource
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.inspect import inspect
from twfer_dist.engine.mlflow_store import sqlite_uri
from twfer_dist.engine.stage import find_output, run_stage
from twfer_dist.engine.tracking import Tracking
from twfer_dist.recipe.status import recipe_status
from twfer_dist.recognition import recogniser
from twfer_dist.recognition.train_config import TrainConfig
from twfer_dist.recognition.train_stage import train_spec

pytestmark = pytest.mark.usefixtures("one_thread")

Trained = tuple[Artifact, Tracking]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """42 training, 14 validation and 14 test images."""
    return dataset(str(tmp_path_factory.mktemp("images")), {"train": 6, "validation": 2, "test": 2})


@pytest.fixture(scope="module")
def trained(images: Artifact, migrated_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """An ARM trained for two epochs in this process, in a folder whose name has another meaning in a URI."""
    out = tmp_path_factory.mktemp("trained") / "a b#c?d%20é"
    out.mkdir()
    (out / "mlflow.db").write_bytes(migrated_database.read_bytes())
    tracking = Tracking(sqlite_uri(f"{out}/mlflow.db"), "recognition")
    config = TrainConfig(network="arm", size=96, epochs=2, batch=14, learning_rate=1e-3)
    return run_stage(train_spec(images, config, tracking), str(out), quiet=True), tracking


def test_the_stage_writes_a_model_scores_and_history(trained: Trained, images: Artifact) -> None:
    output, _ = trained
    results = output.results
    assert {f.path for f in output.manifest.files} == {
        "model.safetensors",
        "model.json",
        "novelty.safetensors",
        "history.jsonl",
    }
    assert results["images"] == {"train": 42, "validation": 14, "test": 14}
    for split, score in results["scores"].items():
        confusion = np.array(score["confusion"])
        assert confusion.sum() == score["n"] == results["images"][split]
        assert score["accuracy"] == pytest.approx(np.trace(confusion) / confusion.sum())
        assert score["balanced_accuracy"] == pytest.approx((np.diag(confusion) / confusion.sum(1)).mean())
    history = [json.loads(line) for line in storage.read_bytes(output.path("history.jsonl")).splitlines()]
    assert [line["epoch"] for line in history] == [1, 2]
    assert history[1]["learning_rate"] == pytest.approx(0.9e-3)
    best = history[results["best_epoch"] - 1]
    name = "balanced_accuracy/validation"
    assert best[name] == max(line[name] for line in history) == results["scores"]["validation"]["balanced_accuracy"]
    description = json.loads(storage.read_bytes(output.path("model.json")))
    assert description["dataset"] == images.digest and description["network"] == "arm" and description["size"] == 96


def test_mlflow_has_params_metrics_dataset_and_model(trained: Trained, images: Artifact) -> None:
    output, tracking = trained
    client = MlflowClient(tracking.uri)
    run = client.get_run(output.results["run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.tags["twfer.corpora"] == "synthetic"
    assert run.data.params["network"] == "arm" and run.data.params["gamma"] == "2.0"
    for name in ("loss/train", "accuracy/train", "balanced_accuracy/validation", "accuracy/validation"):
        assert [m.step for m in client.get_metric_history(run.info.run_id, name)] == [1, 2]
    assert run.data.metrics["accuracy/test"] == pytest.approx(output.results["scores"]["test"]["accuracy"])
    assert logged_digests(run) == [images.digest]
    assert {"confusion.html", "scores.json"} <= {f.path for f in client.list_artifacts(run.info.run_id)}
    models = client.search_logged_models(experiment_ids=[run.info.experiment_id])
    assert [m.source_run_id for m in models] == [run.info.run_id]
    own = {metric.key: (metric.value, metric.dataset_digest) for metric in models[0].metrics or []}
    assert own["model_accuracy/test"] == (run.data.metrics["accuracy/test"], images.digest)


def test_a_training_stays_in_its_folder(trained: Trained) -> None:
    output, tracking = trained
    out = Path(output.uri).parent
    assert out.name == "a b#c?d%20é" and [path.name for path in out.parent.iterdir()] == [out.name]
    assert {"mlflow.db", "mlartifacts", output.name} <= {path.name for path in out.iterdir()}
    assert tracking.interface.endswith("/a b#c%3Fd%2520é/mlflow.db'")
    assert [stage["state"] for stage in recipe_status(str(out))["stages"]] == ["finished"]
    assert inspect(output.uri)["state"] == "finished"


def logged_digests(run: Run) -> list[str]:
    return [d.dataset.digest for d in run.inputs.dataset_inputs] if run.inputs else []


@pytest.fixture(scope="module")
def au_resnet(images: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """An AU-ResNet trained for one epoch."""
    out = str(tmp_path_factory.mktemp("au-resnet"))
    config = TrainConfig(network="au-resnet", size=112, epochs=1, batch=14, learning_rate=1e-3)
    return run_stage(train_spec(images, config, Tracking(sqlite_uri(f"{out}/mlflow.db"), "x")), out, quiet=True)


@pytest.mark.parametrize("network", ["arm", "au-resnet"])
def test_a_prediction_does_not_depend_on_its_batch(
    network: str, trained: Trained, au_resnet: Artifact, images: Artifact
) -> None:
    model = recogniser.open_recogniser(trained[0] if network == "arm" else au_resnet)
    encoded = ImageSource(images, parts_of(images, seed=0)).in_order("test", 7)
    pixels = next(loader.batches(encoded, Decoding(model.size))).pixels.numpy()
    together, distances = model.predict(pixels)
    for position in range(7):  # among other images and at other positions, to the last bit
        others = np.zeros_like(pixels)
        others[position] = pixels[3]
        alone, distance = model.predict(others)
        assert (alone[position] == together[3]).all() and distance[position] == distances[3]
    np.testing.assert_allclose(together.sum(1), 1, atol=1e-5)


def test_the_trunk_of_another_network_is_refused(au_resnet: Artifact, images: Artifact) -> None:
    with pytest.raises(UserError, match="has the trunk of AU-ResNet, and ResNet-18 has another: name a training of"):
        train_spec(images, SMALL, Tracking("x", "x"), trunk=au_resnet)


@pytest.mark.long
def test_a_training_survives_the_death_of_a_worker(
    ray_cluster: None, images: Artifact, mlflow_uri: str, tmp_path: Path
) -> None:
    config = dataclasses.replace(SMALL, epochs=8)
    spec = train_spec(images, config, Tracking(mlflow_uri, "workers"), workers=2, cpus=0.5, checkpoint_seconds=0)
    checkpoint = tmp_path / f"train-{spec.fingerprint}" / "_work" / "checkpoint.pt"
    killed: list[int] = []

    def kill_one() -> None:
        until = time.monotonic() + 120
        while not checkpoint.exists():
            assert time.monotonic() < until
            time.sleep(0.02)
        children = psutil.Process().children(recursive=True)
        workers = [child for child in children if "RayTrainWorker" in child.name() + " ".join(child.cmdline())]
        killed.append(workers[-1].pid)
        os.kill(workers[-1].pid, 9)

    killer = threading.Thread(target=kill_one)
    killer.start()
    output = run_stage(spec, str(tmp_path), quiet=True)
    killer.join()
    assert killed
    history = [json.loads(line) for line in storage.read_bytes(output.path("history.jsonl")).splitlines()]
    assert [line["epoch"] for line in history] == list(range(1, 9))
    assert history[-1]["loss/train"] < history[0]["loss/train"]
    images_of = {split: score["n"] for split, score in output.results["scores"].items()}
    assert images_of == {"train": 42, "validation": 14, "test": 14}
    params = MlflowClient(mlflow_uri).get_run(output.results["run_id"]).data.params
    assert params["workers"] == "2"


def test_a_training_starts_from_the_trunk_of_another(trained: Trained, mlflow_uri: str, tmp_path: Path) -> None:
    """Its data set has no test images, as its summary says."""
    tracking, trunk = Tracking(mlflow_uri, "trunk"), trained[0]
    few = dataset(str(tmp_path), {"train": 2, "validation": 1})
    config = dataclasses.replace(SMALL, epochs=1, learning_rate=1e-9)
    spec = train_spec(few, config, tracking, trunk=trunk)
    assert spec.fingerprint != train_spec(few, config, tracking).fingerprint
    output = run_stage(spec, str(tmp_path), quiet=True)
    states = [recogniser.open_recogniser(artifact).network.state_dict() for artifact in (output, trunk)]
    for name in ("features.0.weight", "features.7.1.conv2.weight"):
        torch.testing.assert_close(states[0][name], states[1][name], atol=1e-6, rtol=0)
    assert output.results["images"] == {"train": 14, "validation": 7} and output.results["precision"] == "float32"
    assert output.results["summary"][-1] == "no test images: accuracy on new images is not measured"


def test_a_training_that_cannot_start_is_refused(trained: Trained, images: Artifact, tmp_path: Path) -> None:
    tracking = Tracking("sqlite:////nowhere.db", "x")
    with pytest.raises(UserError, match="from 'initial' or from a 'trunk'"):
        train_spec(images, SMALL, tracking, initial="weights.pth", trunk=trained[0])
    with pytest.raises(UserError, match="none.pth does not exist"):
        train_spec(images, SMALL, tracking, initial=str(tmp_path / "none.pth"))


def test_a_diverged_training_leaves_no_output(images: Artifact, mlflow_uri: str, tmp_path: Path) -> None:
    spec = train_spec(images, dataclasses.replace(SMALL, learning_rate=1.0), Tracking(mlflow_uri, "x"))
    with pytest.raises(
        UserError, match="diverged at .*epoch.*: its loss is .* for an untrained network; lower learning_rate"
    ):
        run_stage(spec, str(tmp_path), quiet=True)
    assert find_output(spec, str(tmp_path)) is None


@pytest.mark.parametrize(
    ("counts", "figure_ids", "message"),
    [
        ({"test": 2}, 3, "has no training images, only test"),
        ({"train": 2, "test": 2}, 1, "has no validation images, and its training"),
    ],
)
def test_data_sets_without_a_needed_split_are_refused(
    tmp_path: Path, mlflow_uri: str, counts: dict[str, int], figure_ids: int, message: str
) -> None:
    images = dataset(str(tmp_path), counts, table=rows(counts, figure_ids))
    with pytest.raises(UserError, match=message):
        run_stage(train_spec(images, SMALL, Tracking(mlflow_uri, "x")), str(tmp_path), quiet=True)
