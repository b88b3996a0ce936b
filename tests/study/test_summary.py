"""The answer at the head of the page, for studies with and without faces, labels and groups."""

import csv
import io
import json
import re
from html.parser import HTMLParser
import pytest
import study_tables
from study_tables import NASTY, make_faces, make_predictions, make_sweep, make_training, output
from twfer_dist.core.schema import PREDICTIONS
from twfer_dist.core.status import OK
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.stage import run_stage
from twfer_dist.recognition.training import TrainConfig
from twfer_dist.study.report import ReportConfig, report_job
from twfer_dist.study.report_data import NEW, SEEN
import pyarrow as pa
from study_tables import answer_to, face_picture, make_faces, make_predictions, make_training, make_world, output
from twfer_dist.core.schema import FACES, PHOTOGRAPHS, PREDICTIONS
from twfer_dist.core.taxonomy import ACTION_UNITS
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.spec import StageSpec
from twfer_dist.measurement.analyzer import SHIPPED, open_analyzer
from twfer_dist.measurement.quality import LOW_QUALITY
from twfer_dist.recipe.study import study_recipe
from twfer_dist.study.groups import distributions
from twfer_dist.study.metrics import COUNTED, GROUP
from twfer_dist.study.units import action_units
import numpy as np
from study_tables import images_of, make_faces, make_training, output
from twfer_dist.core.intervals import design_effect, effective_size, share, simultaneous
from twfer_dist.recognition import train_stage
from twfer_dist.recognition.calibration import Confusion, confusion, confusion_from
from twfer_dist.recognition.training import Answers, TrainConfig
from twfer_dist.study import correction, groups, metrics
from twfer_dist.study.shares import agreement, corrected, solve




def test_a_folder_without_truth_gives_a_report(tmp_path):
    out = str(tmp_path)
    faces = make_faces(out, figures=15, labelled=False, action_units=False)
    predictions = make_predictions(out, [faces], "ARM", 0.9)
    report = run_stage(report_job([predictions], faces=[faces], config=ReportConfig()), out)
    text = Page(storage.read_bytes(report.path("index.html")).decode()).text
    assert "How far to believe this is not known" in text and "Small samples" in text
    assert "number has 15 values" in text  # each figure has its own: nothing to compare
    assert "How often the models are right" not in text
    assert (
        storage.read_bytes(report.path("accuracy.csv")).decode() == "\ufeffimages,model,split,of,k,n,value,low,high\n"
    )


def test_a_study_without_labels_tells_the_training_s_own_score(world, tmp_path):
    out = str(tmp_path)
    faces = make_faces(out, figures=9, labelled=False)
    training = make_training(out, world["dataset"], TrainConfig(network="arm", size=96), 20)
    predictions = make_predictions(out, [faces], f"ARM {training.manifest['fingerprint'][:6]}", 0.9)
    report = run_stage(report_job([predictions], faces=[faces], models=[training], config=ReportConfig()), out)
    assert report.results["answer"][2].endswith("on the test images of its own training it was right in 140 of 224.")


def test_predictions_alone_and_nothing_at_all(world, tmp_path):
    alone = write_report(world, str(tmp_path), faces=[], animated=[], datasets=[])
    assert "How often the models are right" in Page(storage.read_bytes(alone.path("index.html")).decode()).text
    empty = run_stage(report_job([], config=ReportConfig()), str(tmp_path))
    assert "no answer about any" in Page(storage.read_bytes(empty.path("index.html")).decode()).text


@pytest.mark.parametrize(
    ("statuses", "says"),
    [
        (["no_face"] * 3, "No face was found in 3 photographs, so there is no answer."),
        (["no_face", "missing"], "No face was found in 1 photograph; 1 more could not be read, so there is no answer."),
        (["missing", "unreadable"], "None of the 2 photographs could be read, so there is no answer"),
        (["missing"], "The photograph could not be read, so there is no answer"),
    ],
)
def test_a_folder_without_a_face_says_just_that(tmp_path, statuses: list[str], says: str) -> None:
    rows = [
        {"photo_id": f"{k}", "corpus": "c", "path": f"{k}.jpg", "status": s, "error": "why", "faces": 0}
        for k, s in enumerate(statuses)
    ]
    faces = output(str(tmp_path), "faces", {"photographs": (PHOTOGRAPHS, rows), "faces": (FACES, [])}, detector="drawn")
    report = written(str(tmp_path), faces, output(str(tmp_path), "predictions", {".": (PREDICTIONS, [])}, [faces]))
    assert [sentence.startswith(says) for sentence in report.results["answer"]] == [True]
    seen = statuses.count("no_face")
    assert f"It saw {seen} photograph{'' if seen == 1 else 's'} and found 0 faces." in words_of(page_of(report))


def test_faces_that_no_model_was_asked_about_are_not_denied(tmp_path) -> None:
    report = run_stage(
        report_job([], faces=[make_faces(str(tmp_path), figures=9)], config=ReportConfig()), str(tmp_path)
    )
    assert report.results["answer"][0].startswith("No photographs were given to a model")


def test_photographs_that_are_missing_are_not_counted_as_seen(tmp_path) -> None:
    faces = make_faces(str(tmp_path), figures=9)
    report = written(str(tmp_path), faces, make_predictions(str(tmp_path), [faces], "ARM", 0.9))
    assert report.results["answer"][0].startswith(
        "In 10 photographs the program found 9 faces"
    )  # 11 rows, one of a broken file


def test_where_every_face_is_refused_no_other_model_is_advised(tmp_path) -> None:
    faces = make_faces(str(tmp_path), figures=9)
    rows = [
        {
            **{key: face[key] for key in ("figure_id", "corpus", "label", "groups")},
            "image_id": face["face_id"],
            "model": "ARM",
            "status": LOW_QUALITY,
        }
        for face in faces.table("faces", FACES).to_pylist()
    ]
    report = written(str(tmp_path), faces, output(str(tmp_path), "predictions", {".": (PREDICTIONS, rows)}, [faces]))
    first, second, _ = report.results["answer"]
    assert first.startswith(
        "In 10 photographs the program found 9 faces, and none of them is fit to be read: the reasons are below"
    )
    assert second == "No groups could be compared, because no face has an answer."


def test_the_page_leads_with_corrected_shares(tmp_path):
    out = str(tmp_path)
    world = study_tables.make_world(out)
    unlabelled = make_faces(str(tmp_path / "new"), figures=15, labelled=False)
    record = held_out(rates([0.85] * 7), 20, 3, np.random.default_rng(5)).as_dict()
    training = make_training(out, world["dataset"], TrainConfig(network="arm", size=96), 20, held_out=record)
    predictions = study_tables.make_predictions(out, [unlabelled], f"ARM {training.manifest['fingerprint'][:6]}", 0.9)
    report = run_stage(report_job([predictions], faces=[unlabelled], models=[training], config=ReportConfig()), out)
    first = report.results["answer"][0]
    assert (
        "answered for 15 of them; corrected for how it errs, the most frequent is" in first and "95 % interval" in first
    )
    page = storage.read_bytes(report.path("index.html")).decode()
    assert (
        "corrected by how the model erred on 420 held-out images of 20 figures" in page
        and "no labelled face here can confirm" in page
    )
    header, row, *_ = storage.read_bytes(report.path("groups.csv")).decode().splitlines()
    assert header == "\ufeffcolumn,group,faces,figures,expression,answered,of,share,low,high,labelled,labels"
    assert row.split(",")[4] == EXPRESSIONS[0] and row.endswith(",,")
