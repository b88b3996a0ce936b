"""The synthesis room on Ray: training a generator, choosing references, animating faces."""

import dataclasses
import json

import cv2
import numpy as np
import pytest
import torch
from synthesis_tables import faces, rendered

from twfer_dist.core.errors import UserError
from twfer_dist.engine import artifact, storage
from twfer_dist.engine.stage import run_stage
from twfer_dist.engine.tracking import Tracking
from twfer_dist.synthesis import checkpoints, train_stage
from twfer_dist.synthesis.networks import Generator
from twfer_dist.synthesis.training import GeneratorConfig

SMALL = GeneratorConfig(width=4, critic_width=2, batch=4, supervised_steps=3, adversarial_steps=1, scored_pairs=4)


@pytest.fixture(scope="module")
def generator(tmp_path_factory) -> str:
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("generator") / "generator.safetensors"
    path.write_bytes(checkpoints.save(Generator(4), size=64))
    return str(path)


@pytest.fixture(scope="module")
def some_faces(tmp_path_factory) -> artifact.Artifact:
    return faces(str(tmp_path_factory.mktemp("faces")))


def opened(data: bytes) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image


def test_training_writes_weights_log_scores_and_a_run_and_goes_on_after_a_kill(tmp_path, mlflow_uri, monkeypatch):
    scenes = rendered(str(tmp_path))
    tracking = Tracking(mlflow_uri, "synthesis")
    monkeypatch.setattr(train_stage, "LOG_EVERY", -1.0)
    kept = dataclasses.replace(SMALL, keep_at=(1,))
    whole = run_stage(train_stage.train_generator_job(scenes, kept, tracking), str(tmp_path / "whole"))
    assert storage.read_bytes(whole.path("generator-000001.safetensors")) == storage.read_bytes(
        whole.path(train_stage.GENERATOR)
    )
    with pytest.raises(ValueError, match="keep_at names step 2, and the adversarial phase has 1"):
        dataclasses.replace(SMALL, keep_at=(2,))
    log = [json.loads(line) for line in storage.read_bytes(whole.path(train_stage.LOG)).decode().splitlines()]
    assert [(line["phase"], line["step"]) for line in log] == [
        *(("supervised", k) for k in (1, 2, 3)),
        ("adversarial", 1),
    ]
    generator = checkpoints.load_generator(whole.path(train_stage.GENERATOR))
    assert generator.size == 64 and checkpoints.load_critic(whole.path(train_stage.CRITIC))
    assert opened(storage.read_bytes(whole.path(train_stage.SHEET))).shape == (128, 512, 3)
    run = tracking.client.get_run(whole.results["run_id"])
    assert run.info.status == "FINISHED" and run.data.params["width"] == "4"
    assert run.data.metrics["held_out_output_l1_changed"] == pytest.approx(whole.results["scores"]["output_l1_changed"])
    assert run.inputs and run.inputs.dataset_inputs[0].dataset.digest == scenes.digest

    keep = train_stage._Observer.keep

    def keep_and_die(self, state):
        keep(self, state)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train_stage, "LOOK_EVERY", -1.0)
        patch.setattr(train_stage._Observer, "keep", keep_and_die)
        with pytest.raises(KeyboardInterrupt):
            run_stage(train_stage.train_generator_job(scenes, SMALL, tracking), str(tmp_path / "killed"))
    resumed = run_stage(train_stage.train_generator_job(scenes, SMALL, tracking), str(tmp_path / "killed"))
    assert storage.read_bytes(resumed.path(train_stage.GENERATOR)) == storage.read_bytes(
        whole.path(train_stage.GENERATOR)
    )
    client, (killed,) = (
        tracking.client,
        [r for r in tracking.client.search_runs([run.info.experiment_id]) if r.info.status == "FAILED"],
    )
    assert [f.path for f in client.list_artifacts(killed.info.run_id, "samples")] == ["samples/supervised-000001.png"]
    told = {m.step: m.value for m in client.get_metric_history(resumed.results["run_id"], "supervised_loss")}
    assert told == pytest.approx(
        {line["step"]: line["loss"] for line in log if line["phase"] == "supervised"}, rel=1e-4
    )


