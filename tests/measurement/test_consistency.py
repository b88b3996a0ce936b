"""Photographs beside the rendered heads in the training of the network that measures faces."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from measured_faces import face, faces_output, units

from twfer_dist.core import images
from twfer_dist.core.errors import UserError
from twfer_dist.engine.artifact import Artifact, open_artifact
from twfer_dist.engine.stage import run_stage
from twfer_dist.engine.tracking import Tracking
from twfer_dist.measurement import analyzer, augmentation, consistency, evaluate, training
from twfer_dist.measurement.network import standardised
from twfer_dist.measurement.train_stage import face_network_spec
from twfer_dist.measurement.training import MeasuringConfig

PICTURES = 6


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Six of the heads that ship as if they were photographs, twice as large as their crops, and one refused face."""
    heads = augmentation.load_heads(open_artifact(evaluate.TEST)).of(np.arange(PICTURES))
    rows = [
        face(f"{number}", units())
        | {
            "image": images.encode_jpeg(images.to_rgb(picture), 95),
            "landmarks68": (2 * points).tolist(),
            "crop_matrix": [0.5, 0, 0, 0, 0.5, 0],
            "pose": pose.tolist(),
        }
        for number, (picture, points, pose) in enumerate(zip(heads.images, heads.points, heads.pose, strict=True))
    ]
    refused = face("refused", units(), status="low_quality") | {"landmarks68": None}
    return faces_output(tmp_path_factory.mktemp("photographs"), [*rows, refused])


def test_the_measured_faces_of_photographs_are_shown(photographs: Artifact) -> None:
    loaded = consistency.load_photographs([photographs])
    heads = augmentation.load_heads(open_artifact(evaluate.TEST)).of(np.arange(PICTURES))
    assert loaded.images.shape == heads.images.shape
    assert np.allclose(loaded.points, heads.points, atol=1e-3)


def test_photographs_without_a_measured_face_are_refused(tmp_path: Path) -> None:
    refused = faces_output(tmp_path, [face("refused", units(), status="low_quality") | {"landmarks68": None}])
    with pytest.raises(UserError, match="holds no measured face"):
        consistency.load_photographs([refused])


def test_a_network_learns_to_keep_its_answers(photographs: Artifact, rendered: Artifact) -> None:
    """In views that the training did not show, the answers stray less than after the same training without them."""
    shown, heads = consistency.load_photographs([photographs]), augmentation.load_heads(rendered)
    rows = np.arange(PICTURES)

    def strayed(weight: float) -> float:
        network = analyzer.open_network(analyzer.SHIPPED).network
        answered = consistency.answered(shown, network, 0)
        assert answered.units.max() > 1
        config = MeasuringConfig(steps=12, batch=8, learning_rate=5e-4, consistency=weight)
        state = training.new_state(config, build=network.train)
        training.fit(state, network, config, heads, consistency.consistent_objective(heads, answered, config))
        views = [augmentation.augmented(answered, np.stack([rows, rows], 1), (99, view)) for view in range(8)]
        return float(np.mean([np.square(training.predict(network, view).units - answered.units) for view in views]))

    assert strayed(10) < 0.9 * strayed(0)


def test_a_batch_holds_a_photograph_for_every_other_head(rendered: Artifact, photographs: Artifact) -> None:
    heads, shown = augmentation.load_heads(rendered), consistency.load_photographs([photographs])
    objective, threefold = (
        consistency.consistent_objective(heads, shown, MeasuringConfig(consistency=weight)) for weight in (1.0, 3.0)
    )
    network = analyzer.open_network(analyzer.SHIPPED).network
    for count in (1, 2, 5):  # a worker's share may be odd
        examples = objective.draw(heads, np.stack([np.arange(count), np.arange(count)], 1), (0, 0))
        assert len(examples.units) == count + (count + 1) // 2
        assert torch.equal(examples.units[:count], torch.from_numpy(heads.units[:count]))
        with torch.inference_mode():
            prediction = network(standardised(examples.crops))
            terms, more = objective.loss_of(prediction, examples), threefold.loss_of(prediction, examples)
        assert more.pop("photographs") == pytest.approx(3 * float(terms["photographs"])) and float(terms["photographs"])
        assert all(torch.equal(terms[name], value) for name, value in more.items()) and len(more) == 4
        alone = training.measurement_objective(heads, MeasuringConfig()).draw(
            heads, np.stack([np.arange(count), np.arange(count)], 1), (0, 0)
        )
        assert torch.equal(alone.crops, examples.crops[:count])


def test_the_stage_needs_a_network_that_has_answers(
    rendered: Artifact, trained: Artifact, photographs: Artifact, migrated_database: Path, tmp_path: Path
) -> None:
    shutil.copy(migrated_database, tmp_path / "mlflow.db")
    tracking = Tracking(f"sqlite:///{tmp_path}/mlflow.db", "faces")
    config = MeasuringConfig(steps=1, batch=8, held_out=0.3)
    with pytest.raises(UserError, match="name a trained one as"):
        face_network_spec([rendered], config, tracking, photographs=[photographs])
    given = trained.path(analyzer.WEIGHTS)
    spec = face_network_spec([rendered], config, tracking, photographs=[photographs], initial=given)
    assert spec.fingerprint != face_network_spec([rendered], config, tracking, initial=given).fingerprint
    log = run_stage(spec, str(tmp_path), quiet=True).path("training.jsonl")
    assert '"photographs"' in Path(log).read_text()
