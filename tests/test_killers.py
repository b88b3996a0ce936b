"""Rows that end the process which works on them: found, recorded, and nobody else is lost or changed for it."""

import pickle
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from engine_jobs import DIGITS, NUMBERS, Config, Fragile, Refuses, Stillborn, fragile, numbers_job

from twfer_dist.core import schema
from twfer_dist.core.errors import UserError
from twfer_dist.core.status import KILLED
from twfer_dist.engine import artifact, quarantine
from twfer_dist.engine.shards import Step
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import run_stage

ROWS, PART = 17, 8  # the last part is one row
DEADLY = ("00003", "00016")


def values(ids: tuple[str, ...]) -> tuple[int, ...]:
    """As the plan of `numbers_job` has them."""
    return tuple(ROWS - 1 - int(i) for i in ids)


def job(step: Step, first: Step | None = None) -> StageSpec:
    return numbers_job(Config(rows=ROWS), step=step, first=first, rows_per_shard=PART)


@pytest.fixture(scope="module")
def undisturbed(ray_cluster, tmp_path_factory) -> artifact.Artifact:
    return run_stage(job(Step(Fragile, {"deadly": ()}, actors=1)), str(tmp_path_factory.mktemp("undisturbed")))


@pytest.mark.parametrize("where", ["actor", "task"])
def test_rows_that_kill_are_found_and_the_others_get_the_bytes_that_they_always_get(undisturbed, tmp_path, where):
    deadly = values(DEADLY)
    if where == "actor":
        killing = job(Step(Fragile, {"deadly": tuple(2 * v for v in deadly)}, actors=1))
    else:
        killing = job(Step(Fragile, {"deadly": ()}, actors=1), Step(fragile, {"deadly": deadly}))
    finished = run_stage(killing, str(tmp_path))
    numbers, digits = finished.table("numbers", NUMBERS), finished.table("digits", DIGITS)
    for row, expected in zip(numbers.to_pylist(), undisturbed.table("numbers", NUMBERS).to_pylist(), strict=True):
        if row["id"] in DEADLY:
            # What the plan knows of it stays, nothing else.
            assert row == {"id": row["id"], "value": values((row["id"],))[0], "status": KILLED}
        else:
            assert row == expected
    left = [row for row in undisturbed.table("digits", DIGITS).to_pylist() if row["digit_id"][:5] not in DEADLY]
    assert digits.to_pylist() == left
    assert finished.manifest.counts["numbers"][KILLED] == 2
    assert [path.name for path in tmp_path.iterdir()] == [Path(finished.uri).name]
    assert not (Path(finished.uri) / "_work").exists()


def test_a_step_that_goes_by_ids_loses_no_row_either(ray_cluster, tmp_path):
    """No neighbour can stand in for the killer there, and the pieces that were found whole stand."""
    deadly = 2 * (199 - 3)
    finished = run_stage(job(Step(Fragile, {"deadly": (deadly,), "by_id": True}, actors=1)), str(tmp_path))
    status = dict(
        zip(*(finished.table("numbers", NUMBERS)[name].to_pylist() for name in ("id", "status")), strict=True)
    )
    assert list(status) == [f"{k:05d}" for k in range(ROWS)]
    assert [row_id for row_id, found in status.items() if found == KILLED] == ["00003"]


def test_rows_that_end_the_process_only_together_are_all_done():
    rows = pa.table({"id": [f"{k:02d}" for k in range(10)]})
    pieces, killed = quarantine.bisect_poison_rows(
        rows, lambda some, what: quarantine.WorkerCrash("too many") if len(some) > 3 else {"rows": some}
    )
    assert not killed
    assert [row_id for piece in pieces for row_id in piece["rows"]["id"].to_pylist()] == rows["id"].to_pylist()


def test_a_class_that_cannot_be_built_without_ending_its_process_is_one_sentence(ray_cluster, tmp_path):
    """Ray would build it for ever."""
    with pytest.raises(UserError, match=r"building Stillborn ends its process, \d+ times now"):
        run_stage(job(Step(Stillborn, actors=2)), str(tmp_path))


def test_rows_whose_process_was_ended_from_outside_get_the_bytes_that_they_always_get():
    rows, deaths = pa.table({"id": [f"{k:02d}" for k in range(10)]}), [quarantine.WorkerCrash("from outside")]
    pieces, killed = quarantine.bisect_poison_rows(rows, lambda some, what: deaths.pop() if deaths else {"rows": some})
    assert not killed and [piece["rows"] for piece in pieces] == [rows]


@pytest.mark.parametrize("where", ["constructor", "call"])
def test_a_problem_in_the_process_of_its_own_is_raised(where):
    with (
        quarantine.IsolatedWorker(pickle.dumps([(Refuses, {"where": where})])) as child,
        pytest.raises(UserError, match="name another file"),
    ):
        child.answer(pa.table({"id": ["a"]}))


def test_a_bug_in_the_process_of_its_own_is_not_taken_for_a_killer():
    with (
        quarantine.IsolatedWorker(pickle.dumps([(Fragile, {"deadly": ()})])) as child,
        pytest.raises(RuntimeError, match="KeyError"),
    ):
        child.answer(pa.table({"name": ["a"]}))


def test_the_row_of_a_killed_photograph_keeps_what_the_plan_knows_and_can_be_read_back(tmp_path):
    known = {
        "photo_id": "aa",
        "corpus": "c",
        "path": "a.jpg",
        "figure_id": "a",
        "label": 3,
        "groups": [("posture", "general")],
    }
    plan = pa.Table.from_pylist(
        [{"label_rule": "given", "split": None, "action_units": None} | known], schema=schema.CORPUS
    )
    tables = [("photographs", schema.PHOTOGRAPHS), ("faces", schema.FACES)]
    joined = quarantine.join(plan, [], {"aa": "SIGSEGV ended it."}, tables)
    pq.write_table(joined["photographs"], tmp_path / "a.parquet")
    (row,) = pq.read_table(tmp_path / "a.parquet").to_pylist()
    assert {key: row[key] for key in known} == known
    assert (row["status"], row["error"], row["width"], row["faces"]) == (KILLED, "SIGSEGV ended it.", None, None)
    assert len(joined["faces"]) == 0

    picture = pa.table({"image_id": ["aa"], "figure_id": ["a"]})
    pq.write_table(
        quarantine.join(picture, [], {"aa": "SIGSEGV ended it."}, [(".", schema.RENDERED)])["."], tmp_path / "b.parquet"
    )
    assert pq.read_table(tmp_path / "b.parquet")["status"].to_pylist() == [KILLED]
