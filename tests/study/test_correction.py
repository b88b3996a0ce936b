"""What the shares of a study are corrected by."""

import numpy as np
import pyarrow as pa
import pytest
import study_tables
from study_tables import images_of, make_faces, make_training, output
from twfer_dist.core.intervals import design_effect, effective_size, share, simultaneous
from twfer_dist.core.schema import PREDICTIONS
from twfer_dist.core.status import OK
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.engine import storage
from twfer_dist.engine.stage import run_stage
from twfer_dist.recognition import train_stage
from twfer_dist.recognition.calibration import Confusion, confusion, confusion_from
from twfer_dist.recognition.training import Answers, TrainConfig
from twfer_dist.study import correction, groups, metrics
from twfer_dist.study.report import ReportConfig, report_job
from twfer_dist.study.shares import agreement, corrected, solve




def test_what_corrects_the_shares_is_chosen_and_said(tmp_path):
    record = held_out(rates([0.85] * 7), 20, 3, np.random.default_rng(5)).as_dict()
    assert confusion_from(record).as_dict() == record
    told, used = correction.choose(faces(tmp_path, 0, 0.85), record)
    assert (
        told["by"] == correction.HELD_OUT
        and used
        and told["test"] is None
        and "no labelled face here can confirm" in told["why"]
    )
    told, used = correction.choose(faces(tmp_path, 140, 0.85), record)
    assert told["by"] == correction.BOTH and used and used.counts.sum() == record["images"] + 140
    assert "on the 140 labelled faces here, which do not contradict each other" in told["why"]
    told, used = correction.choose(faces(tmp_path, 140, 0.2), record)
    assert told["by"] == correction.LABELLED and told["contradicted"] and used and used.counts.sum() == 140
    assert "neutral is read correctly in" in told["why"] and "by how it erred on the 140 labelled faces" in told["why"]
    told, used = correction.choose(faces(tmp_path, 28, 0.0), record)
    assert told["contradicted"] and told["by"] is None and used is None and "no interval is claimed" in told["why"]
    told, used = correction.choose(faces(tmp_path, 0, 0.85, sure="out_of_distribution"), record)
    assert told["foreign"] and told["by"] is None and used is None
    assert "186 of the 280 faces with an answer are unlike all that the model learned from" in told["why"]
    told, used = correction.choose(faces(tmp_path, 0, 0.85), None)
    assert told["by"] is None and used is None and "is not known" in told["why"]


def test_a_training_records_its_errors_on_new_figures_alone():
    def answered(labels: list[int], answers: list[int]) -> Answers:
        return Answers(np.eye(7, dtype=np.float32)[answers], np.array(labels), np.zeros((0, 2)), np.zeros(0))

    split = {
        "train": answered([0], [0]),
        "validation": answered([0, 1, 2], [0, 2, 2]),
        "test": answered([3, 4], [3, 3]),
    }
    names = {"train": ["a"], "validation": ["b", "b", "a"], "test": ["c", "a"]}
    record = train_stage._held_out(split, names)
    assert record and (record["images"], record["figures"]) == (3, 2)
    assert [record["confusion"][k][j] for k, j in ((0, 0), (1, 2), (3, 3), (2, 2), (4, 3))] == [1, 1, 1, 0, 0]
    assert (
        train_stage._held_out(
            split, dict.fromkeys(("validation", "test"), ["a"] * 3) | {"train": ["a"], "test": ["a", "a"]}
        )
        is None
    )
