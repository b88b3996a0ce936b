"""Storage that fails: retried, then a row with an error or one sentence for the user."""

import contextlib
import errno
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs
import pytest
from engine_stages import NUMBERS
from s3_server import Server

from twfer_dist.core import schema
from twfer_dist.core.errors import UserError
from twfer_dist.core.status import MISSING, OK, UNREACHABLE
from twfer_dist.corpus.corpus import open_corpus
from twfer_dist.engine import storage
from twfer_dist.engine.digests import digest_ids
from twfer_dist.engine.shards import ShardStore
from twfer_dist.engine.stage import run_stage
from twfer_dist.faces.stage import FacesConfig, faces_spec

PICTURE = Path(__file__).parents[1] / "data" / "malformed" / "gray.jpg"


@pytest.mark.long
def test_photographs_on_failing_storage(ray_cluster: None, s3: Server) -> None:
    fs, path = storage.resolve(s3.uri("photographs"))
    for name in ("dead", "flaky", "gone", "steady"):
        pafs.copy_files(
            str(PICTURE), f"{path}/{name}.jpg", source_filesystem=pafs.LocalFileSystem(), destination_filesystem=fs
        )
    spec = faces_spec([open_corpus(s3.uri("photographs"))], FacesConfig(aligned=True, measure=False))
    fs.delete_file(f"{path}/gone.jpg")
    s3.failing |= {"/dead.jpg": 10**6, "/flaky.jpg": 4}  # the client itself tries three times
    output = run_stage(spec, s3.uri("out"))
    rows = {row["path"]: row for row in output.table("photographs", schema.PHOTOGRAPHS).to_pylist()}
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


def test_names_with_a_number_sign_are_whole_in_a_bucket(s3: Server) -> None:
    """As those of the frames of a video."""
    for second in "12":
        storage.write_bytes(storage.join(s3.uri("frames"), f"tour.mp4#t={second}.jpg"), second.encode())
    assert storage.list_files(s3.uri("frames")) == ["tour.mp4#t=1.jpg", "tour.mp4#t=2.jpg"]
    assert storage.read_bytes(storage.join(s3.uri("frames"), "tour.mp4#t=1.jpg")) == b"1"


def test_a_shard_is_put_into_a_bucket_in_one_request(s3: Server) -> None:
    store = ShardStore(s3.uri("out"), ((".", NUMBERS),))
    rows = pa.table({"id": ["a", "b"], "value": [1, 2], "status": [OK, OK]}, schema=NUMBERS)
    s3.requests.clear()
    store.write(7, {".": rows}, digest_ids(rows))
    assert s3.requests == ["PUT /bucket/out/_work/shard-000007.parquet"]


@pytest.mark.long
def test_photographs_are_read_several_at_a_time(ray_cluster: None, s3: Server) -> None:
    """To hide the latency of remote storage: here it answers only once four photographs are requested at once."""
    fs, path = storage.resolve(s3.uri("far-away"))
    for number in range(8):
        name = f"{path}/{number}.jpg"
        pafs.copy_files(str(PICTURE), name, source_filesystem=pafs.LocalFileSystem(), destination_filesystem=fs)
    spec = faces_spec([open_corpus(s3.uri("far-away"))], FacesConfig(aligned=True, measure=False))
    s3.meeting[".jpg"] = threading.Barrier(4)
    output = run_stage(spec, s3.uri("far-away-out"))
    assert output.manifest.counts["photographs"] == {OK: 8}


def test_permanent_errors_are_not_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "RETRY_DELAYS_S", (0.01, 0.01))
    for error, times in ((OSError("no answer"), 3), (FileNotFoundError(), 1), (OSError(errno.ENOSPC, "no space"), 1)):
        tried: list[OSError] = []

        def fails(error: OSError = error, tried: list[OSError] = tried) -> None:
            tried.append(error)
            raise error

        with pytest.raises(OSError):
            storage.with_retries(fails)
        assert len(tried) == times


def test_a_folder_is_deleted_while_others_write_into_it(tmp_path: Path) -> None:
    folder, until = tmp_path / "work" / "tries", time.monotonic() + 0.4
    folder.mkdir(parents=True)

    def write() -> None:
        while time.monotonic() < until:
            mark = folder / f"{time.monotonic_ns()}"
            with contextlib.suppress(FileNotFoundError, FileExistsError):  # mkdir races with the deletion
                folder.mkdir(parents=True, exist_ok=True)
                mark.touch()
            if mark.name.endswith(("1", "3")):
                mark.unlink(missing_ok=True)

    with ThreadPoolExecutor(4) as pool:
        writing = [pool.submit(write) for _ in range(4)]
        while sum(1 for _ in folder.iterdir()) < 50 and time.monotonic() < until:
            time.sleep(0.01)
        storage.delete_folder(str(tmp_path / "work"))
        for writer in writing:
            writer.result()
    storage.delete_folder(str(tmp_path / "work"))
    assert not (tmp_path / "work").exists()


def test_a_path_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UserError, match=r"file/x\.json cannot be written \(.*\): free space or grant access, and"):
        storage.write_bytes(str(tmp_path / "file" / "x.json"), b"{}")
