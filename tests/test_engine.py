"""The contract between stages: one row a planned id, resume, fingerprints, nothing done twice, nothing overwritten."""

import dataclasses
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs
import pytest
from engine_jobs import DIGITS, NUMBERS, Begins, Config, Refuses, ends, numbers_job

from twfer_dist.core import schema
from twfer_dist.core.errors import UserError
from twfer_dist.engine import artifact, storage
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.shards import Step
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import find_output, run_stage


def parts_sha256(finished: artifact.Artifact) -> dict[str, str]:
    return {f.path: f.sha256 for f in finished.manifest.files}


def test_every_planned_id_has_a_row_and_dead_letters_are_counted(ray_cluster, tmp_path):
    finished = run_stage(numbers_job(Config()), str(tmp_path))
    table = finished.table("numbers", NUMBERS)
    assert table["id"].to_pylist() == [f"{i:05d}" for i in range(200)]
    assert finished.manifest.rows["numbers"] == 200
    counts = finished.manifest.counts["numbers"]
    assert counts == {
        "multiple_of_seven": sum((2 * (199 - i) + 1) % 7 == 0 for i in range(200)),
        "ok": 200 - counts["multiple_of_seven"],
    }
    assert not (Path(finished.uri) / "_work").exists()


def test_second_start_does_nothing_and_another_configuration_is_another_directory(ray_cluster, tmp_path):
    first = run_stage(numbers_job(Config()), str(tmp_path))
    (Path(first.uri) / "_work" / "numbers").mkdir(
        parents=True
    )  # as a start that is killed when all but this is done leaves it
    again = run_stage(numbers_job(Config()), str(tmp_path))
    assert again.build_id == first.build_id and not (Path(first.uri) / "_work").exists()
    other = run_stage(numbers_job(Config(add=2)), str(tmp_path))
    assert other.uri != first.uri
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(Path(f.uri).name for f in (first, other))


@pytest.mark.parametrize("actors", [2, 4])
def test_same_bytes_on_one_worker_and_on_more_and_in_any_order(ray_cluster, tmp_path, actors):
    one = run_stage(numbers_job(Config(), actors=1), str(tmp_path / "one"))
    more = run_stage(numbers_job(Config(), actors=actors, seconds=0.01), str(tmp_path / "more"))
    assert parts_sha256(one) == parts_sha256(more)
    assert one.digest == more.digest


def test_same_bytes_from_two_block_sizes(ray_cluster, tmp_path, monkeypatch):
    from ray.data import DataContext

    large = run_stage(numbers_job(Config()), str(tmp_path / "large"))
    monkeypatch.setattr(DataContext.get_current(), "target_max_block_size", 512)  # bytes; a part that travels has more
    monkeypatch.setattr(DataContext.get_current(), "target_min_block_size", 1)
    small = run_stage(numbers_job(Config()), str(tmp_path / "small"))
    assert parts_sha256(large) == parts_sha256(small)


def test_same_bytes_on_this_disk_and_on_s3(ray_cluster, s3, tmp_path):
    here = run_stage(numbers_job(Config()), str(tmp_path / "here"))
    out = s3.uri("runs/there")
    there = run_stage(numbers_job(Config()), out)
    assert there.digest == here.digest
    assert there.table("numbers", NUMBERS).equals(here.table("numbers", NUMBERS))
    assert run_stage(numbers_job(Config()), out).build_id == there.build_id
    left = storage.list_files(out, recursive=True)
    assert left == sorted(f"{here.uri.rpartition('/')[2]}/{name}" for name in [artifact.MANIFEST, *parts_sha256(here)])


