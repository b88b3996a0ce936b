"""`twfer inspect` and `twfer status`: what a person sees of outputs."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from study_tables import output

from twfer_dist.cli.main import main
from twfer_dist.cli.terminal import print_results, print_stage
from twfer_dist.core.schema import FACES, PHOTOGRAPHS
from twfer_dist.engine.artifact import OutputFile
from twfer_dist.engine.config import Lines
from twfer_dist.engine.inspect import inspect
from twfer_dist.recipe.recipe import Outcome, Stage
from twfer_dist.recipe.status import find_faces


def twfer(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def test_inspect_prints_counts_and_examples(tmp_path: Path) -> None:
    rows = [{"photo_id": f"p{k}", "status": status} for k, status in enumerate(("ok", "no_face", "ok"))]
    made = output(str(tmp_path), "faces", {"photographs": (PHOTOGRAPHS, rows)})
    printed = twfer("inspect", made.uri, "--json")
    assert printed.exit_code == 0 and json.loads(printed.stdout) == inspect(made.uri)
    printed = twfer("inspect", made.uri)
    assert "photographs: 3" in printed.stdout and "1  no_face\n" in printed.stdout and "p1" in printed.stdout


def test_status_shows_how_far_an_unfinished_stage_is(tmp_path: Path) -> None:
    shard = tmp_path / "faces-0123456789ab" / "_work" / "photographs"

    shard.mkdir(parents=True)
    rows = [{"photo_id": f"p{k}", "status": status} for k, status in enumerate(("ok", "no_face"))]
    whole = output(str(tmp_path / "elsewhere"), "faces", {"photographs": (PHOTOGRAPHS, rows)})
    (Path(whole.uri) / "photographs" / "part-00000.parquet").rename(shard / "shard-000000.parquet")
    (shard.parent / "plan").mkdir()
    pq.write_table(pa.table({"photo_id": ["p0", "p1", "p2"]}), shard.parent / "plan" / "plan-00000.parquet")
    printed = twfer("status", tmp_path).stdout
    assert re.search(r"unfinished faces .* 2 photographs \(1 no_face\), of 3 planned", printed)


def test_the_folder_of_a_recipe_lists_its_stages(tmp_path: Path) -> None:
    folder = tmp_path / "a run"
    faces = [{"face_id": "a", "status": "ok"}]
    made = output(str(folder), "faces", {"faces": (FACES, faces), "photographs": (PHOTOGRAPHS, [])})
    inspected, status = twfer("inspect", folder), twfer("status", folder)
    assert inspected.exit_code == 0 and made.name in inspected.stdout and inspected.stdout == status.stdout
    assert find_faces(str(folder)) == made.uri
    other = output(str(folder), "faces", {"faces": (FACES, [{"face_id": "b"}]), "photographs": (PHOTOGRAPHS, [])})
    refused = twfer("inspect", folder, "--html", tmp_path / "page.html")
    assert refused.exit_code == 2 and other.uri in refused.stderr
    assert "holds 2 outputs of faces: name one of them: " in refused.stderr
    output(str(tmp_path / "none"), "dataset", {})
    refused = twfer("inspect", tmp_path / "none", "--html", tmp_path / "page.html")
    assert refused.exit_code == 2
    assert "holds no finished output of faces: run its stage of kind faces first." in refused.stderr


def test_outputs_of_another_version_are_listed_not_read(tmp_path: Path) -> None:
    older = output(str(tmp_path), "faces", {"faces": (FACES, [{"face_id": "a"}]), "photographs": (PHOTOGRAPHS, [])})
    manifest = Path(older.uri) / "_manifest.json"
    values = json.loads(manifest.read_text())
    del values["build_id"]
    manifest.write_text(json.dumps(values))
    made = output(str(tmp_path), "faces", {"faces": (FACES, [{"face_id": "b"}]), "photographs": (PHOTOGRAPHS, [])})
    printed = twfer("status", tmp_path).stdout
    assert f"outdated  faces              {older.name}" in printed
    assert "1 finished, 0 unfinished, 1 of another version" in printed
    assert find_faces(str(tmp_path)) == made.uri


def test_each_table_has_counts_and_few_images_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photographs = [{"photo_id": f"{k}", "status": s} for k, s in enumerate(("ok", "ok", "no_face"))]
    faces = [{"face_id": f"{k}", "status": s} for k, s in enumerate(("ok", "low_quality"))]
    made = output(str(tmp_path), "faces", {"photographs": (PHOTOGRAPHS, photographs), "faces": (FACES, faces)})
    images = tuple(OutputFile(name, sha256="") for name in ("b.png", "c.png", "a.jpg", "z.png", "sheet.jpg"))
    made = replace(made, manifest=replace(made.manifest, files=images))
    outcome = Outcome(Stage("faces", "faces", {}, Lines()), "made", made)
    print_stage(outcome.summary())
    print_results(outcome)
    first, *named = capsys.readouterr().out.splitlines()
    assert first.endswith("3 photographs (1 no_face), 2 faces (1 low_quality)")
    assert [line.split("/")[-1] for line in named[:3]] == ["sheet.jpg", "a.jpg", "b.png"]
    assert "and 2 more in" in named[3]


def test_a_folder_that_is_not_an_output_is_one_sentence(tmp_path: Path) -> None:
    refused = twfer("inspect", tmp_path)
    sentence = f"{tmp_path} is not an output of a stage: name one, such as a folder that `twfer status` lists."
    assert refused.exit_code == 2 and refused.stderr == f"twfer: {sentence}\n"
