"""The stage that predicts, on Ray Data: on a small synthetic data set and a few faces."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from recognition_data import SMALL, dataset, picture

from twfer_dist.core.errors import UserError
from twfer_dist.core.schema import FACES, PREDICTIONS
from twfer_dist.engine.artifact import Artifact, Reused
from twfer_dist.engine.mlflow_store import sqlite_uri
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import run_stage
from twfer_dist.engine.tracking import Tracking
from twfer_dist.recognition.recogniser import open_recogniser
from twfer_dist.recognition.stage import PredictConfig, predict_spec
from twfer_dist.recognition.train_stage import train_spec

CONFIG = PredictConfig(batch=8)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """42 training, 14 validation and 14 test images."""
    return dataset(str(tmp_path_factory.mktemp("images")), {"train": 6, "validation": 2, "test": 2})


@pytest.fixture(scope="module")
def model(images: Artifact, migrated_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A ResNet-18 trained for two epochs in this process."""
    out = tmp_path_factory.mktemp("trained")
    (out / "mlflow.db").write_bytes(migrated_database.read_bytes())
    tracking = Tracking(sqlite_uri(f"{out}/mlflow.db"), "recognition")
    return run_stage(train_spec(images, SMALL, tracking), str(out), quiet=True)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Three good crops, a broken crop, and a face without a crop."""
    crops = [picture(1, 77, 96), picture(2, 77, 96), picture(3, 77, 96), b"broken", None]
    rows = [
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
            "detector": "none",
            "score": 1.0,
            "box": [0.0] * 4,
            "crop_matrix": [0.0] * 6,
            "image": crop,
            "width": 96,
            "height": 96,
            "status": "ok" if crop else "no_crop",
            "error": "" if crop else "the face lies outside",
        }
        for k, crop in enumerate(crops)
    ]

    def do(output: StageOutput) -> None:
        output.write_table("faces", pa.Table.from_pylist(rows, FACES))

    job = StageSpec("faces", 1, {}, {}, {}, {"faces": FACES}, do)
    return run_stage(job, str(tmp_path_factory.mktemp("faces")), quiet=True)


@pytest.fixture(scope="module")
def outputs(
    ray_cluster: None, model: Artifact, faces: Artifact, images: Artifact, tmp_path_factory: pytest.TempPathFactory
) -> list[Artifact]:
    """Predictions of the faces, and then of the faces and the data set, on two actors."""
    out = str(tmp_path_factory.mktemp("predicted"))
    return [
        run_stage(predict_spec(inputs, [model], CONFIG, actors=actors), out, quiet=True)
        for inputs, actors in (([faces], 1), ([faces, images], 2))
    ]


@pytest.fixture(scope="module")
def rows(outputs: list[Artifact]) -> dict[str, dict[str, Any]]:
    table = outputs[-1].table(".", PREDICTIONS)
    by_id = {row["image_id"]: row for row in table.to_pylist()}
    assert len(by_id) == len(table) == 75
    return by_id


def test_a_row_without_an_image_keeps_its_status(rows: dict[str, dict[str, Any]]) -> None:
    assert (rows["face-4"]["status"], rows["face-4"]["error"]) == ("no_crop", "the face lies outside")
    assert rows["face-3"]["status"] == "unreadable" and rows["face-3"]["error"]
    for k in (3, 4):
        assert all(rows[f"face-{k}"][name] is None for name in ("probabilities", "predicted", "confidence"))


def test_a_prediction_names_its_face_and_its_model(rows: dict[str, dict[str, Any]], model: Artifact) -> None:
    row = rows["face-0"]
    assert (row["label"], row["split"], row["figure_id"]) == (1, "test", "figure-0")
    assert row["groups"] == [("posture", "kneeling")]
    assert row["model"] == open_recogniser(model).name


def test_a_status_follows_from_the_confidence(rows: dict[str, dict[str, Any]], model: Artifact) -> None:
    threshold = open_recogniser(model).threshold.confidence
    predicted = [row for row in rows.values() if row["predicted"]]
    assert len(predicted) == 73
    for row in predicted:
        assert row["confidence"] == max(row["probabilities"]) == row["probabilities"][row["predicted"] - 1]
        if row["status"] == "low_confidence":
            assert threshold is None or row["confidence"] < threshold + 1e-6  # stored as float32
        if row["status"] == "ok":
            assert threshold is not None and row["confidence"] >= threshold - 1e-6


def test_predictions_have_the_accuracy_of_the_training(rows: dict[str, dict[str, Any]], model: Artifact) -> None:
    for split, score in model.results["scores"].items():
        of_split = [row for row in rows.values() if row["split"] == split and row["corpus"] == "synthetic"]
        accuracy = sum(row["label"] == row["predicted"] for row in of_split) / len(of_split)
        assert accuracy == pytest.approx(score["accuracy"])


def test_predictions_are_reused_when_inputs_are_added(outputs: list[Artifact]) -> None:
    few, more = outputs
    assert few.manifest.reused is None
    assert more.manifest.reused == Reused(few.name, 4)  # the unreadable one of the five is tried again


@pytest.mark.long
def test_one_actor_and_two_predict_the_same(
    ray_cluster: None, outputs: list[Artifact], model: Artifact, faces: Artifact, images: Artifact, tmp_path: Path
) -> None:
    """Though other rows are neighbours where some are reused."""
    one = run_stage(predict_spec([images, faces], [model], CONFIG, actors=1), str(tmp_path), quiet=True)
    assert one.manifest.fingerprint == outputs[-1].manifest.fingerprint and one.digest == outputs[-1].digest


def test_wrong_inputs_are_refused(model: Artifact, images: Artifact, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no recogniser"):
        predict_spec([images], [images], CONFIG)
    with pytest.raises(UserError, match="'train', which holds no images to predict: name outputs of faces, corrected"):
        predict_spec([model], [model], CONFIG)
    with pytest.raises(UserError, match="no images to predict: name 'inputs'"):
        predict_spec([], [model], CONFIG)
    with pytest.raises(UserError, match="the same images twice"):
        run_stage(predict_spec([images, images], [model], CONFIG), str(tmp_path), quiet=True)
