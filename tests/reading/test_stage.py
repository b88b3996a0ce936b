"""The stage that reads expressions from measured faces."""

from typing import Any

import numpy as np
import pytest
from dataset_tables import faces_of

from twfer_dist.core.prototypes import prototype
from twfer_dist.core.schema import PREDICTIONS, READINGS, photo_id
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.stage import run_stage
from twfer_dist.reading.stage import LEAST_FIGURES, ReadConfig, read_spec

Row = dict[str, Any]


def face(corpus: str, k: int, units: Any, **more: Any) -> Row:
    photo = photo_id(corpus, f"{k}.jpg")
    row: Row = {"photo_id": photo, "face_id": f"{photo}-0", "rank": 0, "corpus": corpus, "path": f"{k}.jpg"}
    row |= {"figure_id": f"s{k}", "groups": [], "status": "ok", "error": "", "image": b"-"}
    width = None if units is None else [0.5] * 17
    return row | {"action_units": units, "action_units_half_width_90": width} | more


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> list[Artifact]:
    """A corpus of the seven prototypes, a face that says nothing, refused and unmeasured ones; and one whose faces all
    smile.
    """
    few = [face("few", k, prototype(name).tolist(), label=k + 1) for k, name in enumerate(EXPRESSIONS)]
    few.append(face("few", 7, [1.6] * 17, action_units_half_width_90=[3.0] * 17))
    few.append(face("few", 8, None, status="low_quality", error="too blurred"))
    few.append(face("few", 9, prototype("anger").tolist(), action_units_half_width_90=None))
    smile = (0.8 * prototype("happiness")).tolist()
    many = [face("many", k, smile) for k in range(LEAST_FIGURES)]
    out = tmp_path_factory.mktemp("faces")
    return [faces_of(out / "few", "few", few), faces_of(out / "many", "many", many)]


@pytest.fixture(scope="module")
def readings(faces: list[Artifact], ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return run_stage(read_spec(faces, ReadConfig()), str(tmp_path_factory.mktemp("read")), quiet=True)


def rows(readings: Artifact, corpus: str) -> dict[int, Row]:
    """The joined rows of both tables, by the number of the face."""
    predictions = {row["image_id"]: row for row in readings.table(".", PREDICTIONS).to_pylist()}
    joined = [predictions[row["face_id"]] | row for row in readings.table("readings", READINGS).to_pylist()]
    assert len(joined) == len(predictions)
    return {int(row["figure_id"][1:]): row for row in joined if row["corpus"] == corpus}


def test_every_face_gets_one_row_in_both_tables(readings: Artifact) -> None:
    few, many = rows(readings, "few"), rows(readings, "many")
    assert sorted(few) == list(range(10)) and len(many) == LEAST_FIGURES
    assert {row["model"] for row in few.values()} == {"reader"}


def test_prototypes_are_read_and_accepted(readings: Artifact) -> None:
    read = rows(readings, "few")
    assert [read[k]["predicted"] for k in range(7)] == list(range(1, 8))
    assert all(read[k]["status"] == "ok" and len(read[k]["intensities"]) == 7 for k in (0, 3, 5))


def test_a_face_that_says_nothing_is_not_accepted(readings: Artifact) -> None:
    read = rows(readings, "few")[7]
    assert read["status"] == "low_confidence" and "confidence is below" in read["error"] and read["predicted"]


def test_a_refused_face_keeps_its_reason(readings: Artifact) -> None:
    read = rows(readings, "few")[8]
    assert read["status"] == "low_quality" and read["error"] == "too blurred"
    assert read["predicted"] is None and read["reason"] == "" and read["intensities"] is None


def test_units_without_intervals_are_read_too(readings: Artifact) -> None:
    read = rows(readings, "few")[9]
    assert EXPRESSIONS[read["predicted"] - 1] == "anger" and "±" not in read["reason"]


def test_only_a_corpus_of_many_figures_is_read_relatively(readings: Artifact) -> None:
    few, many = rows(readings, "few"), rows(readings, "many")
    assert {row["relative_predicted"] for row in few.values()} == {None}
    assert {EXPRESSIONS[row["predicted"] - 1] for row in many.values()} == {"happiness"}
    assert {EXPRESSIONS[row["relative_predicted"] - 1] for row in many.values()} == {"neutral"}


def test_the_results_hold_what_corrects_shares(readings: Artifact) -> None:
    held_out = readings.results["held_out"]
    assert np.array(held_out["confusion"]).shape == (7, 7) and held_out["figures"] > 1
    assert list(readings.results["median_faces"]) == ["many"]
