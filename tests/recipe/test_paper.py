"""The paper's road on a few of the shipped heads: animated, learned from in two folds, and read by the other fold."""

import csv
import html
import json
import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.compute as pc
import pytest
import yaml
from click.testing import CliRunner

import twfer_dist
from twfer_dist.cli.main import main
from twfer_dist.core.errors import UserError
from twfer_dist.core.images import decode
from twfer_dist.core.schema import ANIMATED, DATASET, FACES, PREDICTIONS
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.corpus.corpus import open_corpus
from twfer_dist.engine.artifact import Artifact, open_artifact
from twfer_dist.engine.stage import run_stage
from twfer_dist.engine.tracking import Tracking
from twfer_dist.explanation.maps import attribution_map, sized
from twfer_dist.explanation.stage import ExplainConfig, explain_spec
from twfer_dist.explanation.tables import EXPLANATIONS
from twfer_dist.recipe import paper
from twfer_dist.recipe.road import report_inputs
from twfer_dist.recipe.study import study_recipe
from twfer_dist.recognition.recogniser import open_recogniser
from twfer_dist.recognition.stage import PredictConfig, predict_spec
from twfer_dist.recognition.train_config import TrainConfig
from twfer_dist.recognition.train_stage import train_spec
from twfer_dist.synthesis import checkpoints
from twfer_dist.synthesis.networks import Generator

DEMO = Path(twfer_dist.__file__).parent / "demo" / "tw58"
FIGURES = 4


def photographs(folder: Path, figures: int) -> Path:
    """A folder with one neutral photograph of each of some figures of the demo corpus."""
    with (DEMO / "manifest.csv").open() as file:
        first = {row["figure_id"]: row["path"] for row in reversed(list(csv.DictReader(file)))}
    folder.mkdir()
    for figure in sorted(first)[:figures]:
        shutil.copy(DEMO / first[figure], folder)
    return folder


class Made(NamedTuple):
    outputs: dict[str, Artifact]
    page: str
    faces_csv: bytes


