"""The training of the network that measures faces: its batches, its stage, its files, divergence."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from twfer_dist.core.errors import UserError
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.stage import run_stage
from twfer_dist.engine.tracking import Tracking
from twfer_dist.measurement import analyzer, augmentation, identity, training
from twfer_dist.measurement.augmentation import Examples, Heads
from twfer_dist.measurement.train_stage import face_network_spec
from twfer_dist.measurement.training import FaceNetworkConfig, MeasuringConfig, Predictions, TrainingObjective
from twfer_dist.training.loop import Diverged
from twfer_dist.training.observer import LOG


@pytest.fixture(scope="module")
def heads(rendered: Artifact) -> Heads:
    return augmentation.load_heads(rendered)


def test_each_epoch_shows_each_head_once(heads: Heads) -> None:
    rows_of = training.measurement_objective(heads.of(np.arange(10)), FaceNetworkConfig(batch=7)).rows_of
    shown = np.concatenate([rows_of(step) for step in range(10)])
    assert all(sorted(shown[k : k + 10]) == list(range(10)) for k in range(0, 70, 10))


def test_intervals_contain_nine_in_ten_true_values() -> None:
    random = np.random.default_rng(0)

    def predictions(count: int) -> Predictions:
        truth = random.uniform(1, 4, (count, 17)).astype(np.float32)
        scales = random.uniform(0.1, 0.4, (count, 17)).astype(np.float32)
        units = truth + 3 * scales * random.laplace(size=(count, 17))  # errors are three times the predicted ones
        points = np.zeros((count, 68, 2), np.float32)
        examples = Examples(
            torch.zeros(count, 1, 1), torch.from_numpy(points), torch.from_numpy(truth), torch.zeros(count, 3)
        )
        return Predictions(points, units, scales, np.zeros((count, 3)), examples)

    factors, new = training.interval_factors(predictions(2000)), predictions(2000)
    within = np.abs(new.units - new.truth.units.numpy()) <= factors * new.unit_scales
    assert within.mean() == pytest.approx(0.9, abs=0.015)


def test_training_lowers_the_loss(heads: Heads) -> None:
    config = FaceNetworkConfig(steps=15, batch=8)
    state = training.new_state(config)
    objective = training.measurement_objective(heads, config)
    losses: list[float] = []
    training.fit(state, state.network, config, heads, objective, lambda state, values: losses.append(values["points"]))
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:3])


def test_who_draws_the_batches_changes_nothing(heads: Heads) -> None:
    config = FaceNetworkConfig(steps=3, batch=8)

    def weights(processes: int) -> torch.Tensor:
        state = training.new_state(config)
        training.fit(
            state, state.network, config, heads, training.measurement_objective(heads, config), None, processes
        )
        return torch.cat([value.flatten() for value in state.network.parameters()])

    assert torch.equal(weights(0), weights(2))


def test_the_stage_writes_weights_log_and_scores(trained: Artifact) -> None:
    scores = trained.results["scores"]["held_out"]
    assert scores["n"] == 16 and set(scores["au_pearson"]) == set(scores["au_mae"]) and len(scores["au_mae"]) == 17
    assert scores["interval_coverage_90"] >= 0.9  # of the faces that the intervals are calibrated on
    assert trained.results["scores"]["test_1"]["n"] == trained.results["rendered"] == 48
    log = [json.loads(line) for line in storage.read_bytes(trained.path(LOG)).splitlines()]
    assert log[-1]["step"] == 6 and {"points", "units", "pose", "scales"} <= log[-1].keys()
    loaded = analyzer.open_network(trained.path(analyzer.WEIGHTS))
    assert loaded.factors.shape == (17,) and (loaded.factors > 0).all()
    assert len(storage.read_bytes(trained.path(analyzer.WEIGHTS))) < 12_000_000


def test_a_training_begins_with_the_weights_it_is_given(
    rendered: Artifact, trained: Artifact, migrated_database: Path, tmp_path: Path
) -> None:
    shutil.copy(migrated_database, tmp_path / "mlflow.db")
    tracking = Tracking(f"sqlite:///{tmp_path}/mlflow.db", "faces")
    given = trained.path(analyzer.WEIGHTS)
    config = MeasuringConfig(steps=1, batch=8, held_out=0.3, learning_rate=1e-7, weight_decay=0.0)
    spec = face_network_spec([rendered], config, tracking, initial=given)
    assert spec.fingerprint != face_network_spec([rendered], config, tracking).fingerprint
    files = [run_stage(spec, str(tmp_path), quiet=True).path(analyzer.WEIGHTS), given]
    after, before = (analyzer.open_network(file).network.units.weight for file in files)
    assert torch.allclose(after, before, atol=1e-4) and before.abs().max() > 0.01
    with pytest.raises(UserError, match="does not exist"):
        face_network_spec([rendered], config, tracking, initial=str(tmp_path / "none.safetensors"))


@pytest.mark.parametrize("opened", [analyzer.open_network, identity.open_identity])
def test_files_without_the_network_are_refused(opened: Callable[[str], object], tmp_path: Path) -> None:
    safetensors.torch.save_file({"fc.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    for name, message in (("none.safetensors", "does not exist"), ("other.safetensors", "weights of another model")):
        with pytest.raises(UserError, match=message):
            opened(str(tmp_path / name))


class Slope(torch.nn.Module):
    """Predicts one number, its weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        return self.weight


@pytest.mark.parametrize(
    ("loss_of", "message"),
    [
        (lambda weight: weight.sum() * math.nan, "step 1 of 50: its loss is nan; its initial weights are at fault"),
        (
            lambda weight: (5 - 20 * weight.sum()).exp() + (2000 * (weight.sum() - 1)).abs(),
            "step .* of 50: its loss is",
        ),
        (lambda weight: (weight.sum() - 1).sqrt() + weight.sum(), "step 1 of 50: its gradient is inf"),
    ],
)
def test_divergence_stops_before_the_weights_change(
    loss_of: Callable[[torch.Tensor], torch.Tensor], message: str
) -> None:
    config = FaceNetworkConfig(steps=50, batch=2, learning_rate=1.0)
    state = training.new_state(config, build=Slope)
    examples = Examples(
        torch.zeros(2, 112, 112, dtype=torch.uint8), torch.zeros(2, 68, 2), torch.zeros(2, 17), torch.zeros(2, 3)
    )
    objective = TrainingObjective(
        lambda step: np.arange(2), lambda *drawn: examples, lambda weight, truth: {"it": loss_of(weight)}
    )
    with pytest.raises(Diverged, match=f"The training diverged at .*{message}"):
        training.fit(state, state.network, config, Heads(*(np.zeros(2),) * 5), objective)
    assert all(torch.isfinite(weight).all() for weight in state.network.parameters())
