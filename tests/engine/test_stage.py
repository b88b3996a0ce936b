"""The contract of a stage: one row for each planned id, resume, fingerprints, nothing done twice or overwritten."""

import dataclasses
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import engine_stages
import psutil
import pyarrow as pa
import pyarrow.fs as pafs
import pytest
from engine_stages import DIGITS, NUMBERS, Config, LogStart, Refuse, log_end, numbers_spec
from s3_server import Server

from twfer_dist.core.errors import UserError
from twfer_dist.engine import artifact, storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.shards import Step
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import find_output, run_stage


@pytest.fixture(scope="module")
def numbers(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The output of `numbers_spec`, undisturbed."""
    return run_stage(numbers_spec(Config()), str(tmp_path_factory.mktemp("undisturbed")))


def file_digests(output: Artifact) -> dict[str, str]:
    return {file.path: file.sha256 for file in output.manifest.files}


def note_stage(text: bytes, name: str = "a", **inputs: Artifact) -> StageSpec:
    """A stage that writes one file."""
    return StageSpec(name, 1, inputs, {}, {}, {}, lambda output: output.write_file("note.txt", text))


def test_every_planned_id_is_a_row_counted_by_status(numbers: Artifact) -> None:
    assert numbers.table("numbers", NUMBERS)["id"].to_pylist() == [f"{i:05d}" for i in range(200)]
    failed = sum((2 * (199 - i) + 1) % 7 == 0 for i in range(200))
    assert numbers.manifest.rows["numbers"] == 200
    assert numbers.manifest.counts["numbers"] == {"multiple_of_seven": failed, "ok": 200 - failed}
    assert not (Path(numbers.uri) / "_work").exists()


def test_a_finished_stage_is_not_run_again(numbers: Artifact) -> None:
    out = Path(numbers.uri).parent
    (Path(numbers.uri) / "_work" / "numbers").mkdir(parents=True)  # as a run leaves it that is killed at its very end
    assert run_stage(numbers_spec(Config()), str(out)).build_id == numbers.build_id
    assert [path.name for path in out.iterdir()] == [numbers.name]
    assert not (Path(numbers.uri) / "_work").exists()
    assert numbers_spec(Config(add=2)).name != numbers.name  # another configuration is another directory


def test_bytes_do_not_depend_on_actors_or_block_sizes(
    numbers: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.data import DataContext

    monkeypatch.setattr(DataContext.get_current(), "target_max_block_size", 512)  # bytes, less than a shard has
    monkeypatch.setattr(DataContext.get_current(), "target_min_block_size", 1)
    other = run_stage(numbers_spec(Config(), actors=4, seconds=0.01), str(tmp_path))
    assert file_digests(other) == file_digests(numbers)
    assert other.digest == numbers.digest


@pytest.mark.long
def test_bytes_are_the_same_on_s3(numbers: Artifact, s3: Server) -> None:
    out = s3.uri("runs/there")
    there = run_stage(numbers_spec(Config()), out)
    assert there.digest == numbers.digest
    assert there.table("numbers", NUMBERS).equals(numbers.table("numbers", NUMBERS))
    assert run_stage(numbers_spec(Config()), out).build_id == there.build_id
    files = [artifact.MANIFEST, *file_digests(numbers)]
    assert storage.list_files(out, recursive=True) == sorted(f"{numbers.name}/{name}" for name in files)


def test_a_full_disk_is_one_sentence_and_loses_nothing(numbers: Artifact, tmp_path: Path) -> None:
    """Here this process may not write files of more than 512 bytes once the shards are finished."""
    spec = numbers_spec(Config())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_disk(output: StageOutput) -> None:
        spec.do(output)
        resource.setrlimit(resource.RLIMIT_FSIZE, (512, limits[1]))

    try:
        with pytest.raises(
            UserError, match=r"_manifest.json cannot be written \(.*File too large.*\): free space .* is kept"
        ):
            run_stage(dataclasses.replace(spec, do=fill_disk), str(tmp_path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    (shard,) = tmp_path.glob("numbers-*/_work/numbers/shard-000000.parquet")
    written, seen = shard.stat().st_mtime_ns, []

    def resume(output: StageOutput) -> None:
        spec.do(output)
        seen.append(shard.stat().st_mtime_ns)

    assert run_stage(dataclasses.replace(spec, do=resume), str(tmp_path)).digest == numbers.digest
    assert seen == [written]


@pytest.mark.long
def test_a_damaged_shard_is_named_and_redone_once_deleted(numbers: Artifact, tmp_path: Path) -> None:
    spec = numbers_spec(Config())
    redone: list[Path] = []

    def damage(output: StageOutput) -> None:
        spec.do(output)
        shard = Path(output.scratch("digits")) / "shard-000003.parquet"
        shard.write_bytes(shard.read_bytes()[:100])

    with pytest.raises(UserError, match=r"digits/shard-000003\.parquet cannot be read \(.*\): .* delete it if it is"):
        run_stage(dataclasses.replace(spec, do=damage), str(tmp_path))
    (shard,) = tmp_path.glob("numbers-*/_work/digits/shard-000003.parquet")
    shard.unlink()
    before = {path: path.stat().st_mtime_ns for path in shard.parent.glob("shard-*")}

    def resume(output: StageOutput) -> None:
        spec.do(output)
        redone.extend(path for path in shard.parent.glob("shard-*") if path.stat().st_mtime_ns != before.get(path))

    assert run_stage(dataclasses.replace(spec, do=resume), str(tmp_path)).digest == numbers.digest
    assert redone == [shard]


@pytest.mark.long
def test_actors_on_every_cpu_leave_room_for_later_steps(ray_cluster: None, tmp_path: Path) -> None:
    """Otherwise no shard would be finished before the last one was started, and the object store would fill up."""
    log = tmp_path / "log"
    log.touch()
    steps = [Step(LogStart, {"log": str(log)}, actors=4), Step(log_end, {"log": str(log)})]
    plan = pa.table({"id": [f"{k:05d}" for k in range(20)], "value": list(range(20))})
    tables = {".": NUMBERS}
    run_stage(
        StageSpec("numbers", 1, {}, {}, {}, tables, lambda output: output.map(plan, steps, rows_per_shard=1)),
        str(tmp_path / "out"),
    )
    lines = log.read_text().split()
    assert len(lines) == 40 and lines.index("end") < 10


@pytest.mark.parametrize("place", ["disk", pytest.param("s3", marks=pytest.mark.long)])
def test_a_killed_run_resumes_without_losing_a_row(numbers: Artifact, s3: Server, tmp_path: Path, place: str) -> None:
    """SIGKILL for the driver and all its Ray processes in the middle: finished shards are kept as they are."""
    spec = numbers_spec(Config())
    out = str(tmp_path / "killed") if place == "disk" else s3.uri("killed")
    fs, shards = storage.resolve(storage.join(out, spec.name, "_work", "numbers"))

    def finished() -> dict[str, int]:
        """When each finished shard was written."""
        infos = fs.get_file_info(pafs.FileSelector(shards, allow_not_found=True))
        return {info.path: info.mtime_ns for info in infos if info.path.endswith(".parquet")}

    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    command = [sys.executable, engine_stages.__file__, out, "0.5"]
    child = subprocess.Popen(command, env=environment, start_new_session=True)
    deadline = time.monotonic() + 200
    while len(kept := finished()) < 2:
        assert child.poll() is None and time.monotonic() < deadline, "the run ended before it could be killed"
        time.sleep(0.05)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    assert find_output(spec, out) is None
    redone: list[str] = []

    def resume(output: StageOutput) -> None:
        spec.do(output)
        after = finished()
        redone.extend(path for path, written in kept.items() if after.get(path) != written)

    resumed = run_stage(dataclasses.replace(spec, do=resume), out)
    assert file_digests(resumed) == file_digests(numbers)
    assert redone == []


@pytest.mark.parametrize("where", ["constructor", "call"])
def test_a_user_error_in_a_worker_reaches_the_user(ray_cluster: None, tmp_path: Path, where: str) -> None:
    spec = numbers_spec(Config(rows=20), step=Step(Refuse, {"where": where}, actors=1))
    with pytest.raises(UserError, match=r"^weights\.bin is not a model: name another file\.$"):
        run_stage(spec, str(tmp_path))


def test_processes_are_named_after_their_steps(ray_cluster: None, tmp_path: Path) -> None:
    def noting(table: pa.Table) -> pa.Table:
        (tmp_path / "function.txt").write_text(" ".join(psutil.Process().cmdline()))
        return table

    class Naming:
        def __call__(self, table: pa.Table) -> pa.Table:
            raise UserError(" ".join(psutil.Process().cmdline()))

    spec = numbers_spec(Config(rows=1), first=Step(partial(noting)), step=Step(Naming, cpus=0.5, actors=1))
    with pytest.raises(UserError, match=r"^ray::MapWorker\(MapBatches\(Naming\)\)"):
        run_stage(spec, str(tmp_path))
    assert (tmp_path / "function.txt").read_text().startswith("ray::MapBatches(noting)")


def test_a_bug_in_a_constructor_ends_the_run(ray_cluster: None, tmp_path: Path) -> None:
    class Broken:
        def __init__(self) -> None:
            raise ValueError("a bug of the constructor")

    with pytest.raises(Exception, match="a bug of the constructor"):
        run_stage(numbers_spec(Config(rows=20), step=Step(Broken, actors=1)), str(tmp_path))


def test_a_step_that_loses_a_row_ends_the_run(ray_cluster: None, tmp_path: Path) -> None:
    class Loses:
        def __call__(self, table: pa.Table) -> dict[str, pa.Table]:
            rows = pa.table({"id": table["id"], "value": table["value"], "status": ["ok"] * len(table)})
            return {"numbers": rows.slice(1), "digits": DIGITS.empty_table()}

    with pytest.raises(Exception, match="exactly the planned ids"):
        run_stage(numbers_spec(Config(rows=20), step=Step(Loses, actors=1)), str(tmp_path))


def test_a_rebuilt_input_makes_its_dependents_stale(tmp_path: Path) -> None:
    out = str(tmp_path)
    first = run_stage(note_stage(b"a"), out)
    spec = note_stage(b"b", "b", a=first)
    made = run_stage(spec, out)
    assert find_output(spec, out) == made
    shutil.rmtree(first.uri)
    stale = note_stage(b"b", "b", a=run_stage(note_stage(b"a"), out))
    assert stale.fingerprint == spec.fingerprint  # the input has the same bytes
    assert find_output(stale, out) is None
    run_stage(stale, out)
    assert len(list(tmp_path.glob("b-*.replaced-*/note.txt"))) == 1


def test_a_changed_input_is_not_read(tmp_path: Path) -> None:
    first = run_stage(note_stage(b"a"), str(tmp_path))
    Path(first.path("note.txt")).write_bytes(b"b")
    with pytest.raises(UserError, match=rf"note.txt was changed since it was written: delete {first.uri} and run"):
        run_stage(note_stage(b"b", "b", a=first), str(tmp_path))
