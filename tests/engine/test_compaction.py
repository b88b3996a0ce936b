"""Shards joined into files: by sizes alone, by any worker, and after a kill at any point."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import engine_stages
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from engine_stages import JOINED, Config, numbers_spec, unchanged

from twfer_dist.core.errors import UserError
from twfer_dist.engine import compaction, storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.compaction import layout
from twfer_dist.engine.hashed_file import write_row_groups
from twfer_dist.engine.stage import run_stage


@pytest.fixture(scope="module")
def small_files() -> Iterator[None]:
    """A file for every few shards of `numbers_spec`."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("TARGET_ROW_GROUP_BYTES", "TARGET_FILE_BYTES"):
            patch.setattr(compaction, name, 500)
        yield


@pytest.fixture(scope="module")
def undisturbed(ray_cluster: None, small_files: None, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    output = run_stage(numbers_spec(Config()), str(tmp_path_factory.mktemp("undisturbed")))
    assert len(output.manifest.files) > 2 * JOINED
    return output


@pytest.mark.parametrize(
    ("sizes", "files"),
    [
        ([], [[(0, 0)]]),
        ([0, 0], [[(0, 2)]]),
        ([3, 3], [[(0, 2)]]),
        ([8, 0, 3], [[(0, 1), (1, 3)]]),
        ([4, 4, 4, 9, 1], [[(0, 2), (2, 4)], [(4, 5)]]),
        ([20, 20], [[(0, 1)], [(1, 2)]]),
        ([9, 7, 5, 5], [[(0, 1)], [(1, 3), (3, 4)]]),  # what is too small for a row group goes to the next file
    ],
)
def test_files_end_with_row_groups(
    monkeypatch: pytest.MonkeyPatch, sizes: list[int], files: list[list[tuple[int, int]]]
) -> None:
    monkeypatch.setattr(compaction, "TARGET_ROW_GROUP_BYTES", 8)
    monkeypatch.setattr(compaction, "TARGET_FILE_BYTES", 16)
    assert layout(sizes) == files


def joined(out: Path) -> dict[Path, int]:
    """When each file of digits was written that has its note."""
    notes = out.glob("numbers-*/_work/joined/digits/*.json")
    files = [note.parents[3] / "digits" / note.name.removesuffix(".json") for note in notes]
    return {file: file.stat().st_mtime_ns for file in files}


@pytest.mark.long
def test_a_worker_killed_while_it_joins_changes_nothing(undisturbed: Artifact, tmp_path: Path) -> None:
    out, fault = tmp_path / "out", tmp_path / "fault"
    fault.touch()
    spec = numbers_spec(Config(), change=partial(unchanged, out=str(out), fault=str(fault)))
    assert run_stage(spec, str(out)).digest == undisturbed.digest and not fault.exists()


@pytest.mark.long
def test_files_joined_before_an_interruption_are_kept(undisturbed: Artifact, tmp_path: Path) -> None:
    """A file that was being written, and one that is not wanted any more, are deleted."""
    out, fault = tmp_path / "out", tmp_path / "fault"
    fault.write_text("no room")
    spec = numbers_spec(Config(), change=partial(unchanged, out=str(out), fault=str(fault)))
    with pytest.raises(UserError, match=r"^there is no room\.$"):
        run_stage(spec, str(out))
    kept = joined(out)
    assert len(kept) >= JOINED
    fault.unlink()
    (folder,) = out.glob("numbers-*/digits")
    for name in ("part-00005.parquet.0123abcd.tmp", "part-00999.parquet"):
        (folder / name).write_bytes(b"half a file")
    whole = run_stage(spec, str(out))
    assert whole.digest == undisturbed.digest
    assert {file: file.stat().st_mtime_ns for file in kept} == kept
    assert {path.name for path in folder.iterdir()} == {
        file.path.removeprefix("digits/") for file in whole.manifest.files if file.table == "digits"
    }


@pytest.mark.long
def test_a_run_killed_while_it_joins_resumes(undisturbed: Artifact, tmp_path: Path) -> None:
    """SIGKILL for the driver and all its Ray processes."""
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    command = [sys.executable, engine_stages.__file__, str(tmp_path / "out"), "0", "0.3"]
    child = subprocess.Popen(command, env=environment, start_new_session=True)
    deadline = time.monotonic() + 200
    while len(kept := joined(tmp_path / "out")) < 2:
        assert child.poll() is None and time.monotonic() < deadline, "the run ended before it could be killed"
        time.sleep(0.05)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    resumed = run_stage(numbers_spec(Config()), str(tmp_path / "out"))
    assert resumed.digest == undisturbed.digest
    assert {file: file.stat().st_mtime_ns for file in kept} == kept


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    rows = pa.table({"id": [f"{k:05d}" for k in range(20_000)]})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_row_groups(str(tmp_path / "a.parquet"), rows.schema, iter([rows]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []
    sha256 = write_row_groups(str(tmp_path / "a.parquet"), rows.schema, iter([rows, rows]))
    assert sha256 == storage.sha256_file(str(tmp_path / "a.parquet"))
    assert pq.ParquetFile(tmp_path / "a.parquet").metadata.num_row_groups == 2
