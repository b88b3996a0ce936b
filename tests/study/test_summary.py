"""The answer at the head of the page, for studies with and without faces, labels and groups."""

from pathlib import Path

import numpy as np
import pytest
from report_pages import csv_of, report_on, words_of, write_report
from study_errors import held_out, rates
from study_tables import World, make_faces, make_predictions, make_training, output

from twfer_dist.core.schema import FACES, PHOTOGRAPHS, PREDICTIONS
from twfer_dist.core.status import LOW_QUALITY
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.engine.stage import run_stage
from twfer_dist.recognition.recogniser import name_of
from twfer_dist.recognition.train_config import TrainConfig
from twfer_dist.study.report import ReportConfig, report_spec

ARM = TrainConfig(network="arm", size=96)


def test_a_folder_without_labels_gives_a_report(tmp_path: Path) -> None:
    faces = make_faces(str(tmp_path), figures=15, labelled=False, action_units=False)
    report = report_on(str(tmp_path), faces, make_predictions(str(tmp_path), [faces], "ARM", 0.9))
    words = words_of(report)
    assert "How far to believe this is not known" in words and "Small samples" in words
    assert "number has 15 values" in words  # each figure has its own: nothing to compare
    assert "How often the models are correct" not in words and csv_of(report, "accuracy.csv") == []
    assert "What share of the faces really shows each expression is not known" in report.results["answer"][0]
    # 17 photographs, one of them a broken file.
    assert "The program found 15 faces in 16 photographs, and ARM gave an answer for 15" in report.results["answer"][0]


def test_without_labels_the_score_of_the_training_is_given(world: World, tmp_path: Path) -> None:
    faces = make_faces(str(tmp_path), figures=9, labelled=False)
    training = make_training(str(tmp_path), world.dataset, ARM, 20)
    predictions = make_predictions(str(tmp_path), [faces], name_of(training), 0.9)
    answer = report_on(str(tmp_path), faces, predictions, models=[training]).results["answer"]
    assert answer[2].endswith("On the test images of its own training it was correct for 140 of 224.")


def test_predictions_alone_and_nothing_at_all(world: World, tmp_path: Path) -> None:
    alone = write_report(world, str(tmp_path), faces=[], animated=[], datasets=[])
    assert "How often the models are correct" in words_of(alone)
    empty = run_stage(report_spec([], config=ReportConfig()), str(tmp_path), quiet=True)
    assert "No photographs were given to a model, so there is no answer." in words_of(empty)


@pytest.mark.parametrize(
    ("statuses", "says"),
    [
        (["no_face"] * 3, "No face was found in 3 photographs, so there is no answer."),
        (["no_face", "missing"], "No face was found in 1 photograph; 1 more could not be read, so there is no answer."),
        (["missing", "unreadable"], "None of the 2 photographs could be read, so there is no answer"),
        (["missing"], "The photograph could not be read, so there is no answer"),
    ],
)
def test_a_folder_without_a_face_says_just_that(tmp_path: Path, statuses: list[str], says: str) -> None:
    rows = [
        {"photo_id": f"{k}", "corpus": "c", "path": f"{k}.jpg", "status": s, "error": "why", "faces": 0}
        for k, s in enumerate(statuses)
    ]
    faces = output(str(tmp_path), "faces", {"photographs": (PHOTOGRAPHS, rows), "faces": (FACES, [])}, detector="drawn")
    report = report_on(str(tmp_path), faces, output(str(tmp_path), "predict", {".": (PREDICTIONS, [])}, [faces]))
    assert [paragraph.startswith(says) for paragraph in report.results["answer"]] == [True]
    examined = statuses.count("no_face")
    words = f"It examined {examined} photograph{'' if examined == 1 else 's'} and found 0 faces."
    assert words in words_of(report)


def test_faces_without_any_model_are_not_denied(tmp_path: Path) -> None:
    report = report_on(str(tmp_path), make_faces(str(tmp_path), figures=9))
    assert "found 9 faces in 10 photographs, and could measure the movements of 9. No model was asked" in words_of(
        report
    )


def test_no_other_model_is_advised_if_every_face_is_refused(tmp_path: Path) -> None:
    faces = make_faces(str(tmp_path), figures=9)
    rows = [
        {key: face[key] for key in ("figure_id", "corpus", "label", "groups")}
        | {"image_id": face["face_id"], "model": "ARM", "status": LOW_QUALITY}
        for face in faces.table("faces", FACES).to_pylist()
    ]
    predictions = output(str(tmp_path), "predict", {".": (PREDICTIONS, rows)}, [faces])
    first, second, *_ = report_on(str(tmp_path), faces, predictions).results["answer"]
    assert first.startswith("The program found 9 faces in 10 photographs, but none of them is good enough to classify.")
    assert second == "No groups could be compared, because no face has an answer."


def test_the_page_leads_with_corrected_shares(world: World, tmp_path: Path) -> None:
    faces = make_faces(str(tmp_path), figures=15, labelled=False)
    record = held_out(rates([0.85] * 7), 20, 3, np.random.default_rng(5)).as_dict()
    training = make_training(str(tmp_path), world.dataset, ARM, 20, held_out=record)
    predictions = make_predictions(str(tmp_path), [faces], name_of(training), 0.9)
    report = report_on(str(tmp_path), faces, predictions, models=[training])
    first = report.results["answer"][0]
    assert first.startswith("The most frequent expression is ") and "shown by an estimated" in first
    assert "95 % interval" in first and "corrected for the model's errors" in first
    words = words_of(report)
    assert "corrected for the model's errors on 420 held-out images of 20 figures" in words
    assert "no labelled face here can confirm" in words
    row = csv_of(report, "groups.csv")[0]
    assert list(row) == ["model", "column", "group", "faces", "figures", "expression", "answered", "accepted", "of",
        "share", "low", "high", "labelled", "labels"]  # fmt: skip
    assert row["expression"] == EXPRESSIONS[0] and (row["labelled"], row["labels"]) == ("", "")
