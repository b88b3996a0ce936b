"""Rows without a result are done again, rows that another output holds are kept: what comes out is what one start would
have given.
"""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest
from engine_jobs import DIGITS, NUMBERS, Config, Reaches, doubled, numbers_job
from s3_server import Server

from twfer_dist.core import schema
from twfer_dist.core.errors import UserError
from twfer_dist.core.status import OK
from twfer_dist.corpus.corpus import open_corpus
from twfer_dist.engine import artifact, output, stage, storage
from twfer_dist.engine.artifact import Artifact, Reused
from twfer_dist.engine.config import package_path
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.reuse import keep_permanent
from twfer_dist.engine.shards import Step
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import run_stage
from twfer_dist.faces.stage import FacesConfig, faces_job


def numbers_alone(tables: dict[str, pa.Table]) -> pa.Table:
    return tables["numbers"]


@dataclasses.dataclass(frozen=True)
class Input:
    digest: str


def job(unreached: Path) -> StageSpec:
    return numbers_job(Config(rows=70), step=Step(Reaches, {"unreached": str(unreached)}, actors=1))


@pytest.mark.parametrize("place", ["local", "s3"])
def test_failed_rows_are_done_again_and_no_others(ray_cluster, s3: Server, tmp_path, place):
    out = s3.uri("out") if place == "s3" else str(tmp_path / "out")
    unreached, asked = tmp_path / "unreached", tmp_path / "unreached.asked"
    unreached.write_text("")
    healthy = run_stage(job(unreached), str(tmp_path / "healthy"))

    unreached.write_text("00000 00017 00018 00069")
    failed = run_stage(job(unreached), out)
    assert failed.manifest.counts["numbers"] == {OK: 66, "unreachable": 4}
    assert run_stage(job(unreached), out).build_id == failed.build_id

    asked.unlink()
    unreached.write_text("00018")
    again = run_stage(job(unreached), out, retry=True)
    assert sorted(asked.read_text().split()) == ["00000", "00017", "00018", "00069"]
    assert again.uri == failed.uri and again.build_id != failed.build_id and again.digest != failed.digest
    assert again.manifest.counts["numbers"] == {OK: 69, "unreachable": 1}

    assert run_stage(job(unreached), out, retry=True).build_id == again.build_id  # nothing came out differently
    unreached.write_text("")
    whole = run_stage(job(unreached), out, retry=True)
    assert whole.digest == healthy.digest
    assert whole.table("digits", DIGITS).equals(healthy.table("digits", DIGITS))

    asked.unlink()
    assert run_stage(job(unreached), out, retry=True).build_id == whole.build_id
    assert not asked.exists()
    name = whole.uri.partition("?")[0].rpartition("/")[2]
    kept = [folder for folder in storage.list_folders(out) if folder != name]
    assert sorted(kept) == sorted(f"{name}.replaced-{before.build_id}" for before in (failed, again))
    old = artifact.open_artifact(storage.join(out, f"{name}.replaced-{failed.build_id}"))
    assert old.table("numbers", NUMBERS)["status"].to_pylist().count("unreachable") == 4


@pytest.mark.parametrize("place", ["local", "s3"])
def test_rows_that_another_output_holds_are_kept_and_the_others_done(
    ray_cluster, s3: Server, tmp_path, monkeypatch, place
):
    monkeypatch.setattr(
        output, "TARGET_ROW_GROUP_BYTES", 500
    )  # several row groups and files, whose ends must not hang on what is kept
    monkeypatch.setattr(output, "TARGET_FILE_BYTES", 1500)
    out = s3.uri("kept") if place == "s3" else str(tmp_path / "out")
    unreached, asked = tmp_path / "unreached", tmp_path / "unreached.asked"
    unreached.write_text("")

    def grown(rows: int, other: int) -> StageSpec:
        """`rows` ids; the value of the id `other` is another than it was."""
        plan = pa.table(
            {"id": [f"{i:05d}" for i in range(rows)], "value": [-1 if i == other else i for i in range(rows)]}
        )
        steps = [Step(doubled), Step(Reaches, {"unreached": str(unreached)}, actors=1)]
        inputs = {"plan": Input(storage.digest([rows, other]))}
        tables = {"numbers": NUMBERS, "digits": DIGITS}
        return StageSpec(
            "numbers",
            1,
            inputs,
            {},
            {},
            tables,
            lambda work: work.map(plan, steps, rows_per_shard=16, reuse_key_columns=["id", "value"]),
        )

    first = run_stage(grown(40, other=-1), out)
    healthy = run_stage(grown(70, other=7), str(tmp_path / "healthy"))
    asked.unlink()
    more = run_stage(grown(70, other=7), out)
    assert sum(file.path.startswith("numbers/") for file in more.manifest.files) > 1
    assert sorted(asked.read_text().split()) == ["00007", *(f"{i:05d}" for i in range(40, 70))]
    assert more.manifest.reused == Reused(first.name, 39)
    assert more.digest == healthy.digest
    assert more.table("digits", DIGITS).equals(healthy.table("digits", DIGITS))

    asked.unlink()
    fewer = run_stage(grown(50, other=7), out)
    assert not asked.exists() and fewer.manifest.reused == Reused(more.name, 50)
    other = run_stage(dataclasses.replace(grown(50, other=7), config={"another": 1}), out)
    assert len(asked.read_text().split()) == 50 and other.manifest.reused is None


