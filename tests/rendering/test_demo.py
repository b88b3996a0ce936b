"""The rendered corpora that ship with the package."""

import csv
from collections import Counter
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from twfer_dist.corpus.corpus import open_corpus
from twfer_dist.rendering import plan

DEMO = Path(str(resources.files("twfer_dist") / "demo"))


def test_the_shipped_corpora_are_complete() -> None:
    tw58, postures = open_corpus(str(DEMO / "tw58")), open_corpus(str(DEMO / "postures"))
    assert (
        tw58.notes["photographs"],
        tw58.notes["figures"],
        tw58.notes["missing"],
        tw58.notes["images_not_named"],
    ) == (406, 58, 0, 0)
    assert tw58.notes["action_units"] == 0 and 0 < tw58.notes["ties_without_label"] < 25
    groups = [dict(row) for row in postures.table["groups"].to_pylist()]
    assert Counter(g["posture"] for g in groups) == plan.POSTURE_FIGURES
    assert postures.notes["missing"] == 0 and postures.notes["action_units"] == 0
    assert Counter(tw58.table["label"].to_pylist()).keys() >= set(range(1, 8))
    assert sum(file.stat().st_size for file in DEMO.rglob("*") if file.is_file()) < 15_000_000
    assert "USC Institute for Creative Technologies" in (DEMO / "LICENSE.ict-facekit").read_text()


@pytest.mark.parametrize("name", ["tw58", "postures"])
def test_the_shipped_points_lie_on_the_face(name: str) -> None:
    for row in csv.DictReader((DEMO / name / "landmarks.csv").open()):
        points = np.array([[float(row[f"x_{k}"]), float(row[f"y_{k}"])] for k in range(68)])
        assert points.min() > 0 and points.max() < 288
        assert points[36:48, 1].max() < points[48:, 1].min()  # eyes above mouth
