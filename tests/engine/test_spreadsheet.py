"""Tables as CSV for spreadsheets."""

import csv
import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from twfer_dist.core.schema import FACES, PHOTOGRAPHS
from twfer_dist.core.taxonomy import ACTION_UNITS
from twfer_dist.engine.spreadsheet import group_names, rows_to_csv, write_csv

ROWS: list[dict[str, Any]] = [{"face_id": "a-00", "rank": 0, "path": '=HYPERLINK("x")\n脸.jpg', "label": 3,
    "groups": [("pit", "-1")], "image": b"picture", "action_units": [k / 4 for k in range(17)],
    "landmarks68": [[k, k + 0.5] for k in range(68)], "pose": [1.0, -2.0, 3.0], "status": "ok", "error":
    "", "note": "", }, {"face_id": "b-00", "groups": [("posture", "general")], "status": "low_quality"},
    ]  # fmt: skip


def table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist([{name: row.get(name) for name in FACES.names} for row in rows], schema=FACES)


def read(path: Path) -> list[dict[str, str]]:
    data = path.read_bytes()
    assert data.startswith(b"\xef\xbb\xbf")  # by which Excel recognises UTF-8
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"))))


def test_faces_are_flat_without_pictures_or_formulas(tmp_path: Path) -> None:
    whole = table(ROWS)
    write_csv(str(tmp_path / "one.csv"), FACES, [whole], group_names(whole["groups"]))
    write_csv(str(tmp_path / "parts.csv"), FACES, [whole.slice(0, 1), whole.slice(1)], ["pit", "posture"])
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "parts.csv").read_bytes()
    first, second = read(tmp_path / "one.csv")
    assert first["path"] == '\'=HYPERLINK("x")\n脸.jpg' and first["label"] == "disgust"
    assert (first["group pit"], first["group posture"], second["group posture"]) == ("'-1", "", "general")
    assert [float(first[unit]) for unit in ACTION_UNITS] == [k / 4 for k in range(17)] and second["AU01"] == ""
    assert (first["x_67"], first["y_67"], first["pitch"], second["status"]) == ("67", "67.5", "-2", "low_quality")
    assert "image" not in first and "picture" not in (tmp_path / "one.csv").read_text(encoding="utf-8-sig")


def test_a_table_without_rows_has_its_header(tmp_path: Path) -> None:
    write_csv(str(tmp_path / "none.csv"), PHOTOGRAPHS, [], ["posture"])
    (header,) = (tmp_path / "none.csv").read_text(encoding="utf-8-sig").splitlines()
    assert {'"photo_id"', '"group posture"', '"note"'} <= set(header.split(",")) and "thumbnail" not in header
    assert rows_to_csv(["model", "k"], []) == b"\xef\xbb\xbfmodel,k\n"


@pytest.mark.parametrize("word", ["=1+1", "+1", "-1", "@x", "\tx"])
def test_cells_that_would_run_as_formulas_are_quoted(word: str) -> None:
    assert f"'{word}" in rows_to_csv(["group"], [{"group": word}]).decode()