@pytest.fixture(scope="module")
def made(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The road in two folds, with tiny images and networks and a generator that has learned nothing."""
    out = tmp_path_factory.mktemp("paper")
    folder = photographs(out / "heads", FIGURES)
    (out / "generator.safetensors").write_bytes(checkpoints.save(Generator(8), size=64))
    animate = {**paper.ANIMATE, "generator": str(out / "generator.safetensors"), "size": 64, "levels": 3}
    network = {"network": "resnet18", "size": 32, "batch": 14}
    small = {"FOLDS": 2, "ANIMATE": animate, "TRAIN": {"resnet18": network}, "VIEWS": {"resnet18": 100}}
    words = ["study", folder, "--method", "paper", "--detector", "haar", "--out", out / "out", "--json"]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in small.items():
            patch.setattr(paper, name, value)
        result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    outputs = {stage["name"]: open_artifact(stage["output"]) for stage in printed["stages"]}
    report = Path(printed["report"])
    return Made(outputs, report.read_text(), report.with_name("faces.csv").read_bytes())


def figures_of(dataset: Artifact, *parts: str) -> set[str]:
    rows = dataset.scan(".", DATASET).to_table(columns=["figure_id"], filter=pc.field("split").isin(parts))
    return set(rows["figure_id"].to_pylist())


def trainings(made: Made) -> dict[str, str]:
    """The digest of the training that read each figure."""
    with open(made.outputs["read-resnet18"].path("cross-fitting.csv")) as file:
        return {line["figure_id"]: line["training"] for line in csv.DictReader(file)}


@pytest.mark.long
def test_every_measured_face_is_animated_to_the_prototypes(made: Made) -> None:
    faces = made.outputs["faces"].table("faces", FACES)
    animated = made.outputs["animated"].table(".", ANIMATED)
    ok = faces.filter(pc.equal(faces["status"], "ok"))
    assert len(ok) == FIGURES and set(animated["face_id"].to_pylist()) == set(ok["face_id"].to_pylist())
    assert len(animated) == FIGURES * 7 * 2 and set(animated["label"].to_pylist()) == set(range(1, 8))
    assert all(name.startswith("prototype-") for name in animated["reference_id"].to_pylist())


@pytest.mark.long
def test_no_face_is_read_by_a_network_that_saw_its_figure(made: Made) -> None:
    faces = made.outputs["faces"].table("faces", FACES)
    rows = made.outputs["read-resnet18"].table(".", PREDICTIONS)
    assert rows["image_id"].to_pylist() == faces["face_id"].to_pylist()
    assert set(rows["model"].to_pylist()) == {"ResNet-18, cross-fitted"}
    assert rows["predicted"].null_count == 0
    training_of = trainings(made)
    assert set(training_of) == set(faces["figure_id"].to_pylist())
    sets = {made.outputs[f"resnet18-{k}"].digest: made.outputs[f"set-{k}"] for k in (1, 2)}
    for figure, training in training_of.items():
        assert figure not in figures_of(sets[training], "train", "validation")
        assert figure in figures_of(sets[training], "test")
    counts = made.outputs["read-resnet18"].results["cross_fitted"]
    assert [(entry["images"], entry["figures"], entry["test_figures"]) for entry in counts] == [(2, 2, 2)] * 2


@pytest.mark.long
def test_an_answer_is_explained_by_the_network_that_gave_it(made: Made, tmp_path: Path) -> None:
    of = made.outputs
    models = [of["resnet18-1"], of["resnet18-2"]]
    spec = explain_spec(of["read-resnet18"], [of["faces"]], ExplainConfig(), models=models)
    explained = run_stage(spec, str(tmp_path), quiet=True).table(".", EXPLANATIONS).to_pylist()
    images = {row["face_id"]: decode(row["image"]) for row in of["faces"].table("faces", FACES).to_pylist()}
    recognisers, training_of = [open_recogniser(model) for model in models], trainings(made)
    assert len(explained) == FIGURES
    for row in explained:
        image = images[row["image_id"]]
        assert image is not None
        pixels = sized(image, recognisers[0])
        maps = [attribution_map(one.network, pixels, row["explained"]).ravel() for one in recognisers]
        alike = [np.allclose(row["map"], each, atol=1e-4) for each in maps]
        assert alike == [model.digest == training_of[row["figure_id"]] for model in models]


@pytest.mark.long
def test_both_roads_stand_in_the_spreadsheet(made: Made) -> None:
    """Next to the page, and with the mark by which Excel knows UTF-8."""
    rows = list(csv.DictReader(made.faces_csv.decode("utf-8-sig").splitlines()))
    assert made.faces_csv.startswith(b"\xef\xbb\xbf") and len(rows) == FIGURES
    assert all(row["reader"] in EXPRESSIONS and row["paper"] in EXPRESSIONS for row in rows)
    assert "Cohen" in made.page


@pytest.mark.long
def test_the_report_prints_the_recipe(made: Made) -> None:
    assert "ResNet-18, cross-fitted" in made.page
    (text,) = re.findall("<pre[^>]*>(name: heads.*?)</pre>", made.page, re.S)
    stages = yaml.safe_load(html.unescape(text))["stages"]
    assert list(stages) == list(made.outputs) and "&id" not in text


@pytest.mark.long
def test_models_that_saw_a_face_may_not_read_it(made: Made) -> None:
    of = made.outputs
    faces, models, sets = [of["faces"]], [of["resnet18-1"], of["resnet18-2"]], [of["set-1"], of["set-2"]]
    with pytest.raises(UserError, match="was trained on is not among 'datasets': name it"):
        predict_spec(faces, models, PredictConfig(), datasets=sets[:1])
    named = predict_spec(faces, [models[0], models[0]], PredictConfig(), datasets=sets)
    with pytest.raises(UserError, match="All 2 models saw the figure heads/.* in training or validation"):
        named.do(None)


@pytest.mark.long
def test_a_fold_starts_from_a_trunk_of_its_own(made: Made) -> None:
    tracking = Tracking("sqlite:///unused.db", "unused")
    config = TrainConfig(network="arm", size=96)
    with pytest.raises(UserError, match="may have seen the figures of the fold"):
        train_spec(made.outputs["set-1"], config, tracking, trunk=made.outputs["resnet18-2"])


def test_a_folder_of_one_figure_is_refused(tmp_path: Path) -> None:
    folder = photographs(tmp_path / "one", 1)
    with pytest.raises(UserError, match="shows 1 figure, and the paper's method needs at least two"):
        study_recipe([str(folder)], {}, (), None, None, method="paper")


@pytest.mark.parametrize(("figures", "folds", "split"), [(2, 2, "within_figure"), (3, 3, "by_figure")])
def test_few_figures_have_fewer_folds(tmp_path: Path, figures: int, folds: int, split: str) -> None:
    recipe = study_recipe([str(photographs(tmp_path / "few", figures))], {}, (), None, None, method="paper")
    sets: list[dict[str, Any]] = [dict(stage.settings) for stage in recipe.stages if stage.kind == "dataset"]
    assert [(s["fold"], s["split"]) for s in sets] == [([k, folds], split) for k in range(1, folds + 1)]


def test_references_need_labels(tmp_path: Path) -> None:
    folder = str(photographs(tmp_path / "few", 3))
    with pytest.raises(UserError, match="has no labelled photographs to copy expressions from"):
        study_recipe([folder], {}, (), None, None, method="paper", references=folder)
    recipe = study_recipe([folder], {}, (), None, None, method="paper", references=str(DEMO))
    animated = next(stage for stage in recipe.stages if stage.kind == "animate")
    assert animated.inputs == {"faces": ["faces"], "reference_faces": ["references"]}


def test_the_recipe_in_jobs_has_the_settings_of_the_command() -> None:
    job = Path(twfer_dist.__file__).parents[1] / "jobs" / "paper-method.yaml"
    given = yaml.safe_load(job.read_text())["stages"]
    road = paper.paper_road("faces", [open_corpus(str(DEMO.parent / "postures"))], None)
    assert {name: stage for name, stage in given.items() if name not in ("faces", "report")} == road.stages
    assert given["report"].items() >= report_inputs([road]).items()
