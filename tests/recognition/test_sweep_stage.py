"""The stage that compares settings of the loss on Ray Tune."""

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import torch
from mlflow import MlflowClient
from recognition_data import SMALL, dataset

from twfer_dist.core.errors import UserError
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import run_stage
from twfer_dist.engine.tracking import Tracking
from twfer_dist.recognition import training
from twfer_dist.recognition.search import SweepConfig
from twfer_dist.recognition.sweep_stage import sweep_spec
from twfer_dist.recognition.train_config import TrainConfig


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """42 training and 14 validation images."""
    return dataset(str(tmp_path_factory.mktemp("images")), {"train": 6, "validation": 2})


def test_a_sweep_nests_its_trials_and_survives_divergence(
    ray_cluster: None, images: Artifact, mlflow_uri: str, tmp_path: Path
) -> None:
    config = SweepConfig(train=SMALL, trials=2, patience=1, learning_rate=(1e-5, 1.0), gamma=(0.0, 0.0), seed=3)
    points = config.points()
    results = run_stage(
        sweep_spec(images, config, Tracking(mlflow_uri, "sweep"), concurrency=1, cpus=0.5), str(tmp_path), quiet=True
    ).results
    good, bad = sorted(range(2), key=lambda number: points[number]["learning_rate"])
    trial, diverged = results["trials"][good], results["trials"][bad]
    assert results["best"] == good and results["validation_images"] == 14
    assert (trial["alpha"], trial["learning_rate"]) == (points[good]["alpha"], points[good]["learning_rate"])
    assert trial["epochs"] == 2 and "accuracy/validation" in trial
    best = TrainConfig(**results["best_config"] | {"class_alphas": SMALL.class_alphas})
    assert best == config.trial(points[good])
    assert diverged.keys() == {"alpha", "gamma", "learning_rate", "diverged"}
    assert f"lower learning_rate, which is {points[bad]['learning_rate']:g}" in diverged["diverged"]
    assert any(f"trial {bad} is out: The training diverged" in line for line in results["summary"])

    client = MlflowClient(mlflow_uri)
    experiment = client.get_run(results["run_id"]).info.experiment_id
    nested = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{results['run_id']}'")
    assert sorted(run.info.run_name for run in nested) == ["trial-000", "trial-001"]
    for run in nested:
        assert run.data.params["gamma"] == "0.0"
        assert run.inputs and [used.dataset.digest for used in run.inputs.dataset_inputs] == [images.digest]
    run, other = (next(r for r in nested if r.info.run_name == f"trial-{number:03d}") for number in (good, bad))
    assert (run.info.status, run.data.tags["twfer.outcome"]) == ("FINISHED", "all epochs")
    assert other.info.status == "FAILED" and other.data.tags["twfer.outcome"].startswith("diverged in epoch")
    first, second = sorted(nested, key=lambda run: run.info.run_name)
    assert first.info.end_time <= second.info.start_time  # one at a time, and each run lasts as long as its trial
    assert [m.step for m in client.get_metric_history(run.info.run_id, "accuracy/validation")] == [1, 2]
    assert {"loss/train", "loss/validation", "balanced_accuracy/validation"} <= run.data.metrics.keys()
    assert not run.data.metrics.keys() & run.data.params.keys()  # or MLflow's tables would show two columns of a name
    pictures = {file.path for file in client.list_artifacts(results["run_id"], "pictures")}
    assert pictures == {"pictures/parallel_coordinates.png", "pictures/learning_curves.png"}


@pytest.mark.long
def test_a_sweep_whose_trials_all_diverge_is_an_error(
    ray_cluster: None, images: Artifact, mlflow_uri: str, tmp_path: Path
) -> None:
    """They start from weights that are not numbers."""
    network = training.new_state(SMALL).network
    torch.nn.init.constant_(network.fc.weight, math.nan)
    torch.save(network.state_dict(), tmp_path / "nan.pth")
    config = SweepConfig(train=dataclasses.replace(SMALL, epochs=1), trials=1)
    spec = sweep_spec(images, config, Tracking(mlflow_uri, "x"), cpus=0.5, initial=str(tmp_path / "nan.pth"))
    with pytest.raises(UserError, match="All 1 trials diverged: .* its initial weights are at fault"):
        run_stage(spec, str(tmp_path), quiet=True)


def test_a_sweep_that_cannot_start_is_refused(images: Artifact, tmp_path: Path) -> None:
    """In the words of a training."""
    config, tracking = SweepConfig(train=SMALL), Tracking("x", "x")
    with pytest.raises(UserError, match="from 'initial' or from a 'trunk'"):
        sweep_spec(images, config, tracking, initial="weights.pth", trunk=images)
    with pytest.raises(UserError, match="none.pth does not exist"):
        sweep_spec(images, config, tracking, initial=str(tmp_path / "none.pth"))
    torch.save(training.new_state(SMALL).network.state_dict(), tmp_path / "weights.pth")
    spec = sweep_spec(images, config, tracking, initial=str(tmp_path / "weights.pth"))
    assert spec.fingerprint != sweep_spec(images, config, tracking).fingerprint