def test_a_killed_run_goes_on_with_the_rows_that_it_kept_at_first(ray_cluster, tmp_path):
    """Meanwhile another output comes that shares more rows; then the one that rows were kept of is deleted."""
    unreached, asked = tmp_path / "unreached", tmp_path / "unreached.asked"
    unreached.write_text("")

    def job(rows: int, stop: bool = False) -> StageSpec:
        plan = pa.table({"id": [f"{i:05d}" for i in range(rows)], "value": list(range(rows))})
        steps = [Step(Reaches, {"unreached": str(unreached)}, actors=1)]

        def do(work: StageOutput) -> None:
            work.map(plan, steps, rows_per_shard=8, reuse_key_columns=["id", "value"])
            if stop:
                raise KeyboardInterrupt

        return StageSpec("numbers", 1, {"plan": Input(str(rows))}, {}, {}, {"numbers": NUMBERS, "digits": DIGITS}, do)

    few = run_stage(job(20), str(tmp_path / "out"))
    with pytest.raises(KeyboardInterrupt):
        run_stage(job(60, stop=True), str(tmp_path / "out"))
    many = run_stage(job(50), str(tmp_path / "out"))
    asked.unlink()
    healthy = run_stage(job(60), str(tmp_path / "healthy"))
    asked.unlink()
    whole = run_stage(job(60), str(tmp_path / "out"))
    assert not asked.exists() and whole.manifest.reused == Reused(few.name, 20) and whole.digest == healthy.digest

    shutil.rmtree(whole.uri)
    shutil.rmtree(many.uri)
    with pytest.raises(KeyboardInterrupt):
        run_stage(job(60, stop=True), str(tmp_path / "out"))
    shutil.rmtree(few.uri)
    asked.unlink()
    alone = run_stage(job(60), str(tmp_path / "out"))
    assert len(asked.read_text().split()) == 60 and alone.manifest.reused is None and alone.digest == healthy.digest


def test_a_planned_row_is_done_again_though_another_one_that_it_descends_from_is_kept(ray_cluster, tmp_path):
    """As the answers for a face and for the animated images of it."""
    ids, unreached = ["00000", "00000-1", "00000-2", "00001"], tmp_path / "unreached"
    plan = pa.table({"id": ids, "value": [0, 1, 2, 3]})
    given = {"unreached": str(unreached)}

    def do(work: StageOutput) -> None:
        work.map(plan, [Step(Reaches, given, actors=1), Step(numbers_alone)], rows_per_shard=4)

    job = StageSpec("numbers", 1, {}, {}, {}, {".": NUMBERS}, do)
    unreached.write_text("00000-1")
    assert run_stage(job, str(tmp_path / "out")).manifest.counts["."] == {OK: 3, "unreachable": 1}
    unreached.write_text("")
    again = run_stage(job, str(tmp_path / "out"), retry=True)
    assert again.table(".", NUMBERS)["id"].to_pylist() == ids and again.manifest.counts["."] == {OK: 4}


def test_nothing_is_kept_of_an_output_that_was_changed(ray_cluster, tmp_path, capfd):
    unreached = tmp_path / "unreached"
    unreached.write_text("00003")

    def job(rows: int) -> StageSpec:
        plan = pa.table({"id": [f"{i:05d}" for i in range(rows)], "value": list(range(rows))})
        steps = [Step(Reaches, {"unreached": str(unreached)}, actors=1)]
        tables = {"numbers": NUMBERS, "digits": DIGITS}
        return StageSpec(
            "numbers",
            1,
            {"plan": Input(str(rows))},
            {},
            {},
            tables,
            lambda work: work.map(plan, steps, rows_per_shard=8, reuse_key_columns=["id"]),
        )

    few = run_stage(job(10), str(tmp_path / "out"))
    part = Path(few.uri) / "digits" / "part-00000.parquet"
    whole = part.read_bytes()
    part.write_bytes(whole[:40] + bytes([whole[40] ^ 1]) + whole[41:])
    assert run_stage(job(20), str(tmp_path / "out")).manifest.reused is None
    assert f"{part} was changed since it was written: no row of {few.uri} is kept." in capfd.readouterr().err
    with pytest.raises(UserError, match=rf"{part} was changed since it was written: delete {few.uri} and run again"):
        run_stage(job(10), str(tmp_path / "out"), retry=True)


