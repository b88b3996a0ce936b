"""Summaries of outputs: how many rows of each status, and which."""

import shutil
from contextlib import AbstractContextManager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from engine_stages import TABLES, Config, numbers_spec

from twfer_dist.core.errors import UserError
from twfer_dist.engine import storage
from twfer_dist.engine.inspect import EXAMPLES, inspect, is_output, planned_rows
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import run_stage
from twfer_dist.recipe.status import recipe_status


def test_rows_are_counted_by_status_with_examples(tmp_path: Path) -> None:
    failed = [f"{i:02d}" for i in range(0, 30, 5)]
    ids = [f"{i:02d}" for i in range(30)]
    status = ["multiple_of_five" if row_id in failed else "ok" for row_id in ids]

    def do(output: StageOutput) -> None:
        output.write_table("numbers", pa.table({"id": ids, "value": list(range(30)), "status": status}))
        output.write_table("digits", TABLES["digits"].empty_table())

    summary = inspect(run_stage(StageSpec("numbers", 1, {}, {}, {}, TABLES, do), str(tmp_path)).uri)
    assert summary["state"] == "finished" and list(summary["tables"]) == ["numbers"]  # digits have no status
    numbers = summary["tables"]["numbers"]
    assert numbers["rows"] == 30 and numbers["counts"] == {"ok": 24, "multiple_of_five": 6}
    assert numbers["examples"] == {"multiple_of_five": [{"id": row_id, "error": ""} for row_id in failed[:EXAMPLES]]}


def test_an_unfinished_output_is_inspected(ray_cluster: None, tmp_path: Path) -> None:
    spec = numbers_spec(Config(rows=40))

    def stop(output: StageOutput) -> None:
        spec.do(output)
        raise UserError("interrupted: start again.")

    with pytest.raises(UserError):
        run_stage(StageSpec("numbers", 1, {}, {}, {}, TABLES, stop), str(tmp_path))
    (directory,) = map(str, tmp_path.iterdir())
    summary = inspect(directory)
    failed = sum((2 * i + 1) % 7 == 0 for i in range(40))
    assert summary["state"] == "unfinished"
    assert summary["tables"]["numbers"]["counts"] == {"ok": 40 - failed, "multiple_of_seven": failed}
    assert planned_rows(directory) == 40


def test_a_run_may_end_while_it_is_looked_at(
    ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its shards are listed, and before the first is opened the run writes its manifest and deletes them."""
    spec = numbers_spec(Config(rows=40))

    def stop(output: StageOutput) -> None:
        spec.do(output)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_stage(StageSpec("numbers", 1, {}, {}, {}, TABLES, stop), str(tmp_path / "out"))
    finished, real = run_stage(spec, str(tmp_path / "finished")), storage.open_parquet
    (directory,) = (tmp_path / "out").glob("numbers-*")

    def end(uri: str) -> AbstractContextManager[pq.ParquetFile]:
        if (directory / "_work").exists():
            shutil.copytree(finished.uri, directory, dirs_exist_ok=True)
            shutil.rmtree(directory / "_work")
        return real(uri)

    shutil.copytree(directory, tmp_path / "other" / directory.name)
    monkeypatch.setattr(storage, "open_parquet", end)
    assert inspect(str(directory)) == inspect(finished.uri) | {"output": str(directory)}
    directory = tmp_path / "other" / directory.name
    (listed,) = recipe_status(str(directory.parent))["stages"]
    assert listed["state"] == "finished" and listed["rows"]["numbers"] == 40


def test_a_folder_that_is_not_an_output_is_refused(tmp_path: Path) -> None:
    assert not is_output(str(tmp_path))
    with pytest.raises(UserError, match="is not an output of a stage: name one, such as a folder that `twfer status`"):
        inspect(str(tmp_path))
