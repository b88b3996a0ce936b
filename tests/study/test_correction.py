"""What the shares of a study are corrected by, and what the page says about it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from study_errors import face_counts, held_out, rates

from twfer_dist.recognition.calibration import confusion_from
from twfer_dist.study.correction import BOTH, HELD_OUT, LABELLED, choose, why


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    """The errors that a training recorded on 420 held-out images."""
    return held_out(rates([0.85] * 7), 20, 3, np.random.default_rng(5)).as_dict()


def test_a_record_of_errors_survives_json(record: dict[str, Any]) -> None:
    assert confusion_from(record).as_dict() == record


def test_held_out_images_correct_where_no_face_has_a_label(tmp_path: Path, record: dict[str, Any]) -> None:
    chosen, used = choose(face_counts(tmp_path, 0, 0.85), record)
    assert chosen.by == HELD_OUT and used and chosen.test is None
    assert "which no labelled face here can confirm" in why(chosen)


def test_labels_that_agree_are_added(tmp_path: Path, record: dict[str, Any]) -> None:
    chosen, used = choose(face_counts(tmp_path, 140, 0.85), record)
    assert chosen.by == BOTH and used and used.counts.sum() == record["images"] + 140
    assert "on the 140 labelled faces here. The two do not contradict each other" in why(chosen)


def test_labels_that_contradict_take_over(tmp_path: Path, record: dict[str, Any]) -> None:
    chosen, used = choose(face_counts(tmp_path, 140, 0.2), record)
    assert chosen.by == LABELLED and chosen.contradicted and used and used.counts.sum() == 140
    assert "It recognises neutral in" in why(chosen) and "for its errors on the 140 labelled faces" in why(chosen)


def test_nothing_corrects_without_a_fitting_record(tmp_path: Path, record: dict[str, Any]) -> None:
    few, none = choose(face_counts(tmp_path, 28, 0.0), record)
    assert few.contradicted and few.by is None and none is None
    assert "too few labelled faces" in why(few) and "no interval is claimed" in why(few)
    foreign, none = choose(face_counts(tmp_path, 0, 0.85, status="out_of_distribution"), record)
    assert foreign.foreign and foreign.by is None and none is None
    assert "186 of the 280 faces with an answer are out of distribution" in why(foreign)
    unknown, none = choose(face_counts(tmp_path, 0, 0.85), None)
    assert unknown.by is None and none is None and "is not known" in why(unknown)
