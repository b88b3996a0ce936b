"""The annotation page, and the tables beside it."""

import csv
import io
import re
from pathlib import Path

from click.testing import CliRunner

from twfer_dist.cli.main import main
from twfer_dist.core.schema import FACES, PHOTOGRAPHS
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact


def test_the_page_shows_every_face_and_photograph(faces: Artifact, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["inspect", str(Path(faces.uri).parent), "--html", str(tmp_path / "page.html")])
    assert result.exit_code == 0 and "with --corrections corrections.csv added" in result.stdout
    text = (tmp_path / "page.html").read_text()
    rows = faces.table("faces", FACES).to_pylist()
    assert re.findall(r'<figure data-id="([^"]+)"', text) == [row["face_id"] for row in rows]
    assert text.count("<circle") == 68 * len(rows) and text.count("data:image/jpeg") == len(rows)
    assert "with --corrections corrections.csv added" in text
    assert "blank.png" in text and "unreadable" in text and "http" not in text  # nothing is fetched from elsewhere


def test_both_tables_exist_as_csv_too(faces: Artifact) -> None:
    for name, schema, key in (("faces", FACES, "face_id"), ("photographs", PHOTOGRAPHS, "photo_id")):
        rows = list(csv.DictReader(io.StringIO(storage.read_bytes(faces.path(f"{name}.csv")).decode("utf-8-sig"))))
        assert [row[key] for row in rows] == faces.table(name, schema)[key].to_pylist()
        assert {row["status"] for row in rows} == set(faces.manifest.counts[name]) and rows[0]["group material"]
    assert faces.results["corpora"]["photographs"]["photographs"] == 7


def test_a_page_of_another_stage_is_refused(faces: Artifact, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    text = storage.read_bytes(faces.path("_manifest.json")).decode().replace('"stage": "faces"', '"stage": "dataset"')
    (tmp_path / "other" / "_manifest.json").write_text(text)
    result = CliRunner().invoke(main, ["inspect", str(tmp_path / "other"), "--html", str(tmp_path / "page.html")])
    assert result.exit_code == 2 and "the output of stage 'dataset'" in result.stderr
