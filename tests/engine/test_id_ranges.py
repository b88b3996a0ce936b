"""Outputs read in ranges of ids, and images known by their digests."""

import hashlib
from pathlib import Path

import pyarrow as pa
import pytest

from twfer_dist.core import schema
from twfer_dist.core.status import OK
from twfer_dist.engine import compaction, storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.id_ranges import IdRange, IdTable, id_ranges, read_range
from twfer_dist.engine.input_plan import PlannedInput, plan_inputs
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.shards import Step
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import run_stage

PICTURES = schema.stamped(("id", pa.string()), ("image", pa.binary()), ("status", pa.string()))


def with_image(plan: pa.Table) -> pa.Table:
    """Every fifth row has none."""
    images = [None if int(row_id) % 5 == 0 else row_id.encode() * 20 for row_id in plan["id"].to_pylist()]
    columns = {"image": pa.array(images, pa.binary()), "status": pa.array([OK] * len(plan))}
    return pa.table({"id": plan["id"], **columns})


def pictures(out: Path, numbers: range, *, mapped: bool) -> IdTable:
    """A stage's pictures, made by workers or written by the driver, as earlier versions did: without digests."""
    plan = pa.table({"id": [f"{k:04d}" for k in numbers]})

    def do(output: StageOutput) -> None:
        if mapped:
            output.map(plan, [Step(with_image)], rows_per_shard=8)
        else:
            output.write_table(".", with_image(plan))

    config = {"numbers": str(numbers), "mapped": mapped}
    return IdTable(run_stage(StageSpec("pictures", 1, {}, config, {}, {".": PICTURES}, do), str(out)), ".", PICTURES)


@pytest.fixture
def even(ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> IdTable:
    """In several files."""
    monkeypatch.setattr(compaction, "TARGET_ROW_GROUP_BYTES", 500)
    monkeypatch.setattr(compaction, "TARGET_FILE_BYTES", 1000)
    return pictures(tmp_path, range(0, 120, 2), mapped=True)


def digests(rows: pa.Table) -> dict[str, bytes | None]:
    return dict(zip(rows["id"].to_pylist(), rows["image_digest"].to_pylist(), strict=True))


def files(output: Artifact, prefix: str) -> list[str]:
    return [file.path for file in output.manifest.files if file.path.startswith(prefix)]


def test_digests_are_those_of_the_images(even: IdTable, tmp_path: Path) -> None:
    assert len(files(even.output, "part-")) == len(files(even.output, "_digests-")) > 2
    written = pictures(tmp_path, range(0, 120, 2), mapped=False)
    assert files(written.output, "_digests-") == []
    columns = ["id", "image_digest", "image_bytes"]
    some = IdRange("0030", "0071")
    rows = read_range(even, columns, some)
    assert rows.equals(read_range(written, columns, some))
    assert rows["id"].to_pylist() == [f"{k:04d}" for k in range(30, 71, 2)]
    assert digests(rows)["0030"] is None and rows["image_bytes"][0].as_py() is None
    assert digests(rows)["0032"] == hashlib.blake2b(b"0032" * 20, digest_size=16).digest()


def test_digests_are_not_part_of_the_content(even: IdTable) -> None:
    """Or every output would change with an upgrade, and all that is made from it."""
    parts = [(file.path, file.sha256) for file in even.output.manifest.files if file.table]
    assert even.output.digest == storage.digest(parts)


def test_ranges_hold_every_row_once(even: IdTable, tmp_path: Path) -> None:
    odd = pictures(tmp_path, range(1, 60, 2), mapped=False)
    ranges = id_ranges([even, odd], rows=20)
    assert ranges[0].low == "" and ranges[-1].high is None and len(ranges) > 3
    for table in (even, odd):
        ids = [row_id for ids in ranges for row_id in read_range(table, ["id"], ids)["id"].to_pylist()]
        assert ids == table.output.table(".", PICTURES)["id"].to_pylist()


def test_a_plan_of_inputs_has_every_row_of_each(even: IdTable, tmp_path: Path) -> None:
    odd = pictures(tmp_path, range(1, 60, 2), mapped=False)
    plan = plan_inputs([PlannedInput(table, ["image", "status"]) for table in (even, odd)], all_columns)
    rows = pa.concat_tables(map(plan.make, plan.parts)).sort_by("image_id")
    assert rows["image_id"].to_pylist() == sorted(f"{k:04d}" for k in (*range(0, 120, 2), *range(1, 60, 2)))
    inputs = dict(zip(rows["image_id"].to_pylist(), rows["input"].to_pylist(), strict=True))
    assert inputs["0002"] == 0 and inputs["0003"] == 1
    assert len(rows["row_digest"].unique()) == len(rows) - sum(int(row_id) % 5 == 0 for row_id in inputs) + 1


def all_columns(rows: pa.Table) -> pa.Table:
    return rows
