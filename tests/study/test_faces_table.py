"""faces.csv of a report: a row for every face and for every photograph without one."""

from pathlib import Path

import pytest
from report_pages import csv_of, report_on
from study_roads import PAPER, make_road
from study_tables import NASTY, make_faces, make_predictions, output

from twfer_dist.core.schema import FACES, PHOTOGRAPHS
from twfer_dist.core.taxonomy import ACTION_UNITS, EXPRESSIONS
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.reading.reader import NAME as READER
from twfer_dist.study import faces_table


def roads(out: str, faces: Artifact) -> list[Artifact]:
    return [
        make_road(out, faces, READER, {k: (4, 0.9) if k % 2 else (5, 0.4) for k in range(8)}),
        make_road(out, faces, PAPER, dict.fromkeys(range(1, 9), (4, 0.8))),
    ]


def test_every_face_and_photograph_has_a_row(tmp_path: Path) -> None:
    faces = make_faces(str(tmp_path), figures=9)
    report = report_on(str(tmp_path), faces, *roads(str(tmp_path), faces))
    rows = csv_of(report, "faces.csv")
    assert storage.read_bytes(report.path("tables/faces.csv")).startswith(b"\xef\xbb\xbf")
    ends = [f"{unit}_{end}" for unit in ACTION_UNITS for end in ("low", "high")]
    assert list(rows[0]) == ["path", "figure_id", "label", "status", "reason", "reader", "reader_accepted",
        "reader_reason", "reader_relative", *(f"p_{e}" for e in EXPRESSIONS), "paper", "paper_accepted", *ACTION_UNITS,
        *ends, "yaw", "pitch", "roll", "face_id", "corpus", "group number", "group posture"]  # fmt: skip
    paths = [row["path"] for row in rows]
    assert paths == sorted(paths) and len(paths) == 11 and NASTY in paths
    by_path = {row["path"]: row for row in rows}
    sure, unsure, unread = (by_path[f"figure {k:03d}.jpg"] for k in (1, 2, 8))
    assert [sure[c] for c in ("label", "status", "reader", "reader_accepted", "reader_reason", "p_happiness")] == [
        "fear", "ok", "happiness", "1", "AU04 2.0 ± 0.5", "0.9"]  # fmt: skip
    assert [unsure[c] for c in ("status", "reason", "reader", "reader_accepted", "reader_relative", "paper")] == [
        "low_confidence", "unsure", "sadness", "0", "neutral", "happiness"]  # fmt: skip
    assert [unread[c] for c in ("status", "reader", "reader_accepted", "p_fear", "paper")] == [
        "low_quality", "", "0", "", "happiness"]  # fmt: skip
    vase = by_path["vase.jpg"]
    assert (vase["status"], vase["reason"], vase["reader"], vase["AU01"]) == ("no_face", "no face was found", "", "")


def test_measurements_and_formulas(tmp_path: Path) -> None:
    shared = {"photo_id": "p", "corpus": "c", "path": "=1+1.jpg", "figure_id": "f", "groups": [], "status": "ok"}
    units = {"action_units": [4.8] + [0.2] * 16, "action_units_half_width_90": [0.5] * 17, "pose": [10.04, -3.0, 1.0]}
    tables = {
        "photographs": (PHOTOGRAPHS, [{**shared, "faces": 1}]),
        "faces": (FACES, [{**shared, **units, "face_id": "p-00", "rank": 0}]),
    }
    faces = output(str(tmp_path), "faces", tables, detector="drawn")
    (row,) = csv_of(report_on(str(tmp_path), faces), "faces.csv")
    assert row["path"] == "'=1+1.jpg" and "reader" not in row and "p_fear" not in row
    assert [row[c] for c in ("AU01", "AU01_low", "AU01_high", "AU45_low", "AU45_high", "yaw", "pitch")] == [
        "4.8", "4.3", "5", "0", "0.7", "10", "-3"]  # fmt: skip


def test_parts_give_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faces = make_faces(str(tmp_path), figures=9)
    predictions = roads(str(tmp_path), faces)
    whole = storage.read_bytes(report_on(str(tmp_path / "whole"), faces, *predictions).path("tables/faces.csv"))
    monkeypatch.setattr(faces_table, "ROWS", 4)
    assert storage.read_bytes(report_on(str(tmp_path / "parts"), faces, *predictions).path("tables/faces.csv")) == whole


def test_another_model_is_named_in_a_column(tmp_path: Path) -> None:
    faces = make_faces(str(tmp_path), figures=9)
    rows = csv_of(report_on(str(tmp_path), faces, make_predictions(str(tmp_path), [faces], "ARM", 1.0)), "faces.csv")
    first = next(row for row in rows if row["path"] == "figure 001.jpg")
    assert (first["model"], first["answer"]) == ("ARM", "fear") and "reader" not in first and "paper" not in first
