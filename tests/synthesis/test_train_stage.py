"""The stage that trains a generator."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from synthesis_tables import faces, rendered

from twfer_dist.core.errors import UserError
from twfer_dist.core.images import decode
from twfer_dist.engine import storage
from twfer_dist.engine.stage import run_stage
from twfer_dist.engine.tracking import Tracking
from twfer_dist.synthesis import checkpoints, train_stage
from twfer_dist.synthesis.networks import Generator
from twfer_dist.synthesis.train_stage import generator_spec
from twfer_dist.synthesis.training import GeneratorConfig
from twfer_dist.training import observer
from twfer_dist.training.observer import LOG

SMALL = GeneratorConfig(width=4, critic_width=2, batch=4, supervised_steps=3, adversarial_steps=1, scored_pairs=4)


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("generator") / "generator.safetensors"
    path.write_bytes(checkpoints.save(Generator(4), size=64))
    return str(path)


def test_the_stage_writes_weights_log_scores_and_a_run(
    tmp_path: Path, mlflow_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes = rendered(str(tmp_path))
    tracking = Tracking(mlflow_uri, "synthesis")
    monkeypatch.setattr(observer, "LOG_SECONDS", -1.0)
    config = dataclasses.replace(SMALL, keep_at=(1,))
    spec = generator_spec([scenes], config, tracking, checkpoint_seconds=0)
    trained = run_stage(spec, str(tmp_path / "out"))
    assert storage.read_bytes(trained.path("generator-000001.safetensors")) == storage.read_bytes(
        trained.path(train_stage.GENERATOR)
    )
    log = [json.loads(line) for line in storage.read_bytes(trained.path(LOG)).decode().splitlines()]
    steps = [(line["phase"], line["step"]) for line in log if "learning_rate" in line]
    assert steps == [*(("supervised", k) for k in (1, 2, 3)), ("adversarial", 1)]
    assert len(log) == 8 and "output_l1_changed" in log[1]  # scores with each checkpoint
    generator = checkpoints.load_generator(trained.path(train_stage.GENERATOR))
    assert generator.size == 64 and checkpoints.load_critic(trained.path(train_stage.CRITIC))
    sheet = decode(storage.read_bytes(trained.path(train_stage.SHEET)))
    assert sheet is not None and sheet.shape == (128, 512, 3)
    run = tracking.client.get_run(trained.results["run_id"])
    assert run.info.status == "FINISHED" and run.data.params["width"] == "4"
    assert run.data.metrics["held_out_output_l1_changed"] == pytest.approx(
        trained.results["scores"]["output_l1_changed"]
    )
    assert run.inputs and run.inputs.dataset_inputs[0].dataset.digest == scenes.digest
    samples = tracking.client.list_artifacts(run.info.run_id, "samples")
    assert [file.path for file in samples] == ["samples/supervised-000001.png"]


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="keep_at names step 2, and the adversarial phase has 1"):
        dataclasses.replace(SMALL, keep_at=(2,))
    with pytest.raises(ValueError, match="size is 100; use a multiple of 64 from 64 to 1024"):
        dataclasses.replace(SMALL, size=100)


def test_faces_alone_train_from_a_given_generator(generator: str, tmp_path: Path, mlflow_uri: str) -> None:
    artifact = faces(str(tmp_path), 1)
    tracking = Tracking(mlflow_uri, "synthesis")
    config = dataclasses.replace(SMALL, supervised_steps=0)
    spec = generator_spec([], config, tracking, faces=[artifact], initial=generator)
    trained = run_stage(spec, str(tmp_path / "out"))
    assert trained.results["scores"] == {} and trained.results["last"]["phase"] == "adversarial"
    before, after = (
        checkpoints.load_generator(path).network.state_dict()
        for path in (generator, trained.path(train_stage.GENERATOR))
    )
    change = max((after[name] - before[name]).abs().max() for name in before)
    assert 0 < change < 5e-3  # one step of Adam from the given weights, not from new ones


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"supervised_steps": 3}, {}, "has no training images"),
        ({"width": 8}, {}, "of width 4 and width is 8"),
        ({"network": "warping"}, {}, "does not hold a generator of the kind 'warping'"),
        ({}, {"workers": 3}, "A batch of 4 images cannot be split among 3 workers"),
    ],
)
def test_a_training_that_cannot_start_is_refused(
    generator: str, tmp_path: Path, changes: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    config = dataclasses.replace(SMALL, **{"supervised_steps": 0, **changes})
    with pytest.raises(UserError, match=message):
        generator_spec(
            [], config, Tracking("sqlite:////x", "x"), faces=[faces(str(tmp_path), 1)], initial=generator, **options
        )


@pytest.mark.long
def test_two_workers_train_what_one_trains(ray_cluster: None, tmp_path: Path, mlflow_uri: str) -> None:
    scenes = rendered(str(tmp_path))
    tracking = Tracking(mlflow_uri, "synthesis")
    one = run_stage(generator_spec([scenes], SMALL, tracking), str(tmp_path / "one"))
    two = run_stage(generator_spec([scenes], SMALL, tracking, workers=2), str(tmp_path / "two"))
    assert one.manifest.fingerprint == two.manifest.fingerprint
    logs = [[json.loads(line) for line in storage.read_bytes(run.path(LOG)).splitlines()] for run in (one, two)]
    assert len(logs[0]) == len(logs[1]) == 2  # the mean losses of three supervised steps, those of an adversarial one
    for ours, theirs in zip(*logs, strict=True):
        for name in ours.keys() - {"phase", "seconds"}:
            assert ours[name] == pytest.approx(theirs[name], rel=1e-3, abs=1e-4), name
    critics = [checkpoints.load_critic(run.path(train_stage.CRITIC)) for run in (one, two)]
    generators = [checkpoints.load_generator(run.path(train_stage.GENERATOR)).network for run in (one, two)]
    # Adam takes whole steps along gradients near zero, whose sign depends on the order of summation: single weights
    # may differ.
    for ours, theirs in (critics, generators):
        others = theirs.state_dict()
        assert max((tensor - others[name]).abs().mean() for name, tensor in ours.state_dict().items()) < 1e-4


@pytest.mark.long
def test_an_error_of_a_worker_reaches_the_user(ray_cluster: None, tmp_path: Path, mlflow_uri: str) -> None:
    broken = Generator(4)
    torch.nn.init.constant_(broken.get_parameter("img_reg.0.weight"), float("nan"))
    path = tmp_path / "broken.safetensors"
    path.write_bytes(checkpoints.save(broken, size=64))
    spec = generator_spec([rendered(str(tmp_path))], SMALL, Tracking(mlflow_uri, "x"), initial=str(path), workers=1)
    with pytest.raises(
        UserError, match="diverged at supervised step 1: its loss is nan; its initial weights are at fault"
    ):
        run_stage(spec, str(tmp_path / "out"))
