"""Rows that crash the worker: isolated and recorded, while all other rows are as in an undisturbed run."""

import pickle
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from engine_stages import DIGITS, NUMBERS, Adder, Config, CrashOn, CrashOnLoad, Refuse, doubled_or_killed, numbers_spec

from twfer_dist.core import schema
from twfer_dist.core.errors import UserError
from twfer_dist.core.status import KILLED
from twfer_dist.engine import quarantine
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.attempts import counted
from twfer_dist.engine.isolated_worker import IsolatedWorker, Tables, WorkerCrash
from twfer_dist.engine.shards import Step
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import run_stage

ROWS, ROWS_PER_SHARD = 17, 8  # the last shard is one row
POISON = ("00003", "00016")
IDS = pa.table({"id": [f"{k:02d}" for k in range(10)]})


def value(row_id: str) -> int:
    """As in the plan of `numbers_spec`."""
    return ROWS - 1 - int(row_id)


def job(step: Step, first: Step | None = None) -> StageSpec:
    return numbers_spec(Config(rows=ROWS), step=step, first=first, rows_per_shard=ROWS_PER_SHARD)


@pytest.fixture(scope="module")
def undisturbed(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return run_stage(job(Step(CrashOn, {"deadly": ()}, actors=1)), str(tmp_path_factory.mktemp("undisturbed")))


@pytest.mark.parametrize("where", ["actor", "task"])
@pytest.mark.long
def test_poison_rows_are_isolated(undisturbed: Artifact, tmp_path: Path, where: str) -> None:
    deadly = tuple(value(row_id) for row_id in POISON)
    if where == "actor":
        spec = job(Step(CrashOn, {"deadly": tuple(2 * v for v in deadly)}, actors=1))
    else:
        spec = job(Step(CrashOn, {"deadly": ()}, actors=1), Step(doubled_or_killed, {"deadly": deadly}))
    output = run_stage(spec, str(tmp_path))
    rows, expected_rows = (run.table("numbers", NUMBERS).to_pylist() for run in (output, undisturbed))
    for row, expected in zip(rows, expected_rows, strict=True):
        killed = {"id": row["id"], "value": value(row["id"]), "status": KILLED}  # what the plan knows of it
        assert row == (killed if row["id"] in POISON else expected)
    healthy = [row for row in undisturbed.table("digits", DIGITS).to_pylist() if row["digit_id"][:5] not in POISON]
    assert output.table("digits", DIGITS).to_pylist() == healthy
    assert output.manifest.counts["numbers"][KILLED] == 2
    assert [path.name for path in tmp_path.iterdir()] == [output.name]
    assert not (Path(output.uri) / "_work").exists()


def test_no_row_is_lost_where_no_substitute_helps() -> None:
    """The crash depends on the id, which a healthy substitute takes over."""

    def attempt(rows: pa.Table, task: str) -> Tables | WorkerCrash:
        return WorkerCrash("SIGKILL") if "03" in rows["id"].to_pylist() else {"rows": rows}

    pieces, killed = quarantine.bisect_poison_rows(IDS, attempt)
    assert killed == {"03": "SIGKILL, even with this row alone."}
    done = [row_id for piece in pieces for row_id in piece["rows"]["id"].to_pylist()]
    assert done == [row_id for row_id in IDS["id"].to_pylist() if row_id != "03"]


def test_rows_that_crash_only_together_are_all_done() -> None:
    def attempt(rows: pa.Table, task: str) -> Tables | WorkerCrash:
        return WorkerCrash("too many") if len(rows) > 3 else {"rows": rows}

    pieces, killed = quarantine.bisect_poison_rows(IDS, attempt)
    assert not killed
    assert [row_id for piece in pieces for row_id in piece["rows"]["id"].to_pylist()] == IDS["id"].to_pylist()


def test_rows_of_a_worker_killed_from_outside_are_redone() -> None:
    crashes = [WorkerCrash("from outside")]

    def attempt(rows: pa.Table, task: str) -> Tables | WorkerCrash:
        return crashes.pop() if crashes else {"rows": rows}

    pieces, killed = quarantine.bisect_poison_rows(IDS, attempt)
    assert not killed and [piece["rows"] for piece in pieces] == [IDS]


def test_a_class_that_keeps_crashing_on_load_is_refused(ray_cluster: None) -> None:
    with counted() as attempts:
        for number in range(3):  # begun by processes that died over it
            attempts.actor.begin.remote("loading Adder", str(number))
        words = "Adder crashed its worker 3 times while loading, probably out of memory: give"
        with pytest.raises(UserError, match=words):
            attempts.build(Adder, {"add": 1}, limit=3)
        assert attempts.build(Adder, {"add": 1}, limit=4).add == 1  # type: ignore[attr-defined]
        assert attempts.build(Adder, {"add": 1}, limit=1).add == 1  # type: ignore[attr-defined]  # a success forgets


def test_deaths_over_a_shard_are_counted(ray_cluster: None) -> None:
    with counted() as attempts:
        attempts.actor.begin.remote("step 0 of shard 7", "of a process that died")
        for shard, deaths in ((7, 1), (7, 1), (8, 0)):
            with attempts.attempt(shard, "step 0") as earlier:
                assert earlier == deaths


@pytest.mark.long
def test_actors_that_crash_on_load_end_the_run(ray_cluster: None, tmp_path: Path) -> None:
    """Ray alone would restart them without limit."""
    with pytest.raises(UserError, match=r"CrashOnLoad crashed its worker \d+ times while loading"):
        run_stage(job(Step(CrashOnLoad, actors=2)), str(tmp_path))


@pytest.mark.parametrize("where", ["constructor", "call"])
def test_a_user_error_in_the_isolated_worker_is_raised(where: str) -> None:
    worker = IsolatedWorker(pickle.dumps([(Refuse, {"where": where})]))
    with worker, pytest.raises(UserError, match="name another file"):
        worker.run(pa.table({"id": ["a"]}))


def test_a_bug_in_the_isolated_worker_is_not_a_crash() -> None:
    worker = IsolatedWorker(pickle.dumps([(CrashOn, {"deadly": ()})]))
    with worker, pytest.raises(RuntimeError, match="KeyError"):
        worker.run(pa.table({"name": ["a"]}))


def test_a_crash_of_the_isolated_worker_is_survived() -> None:
    with IsolatedWorker(pickle.dumps([(CrashOn, {"deadly": (1,)})])) as worker:
        assert worker.run(pa.table({"id": ["a"], "value": [1]})) == WorkerCrash("SIGABRT ended the worker process")
        assert isinstance(worker.run(pa.table({"id": ["a"], "value": [2]})), dict)


def test_a_killed_row_keeps_what_the_plan_knows(tmp_path: Path) -> None:
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


def test_a_killed_row_with_a_list_of_fixed_size_is_readable(tmp_path: Path) -> None:
    plan = pa.table({"image_id": ["aa"], "figure_id": ["a"]})
    joined = quarantine.join(plan, [], {"aa": "SIGSEGV ended it."}, [(".", schema.RENDERED)])
    pq.write_table(joined["."], tmp_path / "b.parquet")
    assert pq.read_table(tmp_path / "b.parquet")["status"].to_pylist() == [KILLED]
