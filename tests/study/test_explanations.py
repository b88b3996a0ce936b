"""The check of explanations where the truth is known, by hand, and the section of the report."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from report_pages import csv_of, json_of, report_on, words_of
from study_roads import make_road
from study_tables import make_faces, output

from twfer_dist.core.schema import FACES
from twfer_dist.core.taxonomy import ACTION_UNITS
from twfer_dist.explanation.tables import EXPLANATIONS
from twfer_dist.reading.reader import NAME as READER
from twfer_dist.study.explanations import check_maps, check_units, overlay

PLACES = 28 * 28
HAPPINESS, NEUTRAL = 4, 7


def row(**changed: Any) -> dict[str, Any]:
    return dict.fromkeys(EXPLANATIONS.names) | {"explained": HAPPINESS, "status": "ok"} | changed


def mapped(inside: float, random: float) -> dict[str, Any]:
    """A face of which the first quarter moved, with so much of the map and of the random map there."""
    moved = np.arange(PLACES) < PLACES // 4
    noise = np.random.default_rng(0).uniform(0.5, 1.5, PLACES)
    maps = [np.where(moved, part / 0.25, (1 - part) / 0.75) * noise for part in (inside, random)]
    return row(map=maps[0].tolist(), random_map=maps[1].tolist(), moved=moved.astype(float).tolist())


def test_a_map_that_lies_where_the_face_moved_passes() -> None:
    rows = [mapped(0.6 + 0.02 * (k % 5), 0.3) for k in range(20)]
    found = check_maps(rows, np.array([f"f{k // 2}" for k in range(20)]))
    assert found and found.passed and (found.faces, found.figures) == (20, 10)
    assert found.inside.value == pytest.approx(0.64, abs=0.02) and found.area == 0.25
    assert found.random == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize(("inside", "random"), [(0.25, 0.2), (0.4, 0.4)])
def test_a_map_no_better_than_a_senseless_one_fails(inside: float, random: float) -> None:
    """As much as the area, or as much as random weights."""
    rows = [mapped(inside + 0.05 * (-1) ** k, random) for k in range(20)]
    found = check_maps(rows, np.array([f"f{k}" for k in range(20)]))
    assert found and not found.passed


def test_the_strongest_unit_is_truly_raised_or_not() -> None:
    """Of four faces with an expression, AU12 was raised in three; the neutral answer does not count."""
    smile, other = np.eye(17)[ACTION_UNITS.index("AU12")], np.eye(17)[0]
    rows = [row(contributions=smile.tolist(), rendered=(3 * units).tolist()) for units in (smile, smile, smile, other)]
    rows.append(row(contributions=smile.tolist(), rendered=(3 * other).tolist(), explained=NEUTRAL))
    found = check_units(rows, np.array(list("abcde")))
    assert found and (found.raised["k"], found.raised["n"]) == (3, 4) and found.by_chance == round(1 / 17, 4)
    assert found.passed


def test_nothing_is_checked_without_rendered_faces() -> None:
    rows, named = [row(map=[1.0] * PLACES, random_map=[1.0] * PLACES, contributions=[0.1] * 17)], np.array(["a"])
    assert check_maps(rows, named) is None and check_units(rows, named) is None


def test_an_overlay_is_orange_for_and_blue_against() -> None:
    values = np.zeros((28, 28), np.float32)
    values[:, :9], values[:, 19:] = 1, -1
    left, middle, right = (
        np.array(overlay(Image.new("RGB", (90, 90), "grey"), values.ravel()))[45, x] for x in (10, 45, 80)
    )
    assert left[0] > left[2] + 80 and right[2] > right[0] + 80 and np.ptp(middle) == 0


def test_the_report_says_what_the_answers_rest_on(tmp_path: Path) -> None:
    faces = make_faces(str(tmp_path), figures=12)
    read = make_road(str(tmp_path), faces, READER, dict.fromkeys(range(12), (HAPPINESS, 0.9)))
    parts = np.eye(17)[ACTION_UNITS.index("AU12")] * 0.5 - np.eye(17)[0] * 0.1
    rows = [
        row(image_id=face["face_id"], model=READER, corpus=face["corpus"], figure_id=face["figure_id"], shown=k < 3)
        | {"contributions": parts.tolist(), "at_rest": 0.05, "error": ""}
        | {"rendered": (np.eye(17)[ACTION_UNITS.index("AU12")] * 3).tolist()}
        for k, face in enumerate(faces.table("faces", FACES).to_pylist())
    ]
    explained = output(str(tmp_path), "explain-answers", {".": (EXPLANATIONS, rows)}, [read, faces])
    report = report_on(str(tmp_path), faces, read, explanations=[explained])
    words = words_of(report)
    assert "For it: lip corners pulled (AU12, +0.50). Against it: inner brows raised (AU01, −0.10)." in words
    assert "was truly raised in 12 of 12 (100.0 %, 95 % interval" in words
    assert len(json_of(report)["explained_faces"]) == 3
    assert [r["check"] for r in csv_of(report, "explanation_checks.csv")] == ["strongest unit truly raised"]
