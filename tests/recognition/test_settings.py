"""Trainings that take their settings from a sweep, or repeat another on its validation images too."""

import dataclasses
import json
from pathlib import Path

import pytest
from mlflow import MlflowClient
from recognition_data import SMALL, dataset

from twfer_dist.core.errors import UserError
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.kind import Compute, Request
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import run_stage
from twfer_dist.engine.tracking import Tracking
from twfer_dist.recipe.kinds import kind_of
from twfer_dist.recognition.recogniser import open_recogniser
from twfer_dist.recognition.train_config import TrainConfig
from twfer_dist.recognition.train_stage import train_spec

pytestmark = pytest.mark.usefixtures("one_thread")


def finished_sweep(out: str, best: TrainConfig) -> Artifact:
    def do(output: object) -> None:
        output.results = {"best_config": dataclasses.asdict(best)}  # type: ignore[attr-defined]

    return run_stage(StageSpec("sweep", 1, {}, {}, {}, {}, do), out, quiet=True)


@pytest.mark.long
def test_a_sweeps_winner_is_trained_then_refitted(mlflow_uri: str, tmp_path: Path) -> None:
    out, tracking = str(tmp_path), Tracking(mlflow_uri, "champion")
    images = dataset(out, {"train": 6, "validation": 2, "test": 2})
    sweep = finished_sweep(out, dataclasses.replace(SMALL, gamma=1.5))
    winner = run_stage(train_spec(images, TrainConfig(), tracking, sweep=sweep), out, quiet=True)
    assert winner.manifest.config["gamma"] == 1.5 and winner.manifest.config["size"] == SMALL.size
    refit = run_stage(train_spec(images, TrainConfig(), tracking, refit=winner, register="champion"), out, quiet=True)
    before, after = winner.results, refit.results
    assert after["images"] == {"train": 42 + 14, "test": 14}
    assert after["best_epoch"] == refit.manifest.config["epochs"] == before["best_epoch"]
    assert after["scores"]["validation"] == before["scores"]["validation"]
    assert (after["temperature"], after["threshold"]) == (before["temperature"], before["threshold"])
    ratios = [r["novelty"]["limit"] / r["novelty"]["training_limit"] for r in (before, after)]
    assert ratios[1] == pytest.approx(ratios[0])
    history = [json.loads(line) for line in storage.read_bytes(refit.path("history.jsonl")).splitlines()]
    assert len(history) == before["best_epoch"] and "loss/validation" not in history[0]
    assert open_recogniser(refit).threshold.confidence == before["threshold"]["confidence"]
    version = MlflowClient(mlflow_uri).get_model_version_by_alias("champion", "champion")
    assert version.run_id == after["run_id"]


def test_a_refit_ends_its_warm_up_in_time(mlflow_uri: str, tmp_path: Path) -> None:
    """It may have fewer epochs than the training that it repeats."""
    images = dataset(str(tmp_path), {"train": 1, "validation": 1})
    for best, warmup in ((1, 0), (2, 1), (3, 2)):
        before = finished_sweep(str(tmp_path), SMALL)
        before.manifest.inputs["dataset"] = images.digest  # type: ignore[index]
        config = dataclasses.replace(SMALL, epochs=8, warmup=2.0)
        object.__setattr__(before.manifest, "config", dataclasses.asdict(config))
        before.results["best_epoch"] = best
        refit = train_spec(images, TrainConfig(), Tracking(mlflow_uri, "x"), refit=before).config
        assert (refit.epochs, refit.warmup) == (best, warmup)


def test_a_refit_of_something_else_is_refused(mlflow_uri: str, tmp_path: Path) -> None:
    tracking = Tracking(mlflow_uri, "x")
    before = finished_sweep(str(tmp_path), SMALL)  # any output that was made from no such data set
    before.manifest.inputs["dataset"] = "another"  # type: ignore[index]
    images = dataset(str(tmp_path), {"train": 1, "validation": 1})
    object.__setattr__(before.manifest, "config", dataclasses.asdict(SMALL))
    before.results["best_epoch"] = 1
    with pytest.raises(UserError, match="was trained on another data set"):
        train_spec(images, TrainConfig(), tracking, refit=before)
    before.manifest.inputs["dataset"] = images.digest  # type: ignore[index]
    before.manifest.models["initial"] = "sha256 of a file"  # type: ignore[index]
    with pytest.raises(UserError, match="started from other weights: name the same file as 'initial'"):
        train_spec(images, TrainConfig(), tracking, refit=before)
    with pytest.raises(UserError, match="takes the settings of 'sweep', not its own besides"):
        kind_of("train").check(Request(SMALL, Compute(), {"dataset": ["d"], "sweep": ["s"]}))