def test_faces_alone_train_adversarially_from_a_given_generator(generator, tmp_path, mlflow_uri):
    learnt = faces(str(tmp_path), 1)
    tracking = Tracking(mlflow_uri, "synthesis")
    config = dataclasses.replace(SMALL, supervised_steps=0)
    finished = run_stage(
        train_stage.train_generator_job(None, config, tracking, faces=[learnt], initial=generator),
        str(tmp_path / "out"),
    )
    assert finished.results["scores"] == {} and finished.results["last"]["phase"] == "adversarial"
    before, after = (
        checkpoints.load_generator(path).network.state_dict()
        for path in (generator, finished.path(train_stage.GENERATOR))
    )
    step = max((after[name] - before[name]).abs().max() for name in before)
    assert 0 < step < 5e-3  # one step of Adam from the given weights, not from new ones
    with pytest.raises(UserError, match="learns from nothing"):
        train_stage.train_generator_job(None, SMALL, tracking, faces=[learnt])
    with pytest.raises(UserError, match="of width 4 and width is 8"):
        train_stage.train_generator_job(
            None, dataclasses.replace(config, width=8), tracking, faces=[learnt], initial=generator
        )
    with pytest.raises(UserError, match="does not hold a generator of the kind 'warping'"):
        train_stage.train_generator_job(
            None, dataclasses.replace(config, network="warping"), tracking, faces=[learnt], initial=generator
        )
    with pytest.raises(UserError, match="A batch of 4 images cannot be dealt to 3 workers"):
        train_stage.train_generator_job(None, config, tracking, faces=[learnt], workers=3)
    with pytest.raises(ValueError, match="size is 100; use a multiple of 64 from 64 to 1024"):
        dataclasses.replace(config, size=100)


def test_two_workers_learn_what_one_learns(ray_cluster, tmp_path, mlflow_uri):
    scenes = rendered(str(tmp_path))
    tracking = Tracking(mlflow_uri, "synthesis")
    one = run_stage(train_stage.train_generator_job(scenes, SMALL, tracking), str(tmp_path / "one"))
    two = run_stage(train_stage.train_generator_job(scenes, SMALL, tracking, workers=2), str(tmp_path / "two"))
    assert one.manifest.fingerprint == two.manifest.fingerprint
    logs = [
        [json.loads(line) for line in storage.read_bytes(run.path(train_stage.LOG)).splitlines()] for run in (one, two)
    ]
    assert (
        len(logs[0]) == len(logs[1]) == 2
    )  # the mean losses of three supervised steps, and those of an adversarial one
    for ours, theirs in zip(*logs, strict=True):
        for name in ours.keys() - {"phase", "seconds"}:
            assert ours[name] == pytest.approx(theirs[name], rel=1e-3, abs=1e-4), name
    weights = [checkpoints.load_critic(run.path(train_stage.CRITIC)).state_dict() for run in (one, two)]
    torch.testing.assert_close(weights[0], weights[1], atol=1e-4, rtol=0)
    weights = [checkpoints.load_generator(run.path(train_stage.GENERATOR)).network.state_dict() for run in (one, two)]
    # Adam takes whole steps along gradients near zero, whose sign hangs on the order of a sum: single weights may part.
    assert max((weights[0][name] - weights[1][name]).abs().mean() for name in weights[0]) < 1e-4


def test_problem_of_a_worker_reaches_the_user(ray_cluster, tmp_path, mlflow_uri):
    broken = Generator(4)
    torch.nn.init.constant_(broken.get_parameter("img_reg.0.weight"), float("nan"))
    path = tmp_path / "broken.safetensors"
    path.write_bytes(checkpoints.save(broken, size=64))
    job = train_stage.train_generator_job(
        rendered(str(tmp_path)), SMALL, Tracking(mlflow_uri, "x"), initial=str(path), workers=1
    )
    with pytest.raises(
        UserError, match="diverged at supervised step 1: its loss is nan; the weights it starts from are to blame"
    ):
        run_stage(job, str(tmp_path / "out"))