def test_a_retry_that_was_stopped_at_its_very_end_is_not_done_again(ray_cluster, tmp_path, monkeypatch):
    unreached, asked = tmp_path / "unreached", tmp_path / "unreached.asked"
    unreached.write_text("00017")
    failed = run_stage(job(unreached), str(tmp_path / "out"))
    unreached.write_text("")

    def stop(directory: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(stage, "_retire", stop)
        run_stage(job(unreached), str(tmp_path / "out"), retry=True)
    asked.unlink()
    assert run_stage(job(unreached), str(tmp_path / "out"), retry=True).manifest.counts["numbers"] == {OK: 70}
    assert not asked.exists()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        failed.name,
        f"{failed.name}.replaced-{failed.build_id}",
    ]


def test_kept_rows_and_new_ones_are_joined_part_by_part(tmp_path):
    """Faces of photographs of which one was not read before, one has two faces, and one has none."""

    def faces(ids: list[str]) -> pa.Table:
        rows = [dict.fromkeys(schema.FACES.names) | {"face_id": row_id, "groups": [("a", row_id)]} for row_id in ids]
        return pa.Table.from_pylist(rows, schema=schema.FACES)

    def photographs(statuses: dict[str, str]) -> pa.Table:
        rows = [dict.fromkeys(schema.PHOTOGRAPHS.names) | {"photo_id": i, "status": s} for i, s in statuses.items()]
        return pa.Table.from_pylist(rows, schema=schema.PHOTOGRAPHS)

    def do(work: StageOutput) -> None:
        work.write_table("photographs", photographs({"a": "ok", "b": "unreachable", "c": "no_face", "d": "ok"}))
        work.write_table("faces", faces(["a-00", "a-01", "d-00"]))

    tables = {"photographs": schema.PHOTOGRAPHS, "faces": schema.FACES}
    before = run_stage(StageSpec("faces", 1, {}, {}, {}, tables, do), str(tmp_path))
    again = keep_permanent(before, "photographs", schema.PHOTOGRAPHS)
    assert again.keep == {"a", "c", "d"}  # where there is no face there will be none
    joined = again.joined("faces", schema.FACES, ["c", None], iter([faces(["b-00"])]))
    assert [piece["face_id"].to_pylist() for piece in joined] == [["a-00", "a-01", "b-00"], ["d-00"]]
    made = iter([photographs({"b": "ok"})])
    joined = again.joined("photographs", schema.PHOTOGRAPHS, ["c", None], made)
    assert [piece["status"].to_pylist() for piece in joined] == [["ok", "ok"], ["no_face", "ok"]]


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_the_keyboard_and_a_cluster_stop_a_run_that_goes_on_later(tmp_path, end):
    shipped = sorted(Path(package_path("package:demo/tw58")).rglob("*.jpg"))
    (tmp_path / "photographs").mkdir()
    for number in range(320):  # five parts: more than are done before the signal
        shutil.copyfile(shipped[number % len(shipped)], tmp_path / "photographs" / f"{number:04d}.jpg")
    command = [
        sys.executable,
        "-m",
        "twfer_dist",
        "faces",
        str(tmp_path / "photographs"),
        "--aligned",
        "--out",
        str(tmp_path / "out"),
    ]
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # what a shell starts in the background is deaf to it
    child = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True, preexec_fn=heard)
    deadline = time.monotonic() + 180
    while not (done := list(tmp_path.glob("out/faces-*/_work/photographs/shard-*.parquet"))):
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    if end == signal.SIGINT:
        os.killpg(child.pid, end)  # as a terminal does
    else:
        child.send_signal(end)
    said = child.communicate(timeout=120)[1]
    assert child.returncode == 130 and "stopped. What is done is kept" in said and "Traceback" not in said
    kept = {path.name: path.stat().st_mtime_ns for path in done}
    assert (
        kept.items()
        <= {
            path.name: path.stat().st_mtime_ns
            for path in tmp_path.glob("out/faces-*/_work/photographs/shard-*.parquet")
        }.items()
    )


def test_photographs_that_are_added_or_changed_are_looked_at_alone(ray_cluster, tmp_path):
    shipped = sorted(Path(package_path("package:demo/tw58")).rglob("*.jpg"))[:4]
    folder = tmp_path / "photographs"
    folder.mkdir()

    def found() -> Artifact:
        return run_stage(faces_job([open_corpus(str(folder))], FacesConfig(size=64)), str(tmp_path / "out"))

    for number, place in enumerate(shipped[:3]):
        shutil.copyfile(place, folder / f"{number}.jpg")
    first = found()
    shutil.copyfile(shipped[3], folder / "3.jpg")
    (folder / "1.jpg").write_bytes(b"no longer a picture")
    second = found()
    assert second.manifest.reused == Reused(first.name, 2)
    rows = {row["path"]: row["status"] for row in second.table("photographs", schema.PHOTOGRAPHS).to_pylist()}
    assert rows == {"0.jpg": "ok", "1.jpg": "unreadable", "2.jpg": "ok", "3.jpg": "ok"}
    before, after = (
        {row["path"]: row for row in out.table("faces", schema.FACES).to_pylist()} for out in (first, second)
    )
    assert after.keys() == {"0.jpg", "2.jpg", "3.jpg"} and all(
        after[name] == before[name] for name in ("0.jpg", "2.jpg")
    )
