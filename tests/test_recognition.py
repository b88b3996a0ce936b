"""Recognition end to end on a small synthetic data set: training, resuming, sweeping, answering, wrong checkpoints."""

import dataclasses
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from recognition_data import SMALL, dataset, picture

from twfer_dist.core.errors import UserError
from twfer_dist.core.schema import FACES, PREDICTIONS
from twfer_dist.dataset import loader
from twfer_dist.engine import artifact, storage
from twfer_dist.engine.artifact import Artifact, Reused
from twfer_dist.engine.inspect import inspect
from twfer_dist.engine.mlflow_store import sqlite_uri
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import run_stage
from twfer_dist.engine.tracking import Tracking
from twfer_dist.recipe.status import recipe_status
from twfer_dist.recognition import recogniser, training
from twfer_dist.recognition.stage import PredictConfig, predict_job
from twfer_dist.recognition.sweep_stage import SweepConfig, sweep_job
from twfer_dist.recognition.train_stage import train_job
from twfer_dist.recognition.training import TrainConfig

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """42 training, 14 validation and 14 test images."""
    return dataset(str(tmp_path_factory.mktemp("images")), {"train": 6, "validation": 2, "test": 2})


@pytest.fixture(scope="module")
def trained(images, migrated_database, tmp_path_factory: pytest.TempPathFactory) -> tuple[Artifact, Tracking]:
    """An ARM trained for two epochs in this process, in a folder whose name would be another one if it were read as a
    URI.
    """
    out = tmp_path_factory.mktemp("trained") / "a b#c?d%20é"
    out.mkdir()
    (out / "mlflow.db").write_bytes(migrated_database.read_bytes())
    tracking = Tracking(sqlite_uri(f"{out}/mlflow.db"), "recognition")
    config = TrainConfig(network="arm", size=96, epochs=2, batch=14, learning_rate=1e-3)
    return run_stage(train_job(images, config, tracking), str(out), quiet=True), tracking


# Training


