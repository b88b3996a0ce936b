"""Rows without a result are done again, and no others; what a first start would have given is what a second gives."""

from pathlib import Path

import pyarrow as pa
import pytest
from engine_jobs import DIGITS, NUMBERS, Config, Reaches, numbers_job
from s3_server import Server

from twfer_dist import engine, schema, storage
from twfer_dist.again import Again


def job(unreached: Path) -> engine.Job:
    return numbers_job(Config(rows=70), step=engine.Step(Reaches, {"unreached": str(unreached)}, actors=1))


@pytest.mark.parametrize("place", ["local", "s3"])
def test_failed_rows_are_done_again_and_no_others(ray_cluster, s3: Server, tmp_path, place):
    out = s3.uri("out") if place == "s3" else str(tmp_path / "out")
    unreached, asked = tmp_path / "unreached", tmp_path / "unreached.asked"
    unreached.write_text("")
    healthy = engine.run(job(unreached), str(tmp_path / "healthy"))

    unreached.write_text("00000 00017 00018 00069")
    failed = engine.run(job(unreached), out)
    assert failed.manifest["counts"]["numbers"] == {schema.OK: 66, "unreachable": 4}
    assert engine.run(job(unreached), out).stamp == failed.stamp

    asked.unlink()
    unreached.write_text("00018")
    again = engine.run(job(unreached), out, retry=True)
    assert sorted(asked.read_text().split()) == ["00000", "00017", "00018", "00069"]
    assert again.uri == failed.uri and again.stamp != failed.stamp and again.digest != failed.digest
    assert again.manifest["counts"]["numbers"] == {schema.OK: 69, "unreachable": 1}

    assert engine.run(job(unreached), out, retry=True).stamp == again.stamp  # nothing came out differently
    unreached.write_text("")
    whole = engine.run(job(unreached), out, retry=True)
    assert whole.digest == healthy.digest
    assert whole.table("digits", DIGITS).equals(healthy.table("digits", DIGITS))

    asked.unlink()
    assert engine.run(job(unreached), out, retry=True).stamp == whole.stamp
    assert not asked.exists()
    name = whole.uri.partition("?")[0].rpartition("/")[2]
    kept = [folder for folder in storage.list_folders(out) if folder != name]
    assert sorted(kept) == sorted(f"{name}.replaced-{before.stamp}" for before in (failed, again))
    old = storage.open_finished(storage.join(out, f"{name}.replaced-{failed.stamp}"))
    assert old.table("numbers", NUMBERS)["status"].to_pylist().count("unreachable") == 4


def test_kept_rows_and_new_ones_are_joined_part_by_part(tmp_path):
    """Faces of photographs of which one was not read before, one has two faces, and one has none."""

    def faces(ids: list[str]) -> pa.Table:
        rows = [dict.fromkeys(schema.FACES.names) | {"face_id": row_id, "groups": [("a", row_id)]} for row_id in ids]
        return pa.Table.from_pylist(rows, schema=schema.FACES)

    def photographs(statuses: dict[str, str]) -> pa.Table:
        rows = [dict.fromkeys(schema.PHOTOGRAPHS.names) | {"photo_id": i, "status": s} for i, s in statuses.items()]
        return pa.Table.from_pylist(rows, schema=schema.PHOTOGRAPHS)

    def do(work: engine.Work) -> None:
        work.write_table("photographs", photographs({"a": "ok", "b": "unreachable", "c": "no_face", "d": "ok"}))
        work.write_table("faces", faces(["a-00", "a-01", "d-00"]))

    tables = {"photographs": schema.PHOTOGRAPHS, "faces": schema.FACES}
    before = engine.run(engine.Job("faces", 1, {}, {}, {}, tables, do), str(tmp_path))
    again = Again(before, "photographs", schema.PHOTOGRAPHS)
    assert again.failed.to_pylist() == ["b", "c"]
    joined = again.joined("faces", schema.FACES, ["c", None], iter([faces(["b-00"]), faces(["c-00"])]))
    assert [piece["face_id"].to_pylist() for piece in joined] == [["a-00", "a-01", "b-00"], ["c-00", "d-00"]]
    made = iter([photographs({"b": "ok", "c": "no_face"})])
    joined = again.joined("photographs", schema.PHOTOGRAPHS, ["c", None], made)
    assert [piece["status"].to_pylist() for piece in joined] == [["ok", "ok"], ["no_face", "ok"]]
