"""Trainings that go wrong: divergence, damaged checkpoints, data sets without a part."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recognition_data import SMALL, dataset, rows

from twfer_dist.core.errors import UserError
from twfer_dist.dataset import loader
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.stage import find_output, run_stage
from twfer_dist.engine.tracking import Tracking
from twfer_dist.measurement import training as face_training
from twfer_dist.measurement.augmentation import Examples, Heads
from twfer_dist.measurement.training import FaceNetworkConfig, TrainingObjective
from twfer_dist.recognition import training
from twfer_dist.recognition.sweep_stage import SweepConfig, sweep_job
from twfer_dist.recognition.train_stage import train_job
from twfer_dist.recognition.training import State
from twfer_dist.training.checkpoint import keep_checkpoint, pack, set_aside_damaged
from twfer_dist.training.loop import Diverged, check_converging

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """42 training and 14 validation images, and none to test with."""
    return dataset(str(tmp_path_factory.mktemp("images")), {"train": 6, "validation": 2})


def loaded(images: Artifact) -> tuple[loader.Images, loader.Images]:
    ids = loader.splits(images, seed=0).ids
    return loader.load(images, ids["train"]), loader.load(images, ids["validation"])


# Divergence


def test_a_diverged_recogniser_is_not_made(images: Artifact, mlflow_uri: str, tmp_path: Path) -> None:
    job = train_job(images, dataclasses.replace(SMALL, learning_rate=1.0), Tracking(mlflow_uri, "x"))
    with pytest.raises(
        UserError, match="diverged at .*epoch.*: its loss is .* where nothing has been learned; lower learning_rate"
    ):
        run_stage(job, str(tmp_path), quiet=True)
    assert find_output(job, str(tmp_path)) is None


def test_weights_that_are_not_numbers_are_at_fault_themselves(images: Artifact) -> None:
    state = training.new_state(SMALL)
    torch.nn.init.constant_(state.network.fc.weight, math.nan)
    said = "diverged at epoch 1 of 2: its loss is nan; the weights it starts from are to blame"
    with pytest.raises(Diverged, match=said):
        next(training.fit(state, state.network, SMALL, *loaded(images)))


class Slope(torch.nn.Module):
    """Its answer is one number, and the loss of it falls the faster the larger it is: it runs away."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        return self.weight


@pytest.mark.parametrize(
    ("loss_of", "said"),
    [
        (
            lambda weight, truth: weight.sum() * math.nan,
            "step 1 of 50: its loss is nan; the weights it starts from are to blame",
        ),
        (
            lambda weight, truth: (5 - 20 * weight).exp().sum() + (2000 * (weight - 1)).abs().sum(),
            "step .* of 50: its loss is",
        ),
        (lambda weight, truth: (weight.sum() - 1).sqrt() + weight.sum(), "step 1 of 50: its gradient is inf"),
    ],
)
def test_a_diverged_network_of_faces_is_noticed(loss_of: Any, said: str) -> None:
    config = FaceNetworkConfig(steps=50, batch=2, learning_rate=1.0)
    state = face_training.new_state(config, make=Slope)
    heads = Heads(*(np.zeros(2),) * 5)
    shown = Examples(
        torch.zeros(2, 112, 112, dtype=torch.uint8), torch.zeros(2, 68, 2), torch.zeros(2, 17), torch.zeros(2, 3)
    )
    lesson = TrainingObjective(
        lambda step: np.arange(2), lambda *drawn: shown, lambda found, truth: {"it": loss_of(found, truth)}
    )
    with pytest.raises(Diverged, match=f"The training diverged at .*{said}"):
        face_training.fit(state, state.network, config, heads, lesson, lambda state, values: None)
    assert all(torch.isfinite(weight).all() for weight in state.network.parameters())


@pytest.mark.parametrize(
    ("value", "fine"), [(199.0, True), (201.0, False), (math.inf, False), (math.nan, False), (-1e9, True)]
)
def test_a_loss_far_beyond_what_learns_nothing_has_diverged(value: float, fine: bool) -> None:
    def judge() -> None:
        check_converging(value, 2.0, "step 7", "learning_rate", 0.5, updates=7)

    if fine:
        return judge()
    with pytest.raises(Diverged, match="diverged at step 7: its loss is .*lower learning_rate, which is 0.5"):
        judge()