def test_a_training_writes_a_model_scores_and_history(trained, images):
    finished, _ = trained
    results = finished.results
    assert {f.path for f in finished.manifest.files} == {
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
    history = [json.loads(line) for line in storage.read_bytes(finished.path("history.jsonl")).splitlines()]
    assert [line["epoch"] for line in history] == [1, 2]
    assert history[1]["learning_rate"] == pytest.approx(0.9e-3)
    best = history[results["best_epoch"] - 1]
    assert (
        best["accuracy/validation"]
        == max(line["accuracy/validation"] for line in history)
        == results["scores"]["validation"]["accuracy"]
    )
    description = json.loads(storage.read_bytes(finished.path("model.json")))
    assert description["dataset"] == images.digest and description["network"] == "arm" and description["size"] == 96


def test_mlflow_holds_parameters_metrics_data_set_confusion_and_model(trained, images):
    finished, tracking = trained
    client = MlflowClient(tracking.uri)
    run = client.get_run(finished.results["run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.params["network"] == "arm" and run.data.params["gamma"] == "2.0"
    for name in ("loss/train", "accuracy/train", "balanced_accuracy/validation", "accuracy/validation"):
        assert [m.step for m in client.get_metric_history(run.info.run_id, name)] == [1, 2]
    assert run.data.metrics["accuracy/test"] == pytest.approx(finished.results["scores"]["test"]["accuracy"])
    assert logged_digests(run) == [images.digest]
    assert {"confusion.html", "scores.json"} <= {f.path for f in client.list_artifacts(run.info.run_id)}
    models = client.search_logged_models(experiment_ids=[run.info.experiment_id])
    assert [m.source_run_id for m in models] == [run.info.run_id]


def test_a_training_stays_in_its_folder(trained):
    finished, tracking = trained
    out = Path(finished.uri).parent
    assert out.name == "a b#c?d%20é" and [path.name for path in out.parent.iterdir()] == [out.name]
    assert {"mlflow.db", "mlartifacts", finished.name} <= {path.name for path in out.iterdir()}
    assert tracking.interface.endswith("/a b#c%3Fd%2520é/mlflow.db'")
    assert [stage["state"] for stage in recipe_status(str(out))["stages"]] == ["finished"]
    assert inspect(finished.uri)["state"] == "finished"


def logged_digests(run: Run) -> list[str]:
    return [d.dataset.digest for d in run.inputs.dataset_inputs] if run.inputs else []


def test_an_answer_does_not_depend_on_the_rest_of_the_batch(trained, images):
    model = recogniser.open_recogniser(trained[0])
    loaded = loader.load(images, loader.splits(images, seed=0).ids["test"])
    pixels = next(loader.batches(loaded, [np.arange(7)], 96))[0]
    together, distances = model.answer(pixels)
    for place in range(7):  # beside others and at other places, to the last bit
        others = np.zeros_like(pixels)
        others[place] = pixels[3]
        answer, distance = model.answer(others)
        assert (answer[place] == together[3]).all() and distance[place] == distances[3]
    np.testing.assert_allclose(together.sum(1), 1, atol=1e-5)


def test_a_killed_training_goes_on_and_ends_as_if_nothing_had_happened(images, mlflow_uri, tmp_path):
    config = dataclasses.replace(SMALL, epochs=6, loss="softmax")
    tracking = Tracking(mlflow_uri, "resumed")
    job = train_job(images, config, tracking, checkpoint_seconds=0)
    script = (
        "import sys, torch; torch.set_num_threads(1)\n"
        "from twfer_dist.engine import artifact\n"
        "from twfer_dist.engine.stage import run_stage\n"
        "from twfer_dist.recognition.train_stage import train_job\n"
        "from twfer_dist.recognition.training import TrainConfig\n"
        "from twfer_dist.engine.tracking import Tracking\n"
        f"job = train_job(artifact.open_finished(sys.argv[1]), {config!r}, {tracking!r}, checkpoint_seconds=0)\n"
        "run_stage(job, sys.argv[2], quiet=True)\n"
    )
    directory = tmp_path / f"train-{job.fingerprint}"
    process = subprocess.Popen([sys.executable, "-c", script, images.uri, str(tmp_path)])
    wait_for(directory / "_work" / "checkpoint.pt", process)
    process.kill()
    process.wait()
    assert not (directory / artifact.MANIFEST).exists()
    state = training.new_state(config)
    state.load((directory / "_work" / "checkpoint.pt").read_bytes())
    done = len(state.history)
    assert 1 <= done < config.epochs
    resumed = run_stage(job, str(tmp_path), quiet=True)
    whole = run_stage(train_job(images, config, tracking), str(tmp_path / "whole"), quiet=True)
    for name in ("history.jsonl", "model.safetensors", "model.json"):
        assert storage.read_bytes(resumed.path(name)) == storage.read_bytes(whole.path(name)), name
    client = MlflowClient(mlflow_uri)
    runs = client.search_runs([tracking.experiment_id()])
    assert sorted(run.info.status for run in runs) == ["FINISHED", "FINISHED", "KILLED"]
    steps = client.get_metric_history(resumed.results["run_id"], "loss/train")
    assert [m.step for m in steps] == [1, 2, 3, 4, 5, 6]  # the epochs before the kill too


def wait_for(file: Path, process: subprocess.Popen | None = None, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not file.exists():
        assert time.monotonic() < until and (process is None or process.poll() is None), f"{file} did not come"
        time.sleep(0.02)


def test_two_workers_train_together_and_outlive_the_death_of_one(ray_cluster, images, mlflow_uri, tmp_path):
    config = dataclasses.replace(SMALL, epochs=8)
    job = train_job(images, config, Tracking(mlflow_uri, "workers"), workers=2, cpus=0.5, checkpoint_seconds=0)
    killed: list[int] = []

    def kill_one() -> None:
        wait_for(tmp_path / f"train-{job.fingerprint}" / "_work" / "checkpoint.pt")
        workers = [
            p for p in psutil.Process().children(recursive=True) if "RayTrainWorker" in p.name() + " ".join(p.cmdline())
        ]
        killed.append(workers[-1].pid)
        os.kill(workers[-1].pid, 9)

    killer = threading.Thread(target=kill_one)
    killer.start()
    finished = run_stage(job, str(tmp_path), quiet=True)
    killer.join()
    assert killed
    history = [json.loads(line) for line in storage.read_bytes(finished.path("history.jsonl")).splitlines()]
    assert [line["epoch"] for line in history] == list(range(1, 9))
    assert history[-1]["loss/train"] < history[0]["loss/train"]
    assert {split: score["n"] for split, score in finished.results["scores"].items()} == {
        "train": 42,
        "validation": 14,
        "test": 14,
    }
    params = MlflowClient(mlflow_uri).get_run(finished.results["run_id"]).data.params
    assert params["workers"] == "2"


def test_a_sweep_nests_its_trials_under_its_run(ray_cluster, images, mlflow_uri, tmp_path):
    config = SweepConfig(train=SMALL, trials=2, patience=1)
    job = sweep_job(images, config, Tracking(mlflow_uri, "sweep"), concurrency=1, cpus=0.5)
    results = run_stage(job, str(tmp_path), quiet=True).results
    assert [(t["alpha"], t["learning_rate"]) for t in results["trials"]] == [
        (c.alpha, c.learning_rate) for c in config.points()
    ]
    assert results["trials"][0]["epochs"] == 2
    best = results["trials"][results["best"]]
    assert best["accuracy/validation"] == max(t["accuracy/validation"] for t in results["trials"])
    assert (
        TrainConfig(**results["best_config"] | {"class_alphas": SMALL.class_alphas}) == config.points()[results["best"]]
    )
    client = MlflowClient(mlflow_uri)
    experiment = client.get_run(results["run_id"]).info.experiment_id
    nested = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{results['run_id']}'")
    assert sorted(run.info.run_name for run in nested) == ["trial-000", "trial-001"]
    for run in nested:
        trial = results["trials"][int(run.info.run_name[-3:])]
        assert run.info.status == "FINISHED" and run.data.params["gamma"] == str(trial["gamma"])
        assert logged_digests(run) == [images.digest]
        told = client.get_metric_history(run.info.run_id, "accuracy/validation")
        assert [m.step for m in told][: trial["epochs"]] == list(range(1, trial["epochs"] + 1))
        assert {"loss/train", "loss/validation", "balanced_accuracy/validation"} <= run.data.metrics.keys()


def test_sweeps_that_measure_noise_are_refused():
    with pytest.raises(ValueError, match="sigmoid"):
        SweepConfig(train=TrainConfig(loss="softmax"))
    points = SweepConfig(trials=50).points()
    assert all(0.1 <= p.alpha <= 0.9 and 0 <= p.gamma <= 4 and 3e-5 <= p.learning_rate <= 1e-3 for p in points)
    assert sorted(int((p.alpha - 0.1) / 0.8 * 50) for p in points) == pytest.approx(list(range(50)), abs=1)


# Answers


def faces(out: str) -> Artifact:
    """A table of faces: three good crops, a crop that is broken, and a face that was lost before."""
    table = pa.Table.from_pylist(
        [
            {
                "face_id": f"face-{k}",
                "photo_id": f"photo-{k}",
                "rank": 0,
                "corpus": "photographs",
                "path": f"{k}.jpg",
                "figure_id": f"figure-{k}",
                "label": k + 1 if k < 2 else None,
                "split": "test",
                "groups": [("posture", "kneeling")],
                "action_units": None,
                "detector": "none",
                "score": 1.0,
                "box": [0.0] * 4,
                "crop_matrix": [0.0] * 6,
                "image": b"broken" if k == 3 else None if k == 4 else picture(k + 1, 77, 96),
                "width": 96,
                "height": 96,
                "status": "no_crop" if k == 4 else "ok",
                "error": "the face lies outside" if k == 4 else "",
            }
            for k in range(5)
        ],
        FACES,
    )

    def do(work: StageOutput) -> None:
        work.write_table("faces", table)

    return run_stage(StageSpec("faces", 1, {}, {}, {}, {"faces": FACES}, do), out, quiet=True)


def test_answers_are_the_same_for_one_actor_and_two(ray_cluster, trained, images, tmp_path):
    model, _ = trained
    inputs = [faces(str(tmp_path)), images]
    found = []
    for actors, given in ((1, inputs), (2, inputs[::-1])):
        job = predict_job(given, model, PredictConfig(batch=8), actors=actors)
        found.append(run_stage(job, str(tmp_path / str(actors)), quiet=True))
    assert found[0].digest == found[1].digest and found[0].manifest.fingerprint == found[1].manifest.fingerprint
    table = found[0].table(".", PREDICTIONS)
    by_id = {row["image_id"]: row for row in table.to_pylist()}
    assert len(by_id) == len(table) == 75

    assert by_id["face-4"]["status"] == "no_crop" and by_id["face-4"]["error"] == "the face lies outside"
    assert by_id["face-3"]["status"] == "unreadable"
    assert all(
        by_id[f"face-{k}"][name] is None for k in (3, 4) for name in ("probabilities", "predicted", "confidence")
    )
    face = by_id["face-0"]
    assert (face["label"], face["split"], face["figure_id"], face["groups"]) == (
        1,
        "test",
        "figure-0",
        [("posture", "kneeling")],
    )
    assert face["model"] == f"ARM {model.manifest.fingerprint[:6]}"

    answered = [row for row in by_id.values() if row["predicted"]]
    opened = recogniser.open_recogniser(model)
    for row in answered:
        assert row["predicted"] == int(np.argmax(row["probabilities"])) + 1
        assert row["confidence"] == max(row["probabilities"])
        if row["status"] == "low_confidence":
            assert (
                opened.threshold.confidence is None or row["confidence"] < opened.threshold.confidence + 1e-6
            )  # stored as float32
        if row["status"] == "ok":
            assert opened.threshold.confidence is not None and row["confidence"] >= opened.threshold.confidence - 1e-6
    few = run_stage(predict_job(inputs[:1], model, PredictConfig(batch=8)), str(tmp_path / "few"), quiet=True)
    more = run_stage(predict_job(inputs, model, PredictConfig(batch=8)), str(tmp_path / "few"), quiet=True)
    assert (
        more.manifest.reused == Reused(few.name, 5) and more.digest == found[0].digest
    )  # though others are its neighbours
    # The training's own scores and these answers are of the same images and the same network.
    for split, score in model.results["scores"].items():
        rows_of = [row for row in answered if row["split"] == split and row["corpus"] == "synthetic"]
        assert sum(row["label"] == row["predicted"] for row in rows_of) / len(rows_of) == pytest.approx(
            score["accuracy"]
        )


def test_wrong_inputs_of_answers_are_problems(ray_cluster, trained, images, tmp_path):
    model, _ = trained
    with pytest.raises(UserError, match="holds no recogniser: it is the output of stage 'dataset'"):
        predict_job([images], images, PredictConfig())
    with pytest.raises(
        UserError, match="output of stage 'train': images come from faces, corrected, animated, dataset"
    ):
        predict_job([model], model, PredictConfig())
    with pytest.raises(UserError, match="no images to answer for: name 'inputs'"):
        predict_job([], model, PredictConfig())
    with pytest.raises(UserError, match="the same images twice"):
        run_stage(predict_job([images, images], model, PredictConfig()), str(tmp_path), quiet=True)
