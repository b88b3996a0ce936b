"""Rows that are retried or reused: the output is what a single run from scratch would have given."""

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from engine_stages import DIGITS, NUMBERS, TABLES, Config, FlakyReader, Input, doubled, numbers_spec
from s3_server import Server

from twfer_dist.core import schema
from twfer_dist.core.errors import UserError
from twfer_dist.core.status import OK
from twfer_dist.corpus.corpus import open_corpus
from twfer_dist.engine import artifact, compaction, log, stage, storage
from twfer_dist.engine.artifact import Artifact, Reused
from twfer_dist.engine.config import package_path
from twfer_dist.engine.digests import digest_ids
from twfer_dist.engine.map import MappedRows
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.reuse import keep_permanent
from twfer_dist.engine.shards import PlannedPart, ShardStore, Step
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import run_stage
from twfer_dist.faces.stage import FacesConfig, faces_spec

DISK_AND_S3 = pytest.mark.parametrize("place", ["disk", pytest.param("s3", marks=pytest.mark.long)])


class Source:
    """The ids that are out of reach, and those that were read since the last look."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "unreached"
        self.unreachable()

    def unreachable(self, *ids: str) -> None:
        self.file.write_text(" ".join(ids))

    def seen(self) -> list[str]:
        log = self.file.with_suffix(".seen")
        seen = sorted(log.read_text().split()) if log.exists() else []
        log.unlink(missing_ok=True)
        return seen

    def step(self) -> Step:
        return Step(FlakyReader, {"unreached": str(self.file)}, actors=1)

    def plain_job(self) -> StageSpec:
        """70 rows, none of them reusable."""
        return numbers_spec(Config(rows=70), step=self.step())

    def job(self, rows: int, *, changed: int | None = None, interrupted: bool = False) -> StageSpec:
        """`rows` reusable rows; the value of the row `changed` is another one."""
        ids = [f"{i:05d}" for i in range(rows)]
        plan = pa.table({"id": ids, "value": [-1 if i == changed else i for i in range(rows)]})

        def do(output: StageOutput) -> None:
            steps = [Step(doubled), self.step()]
            output.map(plan, steps, rows_per_shard=8, reuse_key_columns=["id", "value"])
            if interrupted:
                raise KeyboardInterrupt

        return StageSpec("numbers", 1, {"plan": Input(storage.digest([rows, changed]))}, {}, {}, TABLES, do)


@pytest.fixture
def source(ray_cluster: None, tmp_path: Path) -> Source:
    return Source(tmp_path)


@DISK_AND_S3
def test_only_failed_rows_are_retried(source: Source, s3: Server, tmp_path: Path, place: str) -> None:
    out = s3.uri("out") if place == "s3" else str(tmp_path / "out")
    spec = source.plain_job()
    healthy = run_stage(spec, str(tmp_path / "healthy"))
    source.unreachable("00000", "00017", "00018", "00069")
    failed = run_stage(spec, out)
    assert failed.manifest.counts["numbers"] == {OK: 66, "unreachable": 4}
    assert run_stage(spec, out).build_id == failed.build_id

    source.seen()
    source.unreachable("00018")
    retried = run_stage(spec, out, retry=True)
    assert source.seen() == ["00000", "00017", "00018", "00069"]
    assert retried.uri == failed.uri and retried.build_id != failed.build_id and retried.digest != failed.digest
    assert retried.manifest.counts["numbers"] == {OK: 69, "unreachable": 1}
    assert run_stage(spec, out, retry=True).build_id == retried.build_id  # nothing changed

    source.unreachable()
    whole = run_stage(spec, out, retry=True)
    assert whole.digest == healthy.digest
    source.seen()
    assert run_stage(spec, out, retry=True).build_id == whole.build_id and source.seen() == []
    kept = [folder for folder in storage.list_folders(out) if folder != whole.name]
    assert sorted(kept) == sorted(f"{whole.name}.replaced-{before.build_id}" for before in (failed, retried))
    old = artifact.open_artifact(storage.join(out, f"{whole.name}.replaced-{failed.build_id}"))
    assert old.table("numbers", NUMBERS)["status"].to_pylist().count("unreachable") == 4


def test_rows_that_failed_are_not_reused(source: Source, tmp_path: Path) -> None:
    """An input was out of reach while the earlier output was made, and is there now."""
    healthy = run_stage(source.job(12), str(tmp_path / "healthy"))
    source.unreachable("00003")
    first = run_stage(source.job(10), str(tmp_path / "out"))
    source.unreachable()
    source.seen()
    more = run_stage(source.job(12), str(tmp_path / "out"))
    assert source.seen() == ["00003", "00010", "00011"]
    assert more.manifest.reused == Reused(first.name, 9) and more.digest == healthy.digest


@DISK_AND_S3
@pytest.mark.long
def test_unchanged_rows_of_another_output_are_reused(
    source: Source, s3: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    # Several row groups and files, whose ends must not depend on what is reused.
    monkeypatch.setattr(compaction, "TARGET_ROW_GROUP_BYTES", 500)
    monkeypatch.setattr(compaction, "TARGET_FILE_BYTES", 1000)
    out = s3.uri("out") if place == "s3" else str(tmp_path / "out")
    healthy = run_stage(source.job(70, changed=7), str(tmp_path / "healthy"))
    first = run_stage(source.job(40), out)
    source.seen()
    more = run_stage(source.job(70, changed=7), out)
    assert source.seen() == ["00007", *(f"{i:05d}" for i in range(40, 70))]
    assert more.manifest.reused == Reused(first.name, 39) and more.digest == healthy.digest
    assert sum(file.path.startswith("numbers/") for file in more.manifest.files) > 1
    assert more.table("digits", DIGITS).equals(healthy.table("digits", DIGITS))

    fewer = run_stage(source.job(50, changed=7), out)
    assert source.seen() == [] and fewer.manifest.reused == Reused(more.name, 50)
    other = run_stage(dataclasses.replace(source.job(50, changed=7), config={"another": 1}), out)
    assert len(source.seen()) == 50 and other.manifest.reused is None


@pytest.mark.long
def test_an_interrupted_run_keeps_its_choice_of_rows(source: Source, tmp_path: Path) -> None:
    """Meanwhile an output appears that shares more rows; later the chosen output is deleted."""
    out = str(tmp_path / "out")
    healthy = run_stage(source.job(60), str(tmp_path / "healthy"))
    few = run_stage(source.job(20), out)
    with pytest.raises(KeyboardInterrupt):
        run_stage(source.job(60, interrupted=True), out)
    many = run_stage(source.job(50), out)
    source.seen()
    whole = run_stage(source.job(60), out)
    assert source.seen() == [] and whole.manifest.reused == Reused(few.name, 20) and whole.digest == healthy.digest

    shutil.rmtree(whole.uri)
    shutil.rmtree(many.uri)
    with pytest.raises(KeyboardInterrupt):
        run_stage(source.job(60, interrupted=True), out)
    shutil.rmtree(few.uri)
    source.seen()
    alone = run_stage(source.job(60), out)
    assert len(source.seen()) == 60 and alone.manifest.reused is None and alone.digest == healthy.digest


def first_table(tables: dict[str, pa.Table]) -> pa.Table:
    return tables["numbers"]


@pytest.mark.long
def test_a_planned_row_is_retried_without_its_relatives(source: Source, tmp_path: Path) -> None:
    """As the predictions for a face and for its animated images are."""
    ids = ["00000", "00000-1", "00000-2", "00001"]
    plan = pa.table({"id": ids, "value": [0, 1, 2, 3]})

    def do(output: StageOutput) -> None:
        output.map(plan, [source.step(), Step(first_table)], rows_per_shard=4)

    spec = StageSpec("numbers", 1, {}, {}, {}, {".": NUMBERS}, do)
    source.unreachable("00000-1")
    assert run_stage(spec, str(tmp_path / "out")).manifest.counts["."] == {OK: 3, "unreachable": 1}
    source.unreachable()
    retried = run_stage(spec, str(tmp_path / "out"), retry=True)
    assert retried.table(".", NUMBERS)["id"].to_pylist() == ids and retried.manifest.counts["."] == {OK: 4}


@pytest.mark.long
def test_no_rows_of_a_changed_output_are_reused(
    source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log.configure()
    source.unreachable("00003")
    few = run_stage(source.job(10), str(tmp_path / "out"))
    part = Path(few.uri) / "digits" / "part-00000.parquet"
    data = part.read_bytes()
    part.write_bytes(data[:40] + bytes([data[40] ^ 1]) + data[41:])
    assert run_stage(source.job(20), str(tmp_path / "out")).manifest.reused is None
    fault = f"{part} was changed since it was written"
    assert f"twfer: {fault}: no rows of {few.uri} are reused." in capsys.readouterr().err
    with pytest.raises(UserError, match=f"{fault}: delete {few.uri} and run again"):
        run_stage(source.job(10), str(tmp_path / "out"), retry=True)


@pytest.mark.long
def test_a_retry_killed_at_its_very_end_is_not_repeated(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, out = source.plain_job(), tmp_path / "out"
    source.unreachable("00017")
    failed = run_stage(spec, str(out))
    source.unreachable()

    def stop(directory: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(stage, "_retire", stop)
        run_stage(spec, str(out), retry=True)
    source.seen()
    assert run_stage(spec, str(out), retry=True).manifest.counts["numbers"] == {OK: 70}
    assert source.seen() == []
    replaced = f"{failed.name}.replaced-{failed.build_id}"
    assert sorted(path.name for path in out.iterdir()) == [failed.name, replaced]


def test_a_retry_of_another_build_starts_again(source: Source, tmp_path: Path) -> None:
    """The output is deleted after its retry was interrupted, and other rows fail when it is made again."""
    out, healthy = str(tmp_path / "out"), run_stage(source.job(10), str(tmp_path / "healthy"))
    source.unreachable("00003")
    failed = run_stage(source.job(10), out)
    source.unreachable()
    source.seen()
    for seen in (["00003"], []):  # of the same build it is resumed
        with pytest.raises(KeyboardInterrupt):
            run_stage(source.job(10, interrupted=True), out, retry=True)
        assert source.seen() == seen
    shutil.rmtree(failed.uri)
    source.unreachable("00005")
    run_stage(source.job(10), out)
    source.unreachable()
    assert run_stage(source.job(10), out, retry=True).digest == healthy.digest


def table(expected: pa.Schema, rows: Sequence[dict[str, object]]) -> pa.Table:
    return pa.Table.from_pylist([dict.fromkeys(expected.names) | row for row in rows], schema=expected)


def photographs(**statuses: str) -> pa.Table:
    return table(schema.PHOTOGRAPHS, [{"photo_id": row_id, "status": status} for row_id, status in statuses.items()])


def faces(*ids: str) -> pa.Table:
    return table(schema.FACES, [{"face_id": row_id, "groups": [("a", row_id)]} for row_id in ids])


def test_reused_and_computed_rows_are_merged_by_id(tmp_path: Path) -> None:
    """One photograph is unreachable, one has two faces, and one has none."""

    def do(output: StageOutput) -> None:
        output.write_table("photographs", photographs(a="ok", b="unreachable", c="no_face", d="ok"))
        output.write_table("faces", faces("a-00", "a-01", "d-00"))

    tables = {"photographs": schema.PHOTOGRAPHS, "faces": schema.FACES}
    before = run_stage(StageSpec("faces", 1, {}, {}, {}, tables, do), str(tmp_path))
    reuse = keep_permanent(before, "photographs", schema.PHOTOGRAPHS)
    plan = pa.table({"photo_id": ["a", "b", "c", "d"]})
    assert reuse.keeps(plan).to_pylist() == [True, False, True, True]

    store = ShardStore(str(tmp_path / "new"), tuple(tables.items()), 2, (PlannedPart(0, 4, "a", "d", to_compute=1),))
    storage.write_parquet(store.plan_file(0), plan, store.rows_per_shard)
    storage.write_parquet(store.rest_file(0), plan.slice(1, 1), store.rows_per_shard)
    computed = {"photographs": photographs(b="ok"), "faces": faces("b-00")}
    store.write(0, computed, digest_ids(store.planned(0)))
    rows = MappedRows(store, reuse)
    merged = [piece["face_id"].to_pylist() for piece in rows.pieces("faces", 0)]
    assert merged == [["a-00", "a-01", "b-00"], ["d-00"]]
    statuses = [piece["status"].to_pylist() for piece in rows.pieces("photographs", 0, columns=["photo_id", "status"])]
    assert statuses == [["ok", "ok"], ["no_face", "ok"]]
    (second,) = rows.pieces("faces", 0, start=1)
    assert second["face_id"].to_pylist() == ["d-00"]


def test_only_added_or_changed_photographs_are_read(ray_cluster: None, tmp_path: Path) -> None:
    shipped = sorted(Path(package_path("package:demo/tw58")).rglob("*.jpg"))[:4]
    folder = tmp_path / "photographs"
    folder.mkdir()

    def run() -> Artifact:
        return run_stage(faces_spec([open_corpus(str(folder))], FacesConfig(size=64)), str(tmp_path / "out"))

    for number, path in enumerate(shipped[:3]):
        shutil.copyfile(path, folder / f"{number}.jpg")
    first = run()
    shutil.copyfile(shipped[3], folder / "3.jpg")
    (folder / "1.jpg").write_bytes(b"no longer a picture")
    second = run()
    assert second.manifest.reused == Reused(first.name, 2)
    rows = {row["path"]: row["status"] for row in second.table("photographs", schema.PHOTOGRAPHS).to_pylist()}
    assert rows == {"0.jpg": "ok", "1.jpg": "unreadable", "2.jpg": "ok", "3.jpg": "ok"}
    before, after = (
        {row["path"]: row for row in output.table("faces", schema.FACES).to_pylist()} for output in (first, second)
    )
    assert after.keys() == {"0.jpg", "2.jpg", "3.jpg"}
    assert all(after[name] == before[name] for name in ("0.jpg", "2.jpg"))
