"""Summaries of outputs: how many rows of each status, and which."""

from pathlib import Path

import pyarrow as pa
import pytest
from engine_stages import TABLES, Config, numbers_spec

from twfer_dist.core.errors import UserError
from twfer_dist.engine.inspect import EXAMPLES, inspect, is_output, planned_rows
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import run_stage


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


def test_a_folder_that_is_not_an_output_is_refused(tmp_path: Path) -> None:
    assert not is_output(str(tmp_path))
    with pytest.raises(UserError, match="is not an output of a stage: name one, such as a folder that `twfer status`"):
        inspect(str(tmp_path))
