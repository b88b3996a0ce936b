"""The page of a study that was read by the reader, the paper's road, or both."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from report_pages import Page, html_of, json_of, report_on, words_of
from study_errors import held_out, rates
from study_roads import PAPER, make_road
from study_tables import World, make_faces, make_predictions, make_training

from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import run_stage
from twfer_dist.reading.reader import NAME as READER
from twfer_dist.recognition.cross_fitting import FILE, CrossFit, readers_of
from twfer_dist.recognition.train_config import TrainConfig
from twfer_dist.study.inputs import NEW

READ = {k: (k % 7 + 1, 0.9 - k / 100) for k in range(5)} | dict.fromkeys(range(7, 14), (7, 0.4))
PAPERS = {k: (k % 7 + 1, 0.8) for k in range(3)} | dict.fromkeys(range(3, 13), (5, 0.7))


def both(out: str, faces: Artifact) -> list[Artifact]:
    return [make_road(out, faces, READER, READ), make_road(out, faces, PAPER, PAPERS)]


def test_the_page_leads_with_both_roads(tmp_path: Path) -> None:
    faces = make_faces(str(tmp_path), figures=14, labelled=False)
    report = report_on(str(tmp_path), faces, *both(str(tmp_path), faces))
    html, words = html_of(report), words_of(report)
    first, second, relative, movements, groups, reliability = report.results["answer"]
    assert "The reader (which judges by the measured movements of the face) accepts its answer for 5 of 14" in first
    assert "It abstains from 7, where its best guess is too uncertain. 2 more could not be read" in first
    assert "Its guesses, uncertain ones included, are neutral for 7 of 12 faces (58.3 %), surprise for 1" in first
    assert second.startswith(f"{PAPER} (networks trained on animations") and "sadness in 10" in second
    assert "same answer as the reader for 4 of 11 (36.4 %, 95 % interval" in second and "Cohen’s kappa is" in second
    assert "5 of 12 answers of the reader change, most often from" in relative
    assert groups.startswith("The answers of the reader differ by") and f"Those of {PAPER}, differ by" in groups
    assert "movement" in movements
    assert "they promise nothing about photographs" in reliability and "no face here has a label" in reliability
    order = [
        html.index(f'<section id="{name}"')
        for name in ("clearest", "groups", "roads", "relative", "movements", "unknown")
    ]
    assert order == sorted(order) and html.count('<section id="groups"') == 1
    assert words.count("Where they differ most clearly") == 1 and "agrees (0.80)" in words
    links = set(re.findall(r'href="#([^"]+)"', html))
    assert links <= set(re.findall(r' id="([^"]+)"', html))


def test_the_clearest_faces_are_large_and_explained(tmp_path: Path) -> None:
    faces = make_faces(str(tmp_path), figures=14, labelled=False)
    report = report_on(str(tmp_path), faces, *both(str(tmp_path), faces))
    section = html_of(report).partition('<section id="clearest"')[2].partition("</section>")[0]
    page = Page(section)
    assert len([tag for tag, attributes in page.tags if tag == "img" and attributes["width"] == "320"]) == 5
    words = " ".join(" ".join(page.words).split())
    assert "No face was accepted as showing anger or neutral." in words and "AU04 2.0 ± 0.5" in words
    assert f"{PAPER} answers sadness (0.70)." in words
    assert [face["expression"] for face in json_of(report)["clearest"]] == [
        "surprise", "fear", "disgust", "happiness", "sadness"]  # fmt: skip


def test_a_reader_that_abstains_still_answers(tmp_path: Path) -> None:
    faces = make_faces(str(tmp_path), figures=9, labelled=False)
    report = report_on(str(tmp_path), faces, make_road(str(tmp_path), faces, READER, dict.fromkeys(range(9), (5, 0.3))))
    first = report.results["answer"][0]
    assert "accepts none of its 9 answers" in first and "sadness for 9 of 9 faces (100.0 %)" in first
    assert json_of(report)["second"] is None and "Two readings side by side" not in words_of(report)


def test_errors_on_other_images_alone_correct_no_road(world: World, tmp_path: Path) -> None:
    records = [held_out(rates([0.9] * 7), 20, 3, np.random.default_rng(k)).as_dict() for k in range(3)]
    configs = [TrainConfig(network="resnet18", size=64, seed=seed) for seed in range(2)]
    trainings = [make_training(str(tmp_path), world.dataset, c, 20, records[k]) for k, c in enumerate(configs)]
    faces = make_faces(str(tmp_path), figures=14, labelled=False)
    reader = make_road(str(tmp_path), faces, READER, READ, held_out=records[2])
    seen, tested = pa.array([], pa.string()), (pa.array(list("abcd")), pa.array(list("fghi")))
    read = CrossFit(tuple(trainings), (seen, seen), tested).results(
        pa.array(list("abcdefghij")), np.ones(10, int), np.arange(10) % 2
    )
    paper = make_road(str(tmp_path), faces, PAPER, PAPERS, **read)
    report = report_on(str(tmp_path), faces, reader, paper, models=trainings)
    study = json_of(report)
    assert study["correction"]["held_out"] == records[2]
    pooled = study["second"]["correction"]["held_out"]
    assert (pooled["images"], pooled["figures"], pooled["confusion"][0][0]) == (448, 8, 40)  # the test images
    assert records[0]["design_effect"] < pooled["design_effect"] < records[1]["design_effect"]
    assert study["correction"]["by"] is study["second"]["correction"]["by"] is None
    assert not any("Corrected" in paragraph for paragraph in study["answer"])
    assert "errors are known only on 420 rendered heads of 20 figures" in words_of(report)


def test_no_name_of_a_cross_fit_runs_as_a_formula(world: World, tmp_path: Path) -> None:
    configs = [TrainConfig(network="resnet18", size=64, seed=seed) for seed in range(2)]
    trainings = [make_training(str(tmp_path), world.dataset, config, 20) for config in configs]
    none = (pa.array([], pa.string()),) * 2
    table = CrossFit(tuple(trainings), none, none).as_csv(pa.array(["=c\0+f", "d\0g"]), np.arange(2))
    assert b"\n'=c,'+f," in table and b"\nd,g," in table
    spec = StageSpec("predict", 1, {}, {}, {}, {}, lambda output: output.write_file(FILE, table))
    read = readers_of(run_stage(spec, str(tmp_path), quiet=True))
    assert read == {"=c\0+f": trainings[0].digest, "d\0g": trainings[1].digest}


def test_labels_score_both_roads_on_new_figures(world: World, tmp_path: Path) -> None:
    """Figures of a data set are new to the roads, which learned nothing from it."""
    roads = both(str(tmp_path), world.faces)
    study = json_of(report_on(str(tmp_path), world.faces, *roads, datasets=[world.dataset]))
    (entry,) = study["accuracy"]
    scored = {(s["model"], s["split"]): s["accuracy"]["n"] for s in entry["scores"] if not s["baseline"]}
    assert scored == {(READER, NEW): 12, (PAPER, NEW): 13}
    reliability = study["answer"][-1]
    assert f"On labelled photographs ({NEW}), the reader is correct for 6 of 12" in reliability
    assert f"{PAPER} is correct for" in reliability and "Always answering" in reliability


@pytest.mark.parametrize(
    ("models", "shown"),
    [
        (["ARM 123", PAPER, READER], (READER, PAPER)),
        (["ARM, cross-fitted", PAPER], (PAPER, "ARM, cross-fitted")),
        (["ARM 123", READER], (READER, "ARM 123")),
        (["ARM 123", "ResNet-18 456"], ("ARM 123", None)),
    ],
)
def test_the_reader_is_shown_before_the_papers_road(tmp_path: Path, models: list[str], shown: tuple[str, str]) -> None:
    faces = make_faces(str(tmp_path), figures=9, labelled=False)
    roads = [
        make_predictions(str(tmp_path), [faces], m, 0.9)
        if m[-1].isdigit()
        else make_road(str(tmp_path), faces, m, READ)
        for m in models
    ]
    study = json_of(report_on(str(tmp_path), faces, *roads))
    assert (study["model"], study["second"] and study["second"]["model"]) == shown
