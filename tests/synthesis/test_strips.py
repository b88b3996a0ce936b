"""The stage that shows the animation."""

from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest
from synthesis_tables import SIDE, animated_rows, artifact, drawn, face_rows, png

from twfer_dist.core.errors import UserError
from twfer_dist.core.schema import ANIMATED, FACES
from twfer_dist.corpus.corpus import open_corpus
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.stage import run_stage
from twfer_dist.synthesis.strips import StripsConfig, file_names, strips_spec


def test_strips_are_named_by_their_photograph() -> None:
    paths = [
        "pit 1/general #2.jpg",
        "PIT 1/General #2.png",
        "兵马俑/脸.jpg",
        "../-rf.png",
        "a" * 300 + ".jpg",
        "q.v1.jpg",
        "St. A/b 1.2",
    ]
    faces = [{"path": path, "rank": 0, "face_id": f"{k:016x}-00"} for k, path in enumerate(paths, 0x12345678 << 32)]
    names = file_names([*faces, {"path": "q.v1.jpg", "rank": 1, "face_id": "ff-01"}])
    assert names[:4] == ["pit-1-general-2-12345678", "PIT-1-General-2-12345678", "兵马俑-脸", "rf"]
    assert len(names[4]) <= 120 and names[5:] == ["q.v1", "St.-A-b-1.2", "q.v1-face-2"]


@pytest.fixture
def faces(tmp_path: Path) -> Artifact:
    """Two figures in photographs that are their crops."""
    rows = [row | {"crop_matrix": [1.0, 0, 0, 0, 1, 0]} for row in face_rows(2)]
    image = png(drawn(0, np.zeros(17)))
    rows = [row | {"image": image} if row["label"] == 7 and row["status"] == "ok" else row for row in rows]
    return artifact(str(tmp_path), "faces", "faces", pa.Table.from_pylist(rows, schema=FACES), FACES)


@pytest.fixture
def animated(faces: Artifact, tmp_path: Path) -> Artifact:
    """Both figures animated from two references of each expression at two levels."""
    rows = [row for row in faces.table("faces", FACES).to_pylist() if row["label"] == 7 and row["status"] == "ok"]
    table = pa.Table.from_pylist([one for row in rows for one in animated_rows(row)], schema=ANIMATED)
    return artifact(str(tmp_path), "animate", ".", table, ANIMATED)


def test_each_figure_gets_a_strip_a_gif_and_photographs(animated: Artifact, faces: Artifact, tmp_path: Path) -> None:
    for figure in range(2):
        (tmp_path / "drawn" / str(figure)).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "drawn" / str(figure) / "neutral.png"), drawn(figure, np.zeros(17)))
    corpus = open_corpus(str(tmp_path / "drawn"))
    spec = strips_spec([animated], [faces], StripsConfig(side=48), corpora=[corpus])
    shown = run_stage(spec, str(tmp_path), quiet=True)
    files = {file.path for file in shown.manifest.files}
    assert {file for file in files if file.endswith(".png")} == {"0-neutral.png", "1-neutral.png"}
    assert {"0-neutral.gif", "1-neutral.gif"} <= files
    for figure in range(2):
        strip = cv2.imread(shown.path(f"{figure}-neutral.png"))
        assert strip is not None and strip.shape == (7 * 48, 4 * 48, 3)
        assert strip[24, 2 * 48 + 24, 0] == 20 + 10 + 1  # surprise from the first reference, at the first level
        pasted = cv2.imread(shown.path(f"{figure}-neutral-surprise.jpg"))
        assert pasted is not None and pasted.shape == (SIDE, SIDE, 3)
    sheet = cv2.imread(shown.path("sheet.jpg"))
    assert sheet is not None and sheet.shape == (2 * 48, 8 * 48, 3)


def test_an_animated_face_that_is_not_given_is_refused(animated: Artifact, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is in none of the given faces"):
        run_stage(strips_spec([animated], [], StripsConfig()), str(tmp_path), quiet=True)


def test_nothing_animated_is_refused(faces: Artifact, tmp_path: Path) -> None:
    nothing = artifact(str(tmp_path), "animate", ".", ANIMATED.empty_table(), ANIMATED)
    with pytest.raises(UserError, match="holds no animated face"):
        run_stage(strips_spec([nothing], [faces], StripsConfig()), str(tmp_path), quiet=True)
