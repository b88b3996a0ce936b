"""The stage that compares settings of the loss on Ray Tune."""

import dataclasses
from pathlib import Path

import pytest
from mlflow import MlflowClient
from recognition_data import SMALL, dataset

from twfer_dist.core.errors import UserError
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.stage import run_stage
from twfer_dist.engine.tracking import Tracking
from twfer_dist.recognition.sweep_stage import SweepConfig, sweep_spec
from twfer_dist.recognition.training import TrainConfig


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
    good, bad = sorted(range(2), key=lambda number: points[number].learning_rate)
    trial, diverged = results["trials"][good], results["trials"][bad]
    assert results["best"] == good and results["validation_images"] == 14
    assert (trial["alpha"], trial["learning_rate"]) == (points[good].alpha, points[good].learning_rate)
    assert trial["epochs"] == 2 and "accuracy/validation" in trial
    assert TrainConfig(**results["best_config"] | {"class_alphas": SMALL.class_alphas}) == points[good]
    assert diverged.keys() == {"alpha", "gamma", "learning_rate", "diverged"}
    assert f"lower learning_rate, which is {points[bad].learning_rate:g}" in diverged["diverged"]
    assert any(f"trial {bad} is out: The training diverged" in line for line in results["summary"])

    client = MlflowClient(mlflow_uri)
    experiment = client.get_run(results["run_id"]).info.experiment_id
    nested = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{results['run_id']}'")
    assert sorted(run.info.run_name for run in nested) == ["trial-000", "trial-001"]
    for run in nested:
        assert run.info.status == "FINISHED" and run.data.params["gamma"] == "0.0"
        assert run.inputs and [used.dataset.digest for used in run.inputs.dataset_inputs] == [images.digest]
    (run,) = (run for run in nested if run.info.run_name == f"trial-{good:03d}")
    assert [m.step for m in client.get_metric_history(run.info.run_id, "accuracy/validation")] == [1, 2]
    assert {"loss/train", "loss/validation", "balanced_accuracy/validation"} <= run.data.metrics.keys()


@pytest.mark.long
def test_a_sweep_whose_trials_all_diverge_is_an_error(
    ray_cluster: None, images: Artifact, mlflow_uri: str, tmp_path: Path
) -> None:
    train = dataclasses.replace(SMALL, epochs=1)
    config = SweepConfig(train=train, trials=1, learning_rate=(1.0, 1.0), gamma=(0.0, 0.0))
    with pytest.raises(
        UserError, match="All 1 trials diverged: lower both ends of the sweep's learning_rate. Trial 0: The"
    ):
        run_stage(sweep_spec(images, config, Tracking(mlflow_uri, "x"), cpus=0.5), str(tmp_path), quiet=True)


def test_trials_are_spread_evenly_over_the_ranges() -> None:
    points = SweepConfig(trials=50).points()
    assert all(0.1 <= p.alpha <= 0.9 and 0 <= p.gamma <= 4 and 3e-5 <= p.learning_rate <= 1e-3 for p in points)
    assert sorted(int((p.alpha - 0.1) / 0.8 * 50) for p in points) == pytest.approx(list(range(50)), abs=1)


def test_a_sweep_of_the_softmax_loss_is_refused() -> None:
    with pytest.raises(ValueError, match="a sweep needs the sigmoid loss"):
        SweepConfig(train=TrainConfig(loss="softmax"))
