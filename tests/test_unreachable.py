"""Storage that fails: tried again, then a row that says so."""

import contextlib
import errno
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.fs as pafs
import pytest

from twfer_dist.core import schema
from twfer_dist.core.errors import UserError
from twfer_dist.core.status import MISSING, OK, UNREACHABLE
from twfer_dist.corpus.corpus import open_corpus
from twfer_dist.engine import storage
from twfer_dist.engine.stage import run_stage
from twfer_dist.faces.stage import FacesConfig, faces_job

PICTURE = Path(__file__).parent / "data" / "malformed" / "gray.jpg"


def test_photographs_on_storage_that_fails(ray_cluster, s3):
    fs, path = storage.resolve(s3.uri("photographs"))
    for name in ("dead", "flaky", "gone", "steady"):
        pafs.copy_files(
            str(PICTURE), f"{path}/{name}.jpg", source_filesystem=pafs.LocalFileSystem(), destination_filesystem=fs
        )
    job = faces_job([open_corpus(s3.uri("photographs"))], FacesConfig(aligned=True, measure=False))
    fs.delete_file(f"{path}/gone.jpg")
    s3.failing |= {"/dead.jpg": 10**6, "/flaky.jpg": 4}  # the client itself tries three times
    finished = run_stage(job, s3.uri("out"))
    rows = {row["path"]: row for row in finished.table("photographs", schema.PHOTOGRAPHS).to_pylist()}
    assert {name: row["status"] for name, row in rows.items()} == {
        "dead.jpg": UNREACHABLE, "flaky.jpg": OK, "gone.jpg": MISSING, "steady.jpg": OK
    }  # fmt: skip
    assert s3.failing["/flaky.jpg"] == 0
    assert rows["dead.jpg"]["error"].startswith("dead.jpg: storage did not deliver the file in 3 attempts: ")
    assert (
        rows["flaky.jpg"]["content_sha256"]
        == rows["steady.jpg"]["content_sha256"]
        == storage.sha256(PICTURE.read_bytes())
    )


def test_photographs_are_read_several_at_a_time(ray_cluster, s3):
    """Storage that is far away answers late: here it gives nothing unless four are asked for at once."""
    fs, path = storage.resolve(s3.uri("far-away"))
    for number in range(8):
        name = f"{path}/{number}.jpg"
        pafs.copy_files(str(PICTURE), name, source_filesystem=pafs.LocalFileSystem(), destination_filesystem=fs)
    job = faces_job([open_corpus(s3.uri("far-away"))], FacesConfig(aligned=True, measure=False))
    s3.meeting[".jpg"] = threading.Barrier(4)
    finished = run_stage(job, s3.uri("far-away-out"))
    assert finished.manifest.counts["photographs"] == {OK: 8}


def test_what_waiting_does_not_mend_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "RETRY_DELAYS_S", (0.01, 0.01))
    for error, times in ((OSError("no answer"), 3), (FileNotFoundError(), 1), (OSError(errno.ENOSPC, "no space"), 1)):
        tried: list[OSError] = []

        def fails(error: OSError = error, tried: list = tried) -> None:
            tried.append(error)
            raise error

        with pytest.raises(OSError):
            storage.with_retries(fails)
        assert len(tried) == times


def test_a_folder_is_deleted_while_a_process_that_ends_still_writes_into_it(tmp_path):
    folder, until = tmp_path / "work" / "tries", time.monotonic() + 0.4
    folder.mkdir(parents=True)

    def write() -> None:
        while time.monotonic() < until:
            mark = folder / f"{time.monotonic_ns()}"
            with contextlib.suppress(
                FileNotFoundError, FileExistsError
            ):  # mkdir's own race: there, and gone when it looks again
                folder.mkdir(parents=True, exist_ok=True)
                mark.touch()
            if mark.name.endswith(("1", "3")):
                mark.unlink(missing_ok=True)

    with ThreadPoolExecutor(4) as pool:
        writing = [pool.submit(write) for _ in range(4)]
        while sum(1 for _ in folder.iterdir()) < 50 and time.monotonic() < until:
            time.sleep(0.01)
        storage.delete_folder(str(tmp_path / "work"))
        for one in writing:
            one.result()
    storage.delete_folder(str(tmp_path / "work"))
    assert not (tmp_path / "work").exists()


def test_a_place_that_cannot_be_written_is_one_clear_problem(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(
        UserError, match=r"file/x\.json cannot be written \(.*\): make room or allow it, and start again"
    ):
        storage.write_bytes(str(tmp_path / "file" / "x.json"), b"{}")
