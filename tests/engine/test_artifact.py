"""Finished outputs read back: manifests and tables, also those of other versions of the program."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from engine_stages import NUMBERS

from twfer_dist.core import schema
from twfer_dist.core.errors import UserError
from twfer_dist.engine.artifact import MANIFEST, Artifact, open_artifact
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import run_stage


@pytest.fixture
def numbers(tmp_path: Path) -> Artifact:
    ids = [f"{k:05d}" for k in range(200)]
    table = pa.table({"id": ids, "value": list(range(200)), "status": ["ok"] * 200})

    def do(output: StageOutput) -> None:
        output.write_table("numbers", table)

    return run_stage(StageSpec("numbers", 1, {}, {}, {}, {"numbers": NUMBERS}, do), str(tmp_path))


def read_manifest(output: Artifact) -> dict[str, Any]:
    return json.loads((Path(output.uri) / MANIFEST).read_text())


def write_manifest(output: Artifact, values: dict[str, Any]) -> None:
    (Path(output.uri) / MANIFEST).write_text(json.dumps(values))


def test_rows_are_read_by_id(numbers: Artifact) -> None:
    some = numbers.table("numbers", NUMBERS, ids=["00150", "00003", "none"])
    assert some["id"].to_pylist() == ["00003", "00150"]


def test_a_table_of_another_stage_is_refused(numbers: Artifact) -> None:
    with pytest.raises(UserError, match="holds no table 'faces'"):
        numbers.table("faces", schema.FACES)
    with pytest.raises(UserError, match="no column 'face_id'"):
        numbers.table("numbers", schema.FACES)


def test_a_table_of_an_older_schema_names_the_remedy(numbers: Artifact) -> None:
    older = numbers.table("numbers", NUMBERS).replace_schema_metadata({b"twfer_schema": b"3"})
    pq.write_table(older, Path(numbers.uri) / "numbers" / "part-00000.parquet")
    one_sentence = r"schema version 3 and this program .* version \d+: (re)?run the stage.* or use the version [^.]*\.$"
    with pytest.raises(UserError, match=one_sentence):
        numbers.table("numbers", NUMBERS)


def test_an_older_manifest_names_the_remedy(numbers: Artifact) -> None:
    values = read_manifest(numbers)
    write_manifest(numbers, values | {"kept": values.pop("reused"), "mapped": values.pop("planned_table")})
    with pytest.raises(UserError) as raised:
        open_artifact(numbers.uri)
    assert str(raised.value) == (
        f"{numbers.uri}/_manifest.json was written by another version of twfer_dist, as it lacks 'planned_table': "
        "delete the directory and run the stage again, or use the version that wrote it."
    )


def test_unknown_keys_of_a_manifest_are_ignored(numbers: Artifact) -> None:
    values = read_manifest(numbers)
    files = [{**file, "later": 1} for file in values["files"]]
    write_manifest(numbers, values | {"later": {"a": 1}, "files": files})
    assert open_artifact(numbers.uri).manifest == numbers.manifest


def test_a_damaged_manifest_names_the_remedy(numbers: Artifact) -> None:
    for content in (b"{", b'{"stage": "num\xffbers"}'):
        (Path(numbers.uri) / MANIFEST).write_bytes(content)
        with pytest.raises(UserError, match=r"_manifest.json is not JSON \(.*\): delete the directory and run"):
            open_artifact(numbers.uri)


def test_an_unfinished_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a finished output"):
        open_artifact(str(tmp_path))
