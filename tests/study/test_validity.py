"""The validity test (Table 7) and its mirror, on data sets and answers of known content."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from study_tables import make_animated, make_faces, make_predictions, make_training, output

from twfer_dist.cli.main import main
from twfer_dist.core.errors import UserError
from twfer_dist.core.schema import ANIMATED, DATASET, FACES, PREDICTIONS
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.stage import run_stage
from twfer_dist.recognition.recogniser import name_of
from twfer_dist.recognition.train_config import TrainConfig
from twfer_dist.study.validity import ValidityConfig, validity_spec

RESNET = TrainConfig(network="resnet18", size=96)


def split_of(figure_id: str) -> str:
    """Of five figures two are for testing, one for validation."""
    return ("train", "train", "validation", "test", "test")[int(figure_id.rpartition("-")[2]) % 5]


def make_set(out: str, rows: Sequence[dict], key: str, origin: str) -> Artifact:
    kept = [{**row, "image_id": row[key], "split": split_of(row["figure_id"]), "origin": origin} for row in rows]
    return output(out, "dataset", {".": (DATASET, kept)})


@dataclass(frozen=True)
class Pairings:
    """The inputs of a validity test, and the faces that they come from."""

    faces: Artifact
    real: Artifact
    animated: Artifact
    models: list[Artifact]
    predictions: list[Artifact]


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory) -> Pairings:
    """60 labelled photographs and 20 animated faces, a training on each, and the answers of the four pairings."""
    out = str(tmp_path_factory.mktemp("out"))
    faces = make_faces(out)
    real = make_set(out, faces.table("faces", FACES).to_pylist(), "face_id", "photograph")
    animated = make_set(out, make_animated(out, faces).table(".", ANIMATED).to_pylist(), "image_id", "animated")
    models = [make_training(out, dataset, RESNET, right) for dataset, right in ((real, 24), (animated, 28))]
    predictions = [
        make_predictions(out, [real, animated], name_of(m), skill) for m, skill in zip(models, (0.9, 0.6), strict=True)
    ]
    return Pairings(faces, real, animated, models, predictions)


def run(tested: Pairings, out: Path, **changed: Any) -> Artifact:
    inputs = {key: getattr(tested, key) for key in ("real", "animated", "models", "predictions")}
    return run_stage(validity_spec(**{**inputs, **changed}, config=ValidityConfig()), str(out), quiet=True)


def test_every_model_is_scored_on_both_data_sets(tested: Pairings, tmp_path: Path) -> None:
    scores = run(tested, tmp_path).results["scores"]
    pairings = [(s["trained_on"], s["asked_about"]) for s in scores]
    assert pairings == [("real", "real"), ("real", "animated"), ("animated", "real"), ("animated", "animated")]
    for one, skill in zip(scores, (0.9, 0.9, 0.6, 0.6), strict=True):
        model = tested.models[one["trained_on"] == "animated"]
        dataset = getattr(tested, one["asked_about"]).table(".", DATASET).to_pylist()
        test = {row["image_id"]: row["label"] for row in dataset if row["split"] == "test"}
        answers = {row["image_id"]: row["predicted"] for p in tested.predictions for row in
            p.table(".", PREDICTIONS).to_pylist() if row["model"] == name_of(model) and row["image_id"]
            in test}  # fmt: skip
        right = {image: label == answers[image] for image, label in test.items()}
        assert one["model"] == name_of(model) and one["left_out"] == 0
        assert (one["accuracy"]["k"], one["accuracy"]["n"]) == (sum(right.values()), len(test))
        assert one["accuracy"]["share"] == pytest.approx(skill, abs=0.2)
        fear = next(e for e in one["expressions"] if e["expression"] == "fear")
        assert (fear["k"], fear["n"]) == (
            sum(right[i] for i in test if test[i] == 2),
            sum(label == 2 for label in test.values()),
        )
        assert 0 <= fear["low"] <= fear["share"] <= fear["high"] <= 1
    assert [s["accuracy"]["n"] for s in scores[:2]] == [24, 7 * 28]


def test_images_of_figures_in_training_are_left_out(tested: Pairings, tmp_path: Path) -> None:
    """The animated data set is split differently: half of the real test figures are in its training images."""
    rows = tested.animated.table(".", DATASET).to_pylist()
    for row in rows:
        row["split"] = "train" if int(row["figure_id"].rpartition("-")[2]) % 5 in (0, 3) else "test"
    animated = output(str(tmp_path), "dataset", {".": (DATASET, rows)})
    models = [tested.models[0], make_training(str(tmp_path), animated, RESNET, 20)]
    predictions = [make_predictions(str(tmp_path), [tested.real, animated], name_of(m), 0.8) for m in models]
    scores = run(tested, tmp_path, animated=animated, models=models, predictions=predictions).results["scores"]
    by_pairing = {(s["trained_on"], s["asked_about"]): s for s in scores}
    assert (by_pairing["animated", "real"]["accuracy"]["n"], by_pairing["animated", "real"]["left_out"]) == (20, 4)
    assert by_pairing["real", "real"]["left_out"] == 0
    in_training = sum(row["split"] == "test" and split_of(row["figure_id"]) == "train" for row in rows)
    assert by_pairing["real", "animated"]["left_out"] == in_training > 0


def test_wrong_inputs_are_one_sentence_each(tested: Pairings, tmp_path: Path) -> None:
    sweep = output(str(tmp_path), "sweep", {})
    only = make_predictions(str(tmp_path), [tested.real], name_of(tested.models[0]), 0.8)
    for changed, words in (
        ({"real": tested.faces}, "given as the real faces but is the output of stage 'faces'"),
        ({"models": [sweep]}, "is not a training on the real or animated faces"),
        ({"models": tested.models[1:]}, "has no model trained on"),
        ({"models": []}, "has no model trained on"),
        ({"predictions": [only]}, "hold 0 answers of .* to 196 animated test images"),
        (
            {"real": tested.animated, "animated": tested.real},
            "given as the real faces but holds images of origin 'animated'",
        ),
    ):
        with pytest.raises(UserError, match=words) as caught:
            run(tested, tmp_path, **changed)
        assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_a_recipe_runs_it_and_the_report_shows_it(tested: Pairings, tmp_path: Path) -> None:
    stages = {
        "test": {
            "kind": "validity",
            "real": tested.real.uri,
            "animated": tested.animated.uri,
            "models": [m.uri for m in tested.models],
            "predictions": [p.uri for p in tested.predictions],
        },
        "report": {"kind": "report", "validity": ["test"]},
    }
    recipe = tmp_path / "validity.yaml"
    recipe.write_text(
        yaml.safe_dump({"name": "validity", "out": str(tmp_path / "out"), "stages": stages}, sort_keys=False)
    )
    result = CliRunner().invoke(main, ["run", str(recipe)])
    assert result.exit_code == 0, result.output
    assert "trained on animated faces, tested on real faces" in result.output
    page = (tmp_path / "out" / "report" / "index.html").read_text()
    assert "Are animated faces like real ones?" in page and page.count("animated faces</th>") == 4
    (folder,) = (tmp_path / "out").glob("report-*")
    study = json.loads((folder / "report.json").read_text())
    scores = study["validity"][0]["scores"]
    rows = list(csv.DictReader(io.StringIO((folder / "tables" / "validity.csv").read_text(encoding="utf-8-sig"))))
    means = [float(row["value"]) for row in rows if row["of"] == "balanced accuracy"]
    assert means == pytest.approx([s["balanced_accuracy"]["value"] for s in scores]) and len(rows) == 4 * 9
    assert rows[0]["images"] == "real faces, model trained on real faces"
    assert np.isfinite(means).all() and storage.exists(str(folder / "tables" / "accuracy.csv"))