@pytest.mark.long
def test_a_trial_that_loses_its_worker_goes_on(
    ray_cluster: None, images: Artifact, mlflow_uri: str, tmp_path: Path
) -> None:
    """And one that fails whenever it starts, here by a file that is no log, ends no other."""
    config = SweepConfig(train=dataclasses.replace(SMALL, epochs=6), trials=2)
    spec = sweep_spec(images, config, Tracking(mlflow_uri, "lost"), cpus=0.5, checkpoint_seconds=0)
    failing = tmp_path / spec.name / "_work" / "trial-001" / "ended.jsonl"
    failing.parent.mkdir(parents=True)
    failing.write_text("no log")
    killed: list[int] = []
    thread = threading.Thread(target=_kill_a_trial, args=(tmp_path, killed))
    thread.start()
    results = run_stage(spec, str(tmp_path), quiet=True).results
    thread.join()
    assert killed and results["trials"][0]["epochs"] == 6 and results["best"] == 0
    assert results["trials"][1].keys() == {"alpha", "gamma", "learning_rate", "failed"}
    assert any("trial 1 is out: json.decoder.JSONDecodeError: Expecting value" in line for line in results["summary"])
    client = MlflowClient(mlflow_uri)
    experiment = client.get_run(results["run_id"]).info.experiment_id
    nested = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{results['run_id']}'")
    trial, failed = sorted(nested, key=lambda run: run.info.run_name)
    assert trial.info.status == "FINISHED" and trial.data.tags["twfer.outcome"] == "all epochs"
    assert failed.info.status == "FAILED" and failed.data.tags["twfer.outcome"].startswith("failed: json.decoder")
    run = client.get_run(results["run_id"]).data
    assert (run.params["patience"], run.params["sweep.patience"], run.params["gamma"]) == ("None", "2", "(0.0, 4.0)")


@pytest.mark.long
def test_a_killed_sweep_trains_no_ended_trial_again(
    ray_cluster: None, images: Artifact, mlflow_uri: str, tmp_path: Path
) -> None:
    """It was killed before any checkpoint was due. What it keeps of a trial is changed here, to see that it is used."""
    program = (
        "import sys, test_sweep_stage as tests\n"
        "from twfer_dist.engine.artifact import open_artifact\n"
        "spec = tests.two_trials(open_artifact(sys.argv[1]), sys.argv[2])\n"
        "tests.run_stage(spec, sys.argv[3], quiet=True)\n"
    )
    command = [sys.executable, "-c", program, images.uri, mlflow_uri, str(tmp_path)]
    process = subprocess.Popen(command, start_new_session=True, cwd=Path(__file__).parent)
    spec = two_trials(images, mlflow_uri)
    kept = tmp_path / spec.name / "_work" / "trial-000" / "ended.jsonl"
    until = time.monotonic() + 120
    while not kept.exists():
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    log = [json.loads(line) | {"accuracy/validation": 0.125} for line in kept.read_text().splitlines()]
    kept.write_text("".join(json.dumps(line) + "\n" for line in log))
    results = run_stage(spec, str(tmp_path), quiet=True).results
    first, second = results["trials"]
    assert (first["epochs"], first["accuracy/validation"]) == (2, 0.125) and second["epochs"] == 2
    client = MlflowClient(mlflow_uri)
    experiment = client.get_run(results["run_id"]).info.experiment_id
    nested = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{results['run_id']}'")
    for run in nested:
        history = client.get_metric_history(run.info.run_id, "best_balanced_accuracy/validation")
        assert [metric.step for metric in history] == [1, 2]


def two_trials(images: Artifact, mlflow_uri: str) -> StageSpec:
    config = SweepConfig(train=SMALL, trials=2, patience=2, learning_rate=(1e-5, 1e-4))
    return sweep_spec(images, config, Tracking(mlflow_uri, "killed"), concurrency=1, cpus=0.5)


def _kill_a_trial(out: Path, killed: list[int]) -> None:
    """Kill the worker of a trial that has saved a checkpoint."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not killed:
        if list(out.glob("sweep-*/_work/trial-000/checkpoint.pt")):
            for process in psutil.Process().children(recursive=True):
                if "ImplicitFunc" in process.name() or "ImplicitFunc" in " ".join(process.cmdline()):
                    process.kill()
                    killed.append(process.pid)
        time.sleep(0.05)


@pytest.mark.long
def test_optuna_continues_where_a_killed_sweep_was(
    ray_cluster: None, images: Artifact, mlflow_uri: str, tmp_path: Path
) -> None:
    """The points that it suggested before come first, whatever it would suggest now."""
    train = dataclasses.replace(SMALL, loss="softmax", epochs=1)
    config = SweepConfig(train=train, search="tpe", trials=3, class_alphas=(0.5, 2.0), gamma=(1.0, 1.0))
    spec = sweep_spec(images, config, Tracking(mlflow_uri, "tpe"), concurrency=1, cpus=0.5)
    names = [dimension.name for dimension in config.dimensions]
    known = {name: 1.0 if name != "learning_rate" else 5e-4 for name in names}
    points = tmp_path / spec.name / "_work" / "tune" / "points"
    points.mkdir(parents=True)
    (points / "00000.json").write_text(json.dumps(known))
    results = run_stage(spec, str(tmp_path), quiet=True).results
    first, *others = results["trials"]
    assert {name: first[name] for name in names} == known and len(others) == 2
    assert all(0.5 <= trial["alpha_fear"] <= 2 and trial["learning_rate"] != 5e-4 for trial in others)