def test_a_diverged_trial_is_out_and_the_sweep_goes_on(
    ray_cluster: None, images: Artifact, mlflow_uri: str, tmp_path: Path
) -> None:
    train = dataclasses.replace(SMALL, epochs=1)
    config = SweepConfig(train=train, trials=2, learning_rate=(1e-5, 1.0), gamma=(0.0, 0.0), seed=3)
    rates = [point.learning_rate for point in config.points()]
    results = run_stage(
        sweep_job(images, config, Tracking(mlflow_uri, "x"), cpus=0.5), str(tmp_path), quiet=True
    ).results
    good, bad = sorted(range(2), key=lambda k: rates[k])
    assert results["best"] == good and "accuracy/validation" in results["trials"][good]
    assert results["trials"][bad].keys() == {"alpha", "gamma", "learning_rate", "diverged"}
    assert f"lower learning_rate, which is {rates[bad]:g}" in results["trials"][bad]["diverged"]
    assert any(f"trial {bad} is out: The training diverged" in line for line in results["summary"])
    hopeless = dataclasses.replace(config, trials=1, learning_rate=(1.0, 1.0))
    with pytest.raises(
        UserError, match="All 1 trials diverged: lower both ends of the sweep's learning_rate. Trial 0: The"
    ):
        run_stage(sweep_job(images, hopeless, Tracking(mlflow_uri, "x"), cpus=0.5), str(tmp_path), quiet=True)


# Checkpoints


def fresh() -> State:
    return training.new_state(SMALL)


@pytest.fixture(scope="module")
def whole() -> bytes:
    state = fresh()
    state.history = [{"epoch": 1.0}]
    return state.to_bytes()


DAMAGES = {
    "truncated": lambda saved: saved[: len(saved) // 2],
    "empty": lambda saved: b"",
    "zeros": lambda saved: bytes(len(saved)),
    "garbage": lambda saved: np.random.default_rng(0).bytes(1000),
    "flipped": lambda saved: saved[:9999] + bytes([saved[9999] ^ 1]) + saved[10000:],
    "another's": lambda saved: pack({"network": {}, "optimizer": {}, "step": 3}),
    "another network's": lambda saved: training.new_state(
        dataclasses.replace(SMALL, network="arm", size=96)
    ).to_bytes(),
}


@pytest.mark.parametrize(("damage", "before"), [*((damage, True) for damage in DAMAGES), ("truncated", False)])
def test_a_damaged_checkpoint_is_set_aside(
    whole: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str, before: bool
) -> None:
    place = tmp_path / "checkpoint.pt"
    if before:
        keep_checkpoint(str(place), whole)
    keep_checkpoint(str(place), DAMAGES[damage](whole))
    set_aside_damaged(str(place), fresh)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"{place} cannot be used" in said and "is now called checkpoint.pt.damaged" in said
    assert f"goes on from {'the checkpoint before it' if before else 'the start'}." in said
    assert (tmp_path / "checkpoint.pt.damaged").read_bytes() == DAMAGES[damage](whole)
    assert place.exists() == before and (not before or place.read_bytes() == whole)
    set_aside_damaged(str(place), fresh)
    assert not capsys.readouterr().err


def test_a_training_goes_on_from_the_checkpoint_before_a_damaged_one(
    images: Artifact, mlflow_uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It ends as one that nothing happened to; and without test images, which its lines say."""
    job = train_job(images, SMALL, Tracking(mlflow_uri, "x"))
    unbroken = run_stage(job, str(tmp_path / "unbroken"), quiet=True)
    state = fresh()
    next(training.fit(state, state.network, SMALL, *loaded(images)))
    place = tmp_path / "broken" / f"train-{job.fingerprint}" / "_work" / "checkpoint.pt"
    keep_checkpoint(str(place), state.to_bytes())
    keep_checkpoint(str(place), b"half a file")
    resumed = run_stage(job, str(tmp_path / "broken"), quiet=True)
    assert "the training goes on from the checkpoint before it" in capsys.readouterr().err
    for name in ("history.jsonl", "model.safetensors"):
        assert storage.read_bytes(resumed.path(name)) == storage.read_bytes(unbroken.path(name)), name
    assert resumed.results["images"] == {"train": 42, "validation": 14} and resumed.results["precision"] == "float32"
    assert resumed.results["summary"][-1] == "no test images: how good it is on new images is not measured"


# Parts of data sets, and batches


def test_no_images_are_loaded_where_none_are_asked_for(images: Artifact) -> None:
    assert loader.load(images, []).ids == []


@pytest.mark.parametrize(
    ("counts", "figure_ids", "said"),
    [
        ({"test": 2}, 3, "has no training images, only test"),
        ({"train": 2, "test": 2}, 1, "has no validation images, and its training"),
    ],
)
def test_a_data_set_without_a_part_to_learn_from_is_refused(
    tmp_path: Path, mlflow_uri: str, counts: dict, figure_ids: int, said: str
) -> None:
    given = dataset(str(tmp_path), counts, table=rows(counts, figure_ids))
    with pytest.raises(UserError, match=said):
        run_stage(train_job(given, SMALL, Tracking(mlflow_uri, "x")), str(tmp_path), quiet=True)


def test_no_image_is_alone_in_a_batch() -> None:
    for count in range(2, 70):
        given = loader.Images([str(k) for k in range(count)], np.zeros(count, np.int64), None)
        for batch in (1, 2, 3, 8, 32):
            order = loader.shuffled(given, count, batch, seed=0, epoch=1)
            assert min(map(len, order)) > 1 and max(map(len, order)) <= max(batch, 2) + 1
            assert sorted(np.concatenate(order)) == list(range(count))