def test_a_disk_that_is_full_at_the_end_is_one_sentence_and_loses_nothing(ray_cluster, tmp_path):
    """As far as this process goes: it may write no file of more than 512 bytes when the parts are done."""
    job = numbers_job(Config())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def full(work: StageOutput) -> None:
        job.do(work)
        resource.setrlimit(resource.RLIMIT_FSIZE, (512, limits[1]))

    try:
        with pytest.raises(
            UserError, match=r"numbers cannot be written \(.*File too large.*\): make room .* what is done is kept"
        ):
            run_stage(dataclasses.replace(job, do=full), str(tmp_path / "full"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    (part,) = tmp_path.glob("full/numbers-*/_work/numbers/shard-000000.parquet")
    stamp, seen = part.stat().st_mtime_ns, []

    def resumed(work: StageOutput) -> None:
        job.do(work)
        seen.append(part.stat().st_mtime_ns)

    finished = run_stage(dataclasses.replace(job, do=resumed), str(tmp_path / "full"))
    assert seen == [stamp]
    assert finished.digest == run_stage(job, str(tmp_path / "never-full")).digest


def test_a_part_that_is_damaged_is_named_and_once_deleted_its_rows_alone_are_done(ray_cluster, tmp_path):
    job = numbers_job(Config())
    seen: list[Path] = []

    def damaged(work: StageOutput) -> None:
        job.do(work)
        part = Path(work.directory) / "_work" / "digits" / "shard-000003.parquet"
        part.write_bytes(part.read_bytes()[:100])

    with pytest.raises(
        UserError, match=r"digits/shard-000003\.parquet cannot be read \(.*\): .* or delete it where it is damaged"
    ):
        run_stage(dataclasses.replace(job, do=damaged), str(tmp_path / "out"))
    (part,) = tmp_path.glob("out/numbers-*/_work/digits/shard-000003.parquet")
    part.unlink()
    before = {path: path.stat().st_mtime_ns for path in part.parent.glob("shard-*")}

    def resumed(work: StageOutput) -> None:
        job.do(work)
        seen.extend(path for path in part.parent.glob("shard-*") if path.stat().st_mtime_ns != before.get(path))

    finished = run_stage(dataclasses.replace(job, do=resumed), str(tmp_path / "out"))
    assert seen == [part] and finished.digest == run_stage(job, str(tmp_path / "never-damaged")).digest


def test_actors_on_every_cpu_leave_the_steps_behind_them_a_place(ray_cluster, tmp_path):
    """Else no part would be whole before the last one was begun, and what is between would fill the object store."""
    log = tmp_path / "log"
    log.touch()
    steps = [Step(Begins, {"log": str(log)}, actors=4), Step(ends, {"log": str(log)})]
    plan = pa.table({"id": [f"{k:05d}" for k in range(40)], "value": list(range(40))})
    job = StageSpec("numbers", 1, {}, {}, {}, {".": NUMBERS}, lambda work: work.map(plan, steps, rows_per_shard=1))
    run_stage(job, str(tmp_path / "out"))
    lines = log.read_text().split()
    assert len(lines) == 80 and lines.index("ends") < 10


@pytest.mark.parametrize("place", ["disk", "s3"])
def test_killed_run_resumes_without_losing_or_doubling_a_row(ray_cluster, s3, tmp_path, place):
    """The driver and all its Ray processes die by SIGKILL in the middle; the finished parts are kept as they are."""
    job = numbers_job(Config())
    undisturbed = run_stage(job, str(tmp_path / "undisturbed"))
    out = str(tmp_path / "killed") if place == "disk" else s3.uri("killed")
    fs, parts = storage.resolve(storage.join(out, f"numbers-{job.fingerprint}", "_work", "numbers"))

    def done() -> dict[str, int]:
        """When each part that is whole was written."""
        infos = fs.get_file_info(pafs.FileSelector(parts, allow_not_found=True))
        return {info.path: info.mtime_ns for info in infos if info.path.endswith(".parquet")}

    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
    child = subprocess.Popen(
        [sys.executable, Path(__file__).parent / "engine_jobs.py", out, "0.5"], env=environment, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while len(kept := done()) < 2:
        assert child.poll() is None and time.monotonic() < deadline, "the run ended before it could be killed"
        time.sleep(0.05)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    assert find_output(job, out) is None
    redone: list[str] = []

    def do(work: StageOutput) -> None:
        job.do(work)
        redone.extend(kept.keys() - {path for path, stamp in done().items() if stamp == kept.get(path)})

    resumed = run_stage(dataclasses.replace(job, do=do), out)
    assert parts_sha256(resumed) == parts_sha256(undisturbed)
    assert redone == []


@pytest.mark.parametrize("where", ["constructor", "call"])
def test_problem_in_a_worker_reaches_the_user_as_its_sentence(ray_cluster, tmp_path, where):
    job = numbers_job(Config(rows=20), step=Step(Refuses, {"where": where}, actors=1))
    with pytest.raises(UserError, match=r"^weights\.bin is not a model: name another file\.$"):
        run_stage(job, str(tmp_path))


def test_bug_in_a_constructor_ends_the_run(ray_cluster, tmp_path):
    class Broken:
        def __init__(self) -> None:
            raise ValueError("a bug of the constructor")

    with pytest.raises(Exception, match="a bug of the constructor"):
        run_stage(numbers_job(Config(rows=20), step=Step(Broken, actors=1)), str(tmp_path))


def test_step_that_loses_a_row_is_a_bug_not_a_hole(ray_cluster, tmp_path):
    class Loses:
        def __call__(self, table: pa.Table) -> dict[str, pa.Table]:
            rows = pa.table({"id": table["id"], "value": table["value"], "status": ["ok"] * len(table)})
            return {"numbers": rows.slice(1), "digits": DIGITS.empty_table()}

    with pytest.raises(Exception, match="exactly the planned ids"):
        run_stage(numbers_job(Config(rows=20), step=Step(Loses, actors=1)), str(tmp_path))


def test_input_that_was_made_again_makes_its_dependents_again_and_keeps_the_old_ones(tmp_path):
    def note(text):
        return lambda work: work.write_file("note.txt", text)

    first = run_stage(StageSpec("a", 1, {}, {}, {}, {}, note(b"a")), str(tmp_path))
    second = StageSpec("b", 1, {"a": first}, {}, {}, {}, note(b"b"))
    made = run_stage(second, str(tmp_path))
    assert find_output(second, str(tmp_path)) == made
    for path in Path(first.uri).iterdir():
        path.unlink()
    Path(first.uri).rmdir()
    again = run_stage(StageSpec("a", 1, {}, {}, {}, {}, note(b"a")), str(tmp_path))
    stale = StageSpec("b", 1, {"a": again}, {}, {}, {}, note(b"b"))
    assert stale.fingerprint == second.fingerprint  # the same bytes: the same name
    assert find_output(stale, str(tmp_path)) is None
    run_stage(stale, str(tmp_path))
    assert len(list(tmp_path.glob("b-*.replaced-*/note.txt"))) == 1


def test_an_input_that_was_changed_since_it_was_written_is_not_read(tmp_path):
    first = run_stage(StageSpec("a", 1, {}, {}, {}, {}, lambda work: work.write_file("note.txt", b"a")), str(tmp_path))
    Path(first.path("note.txt")).write_bytes(b"b")
    with pytest.raises(
        UserError, match=rf"note.txt was changed since it was written: delete {first.uri} and run again"
    ):
        run_stage(StageSpec("b", 1, {"a": first}, {}, {}, {}, lambda work: None), str(tmp_path))


def test_rows_by_id_and_foreign_tables_are_told_apart(ray_cluster, tmp_path):
    finished = run_stage(numbers_job(Config()), str(tmp_path))
    some = finished.table("numbers", NUMBERS, ids=["00150", "00003", "none"])
    assert some["id"].to_pylist() == ["00003", "00150"]
    with pytest.raises(UserError, match="holds no table 'faces'"):
        finished.table("faces", schema.FACES)
    with pytest.raises(UserError, match="no column 'face_id'"):
        finished.table("numbers", schema.FACES)
    older = NUMBERS.with_metadata({b"twfer_schema": b"0"})
    path = Path(finished.uri) / "numbers" / "part-00000.parquet"
    pa.parquet.write_table(finished.table("numbers", NUMBERS).cast(older).replace_schema_metadata(older.metadata), path)
    with pytest.raises(UserError, match=f"version 0 and this program reads version {schema.SCHEMA_VERSION}"):
        finished.table("numbers", NUMBERS)


def test_unfinished_directory_is_named(tmp_path):
    with pytest.raises(UserError, match="is not a finished output"):
        artifact.open_artifact(str(tmp_path))
