"""MLflow as people have it: behind a password, away, locked, deleted, of another version; and nothing that it does
stops the work.
"""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import mlflow_server
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow_server import Proxy

from twfer_dist.cli.main import main
from twfer_dist.core.errors import UserError
from twfer_dist.engine import mlflow_store, tracking
from twfer_dist.engine.mlflow_run import KEY
from twfer_dist.engine.mlflow_store import Away, sqlite_uri
from twfer_dist.engine.tracking import Tracking


@pytest.fixture(scope="module")
def server(migrated_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(migrated_database, folder / "mlflow.db")
    with mlflow_server.serve(folder / "mlflow.db") as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second try comes at once, and what is silent is asked again at once."""
    for name, value in (("TIMEOUT", "60"), ("BACKOFF_FACTOR", "0"), ("BACKOFF_JITTER", "0")):
        monkeypatch.setenv(f"MLFLOW_HTTP_REQUEST_{name}", value)
    monkeypatch.setattr(tracking, "WAIT", 1e-9)
    monkeypatch.setattr(mlflow_store, "CHECK_SECONDS", 0.2)


@pytest.fixture
def proxy(server: Proxy) -> Iterator[Proxy]:
    yield server
    server.authorization, server.away = None, False


def the_run(store: Tracking, name: str) -> tuple[MlflowClient, Run]:
    client = store.client
    (run,) = client.search_runs([store.experiment_id()], f"attributes.run_name = '{name}'")
    return client, run


def waiting(out: Path) -> int:
    return len(list((out / "_mlflow").glob("*/*.entry.json")))


def test_password_and_token_reach_a_server_without_health(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy.authorization = mlflow_server.basic("ann", "secret")
    with pytest.raises(UserError, match="does not accept the credentials: set MLFLOW_TRACKING_USERNAME"):
        Tracking(proxy.uri, "a").check()
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    store = Tracking(proxy.uri, "a")
    store.check()
    assert (
        "secret" not in f"{store!r} {store.shown} {store.interface}"
        and store.credentials["MLFLOW_TRACKING_PASSWORD"] == "secret"
    )
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.delenv(name)
    proxy.authorization = "Bearer abc"
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "abc")
    Tracking(proxy.uri, "a").check()


def test_a_password_in_the_address_is_written_nowhere(
    proxy: Proxy, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    proxy.authorization = mlflow_server.basic("ann", "secret")
    store = Tracking(proxy.uri.replace("://", "://ann:secret@"), "address")
    with store.start("train-1", str(tmp_path), params={"initial": "s3://key:sec@ret@bucket/x"}) as run:
        assert the_run(store, "train-1")[1].data.params == {"initial": "s3://bucket/x"}
        proxy.away = True
        run.log_metrics({"loss": 1.0})
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    said = capfd.readouterr()
    assert waiting(tmp_path) and b"secret" not in written and "secret" not in said.out + said.err
    assert "127.0.0.1" in said.err and said.out == ""
    refused = CliRunner().invoke(main, ["status", "ftp://ann:secret@host/x"])
    assert refused.exit_code == 2 and "ftp://host/x is not a place" in refused.stderr and "secret" not in refused.stderr


def test_what_a_server_misses_is_sent_once_it_answers(
    proxy: Proxy, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    store = Tracking(proxy.uri, "dies")
    with store.start("train-2", str(tmp_path), tags={"fingerprint": "2"}, params={"size": 32}) as run:
        run.log_metrics({"loss": 3.0}, step=1)
        proxy.away = True
        for step in (2, 3):
            run.log_metrics({"loss": 4.0 - step}, step=step)
        run.log_text("kept", "notes/scores.json")
        run.log_model(torch.nn.Linear(3, 2).eval(), "linear", np.zeros((2, 3), np.float32))
    said = capfd.readouterr()
    assert (
        waiting(tmp_path) == 5
        and said.err.count("goes on without MLflow") == 1
        and "5 entries of runs wait in" in said.err
    )
    shutil.copytree(tmp_path / "_mlflow", tmp_path / "copy")

    proxy.away = False
    store.send_waiting(str(tmp_path))
    client, found = the_run(store, "train-2")
    assert (
        found.info.status == "FINISHED"
        and found.data.params == {"size": "32"}
        and found.data.tags["fingerprint"] == "2"
    )
    history = client.get_metric_history(found.info.run_id, "loss")
    assert [(m.step, m.value) for m in history] == [(1, 3.0), (2, 2.0), (3, 1.0)]
    assert history[0].timestamp <= history[1].timestamp <= history[2].timestamp <= found.info.end_time
    assert [f.path for f in client.list_artifacts(found.info.run_id, "notes")] == ["notes/scores.json"]
    (model,) = client.search_logged_models([found.info.experiment_id])
    assert model.source_run_id == found.info.run_id and str(model.status) == "READY"
    assert list((tmp_path / "_mlflow").iterdir()) == []

    for path in (tmp_path / "copy").rglob("*loss*"):
        path.unlink()
    shutil.copytree(
        tmp_path / "copy", tmp_path / "_mlflow", dirs_exist_ok=True
    )  # a process that was killed before it noted what it sent
    store.send_waiting(str(tmp_path))
    assert [m.step for m in client.get_metric_history(found.info.run_id, "loss")] == [1, 2, 3]
    assert capfd.readouterr().out == ""  # MLflow prints where to view a run


def test_a_run_that_starts_while_the_server_is_away(proxy: Proxy, tmp_path: Path) -> None:
    store = Tracking(proxy.uri, "late")
    proxy.away = True
    with store.start("sweep-3", str(tmp_path), params={"a": 1}) as run:
        assert run.id is None
        with store.start("trial-000", str(tmp_path), parent=run, params={"b": 2}) as trial:
            trial.log_metrics({"loss": 0.5}, step=1)
        proxy.away = False
        run.log_metrics({"best": 0.5})
        assert run.id is not None
    _, parent = the_run(store, "sweep-3")
    _, nested = the_run(store, "trial-000")
    assert nested.data.tags["mlflow.parentRunId"] == parent.info.run_id and nested.data.metrics == {"loss": 0.5}
    assert {parent.info.status, nested.info.status} == {"FINISHED"} and waiting(tmp_path) == 0


def test_what_mlflow_rejects_is_left_out(mlflow_uri: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    store = Tracking(mlflow_uri, "rejects")
    with store.start("train-4", str(tmp_path), params={"a": 1}) as run:
        run.log_metrics({"loss!": 1.0})
        run.log_metrics({"loss": 2.0})
    _, found = the_run(store, "train-4")
    assert found.data.metrics == {"loss": 2.0} and waiting(tmp_path) == 0
    assert "MLflow rejects the metrics of train-4" in capfd.readouterr().err


def test_other_addresses_are_sentences(proxy: Proxy) -> None:
    with pytest.raises(UserError, match="answers, but not as MLflow does"):
        Tracking(f"{proxy.uri}/health", "x").check()
    proxy.away = True
    with pytest.raises(Away, match="does not answer"):
        Tracking(proxy.uri, "x").check()
    with pytest.raises(Away, match=r"does not answer \(Connection refused\): start it"):
        Tracking("http://127.0.0.1:9", "x").check()
    with pytest.raises(UserError, match="is no MLflow address"):
        Tracking("postgres://ann:secret@host/x", "x").check()


def test_a_deleted_experiment_is_named_with_its_remedy(mlflow_uri: str, tmp_path: Path) -> None:
    store = Tracking(mlflow_uri, "gone")
    number = store.experiment_id()
    store.client.delete_experiment(number)
    with pytest.raises(
        UserError, match=f"'gone' was deleted in MLflow .* mlflow experiments restore --experiment-id {number}"
    ):
        store.experiment_id()
    store.client.restore_experiment(number)
    assert store.experiment_id() == number


def changed(database: Path, revision: str) -> Tracking:
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", [revision])
    connection.close()
    return Tracking(sqlite_uri(str(database)), "x")


def test_databases_of_other_versions_and_damaged_ones(migrated_database: Path, tmp_path: Path) -> None:
    for name in ("old", "new", "damaged", "locked"):
        shutil.copy(migrated_database, tmp_path / f"{name}.db")
    with pytest.raises(
        UserError,
        match=r"old.db was written by another version of MLflow .*: copy .* aside, then `mlflow db upgrade sqlite",
    ):
        changed(tmp_path / "old.db", "0584bdc529eb").check()
    with pytest.raises(UserError, match=r"new.db was written by another version of MLflow .*ffffffffffff"):
        changed(tmp_path / "new.db", "ffffffffffff").check()
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(damaged.read_bytes()[:100] + os.urandom(damaged.stat().st_size - 100))
    with pytest.raises(UserError, match=r"damaged.db is damaged \(.*\): move it aside"):
        Tracking(sqlite_uri(str(damaged)), "x").check()
    with sqlite3.connect(tmp_path / "locked.db", isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Away, match="locked.db is locked by another program"):
            Tracking(sqlite_uri(str(tmp_path / "locked.db")), "x").check()
    other.close()
    (tmp_path / "folder.db").mkdir()
    with pytest.raises(UserError, match="is a folder: name a file"):
        Tracking(sqlite_uri(str(tmp_path / "folder.db")), "x").check()


def test_two_processes_make_one_new_database(tmp_path: Path) -> None:
    program = (
        "import sys; from twfer_dist.engine.tracking import Tracking; print(Tracking(sys.argv[1], 'x').experiment_id())"
    )
    words = [sys.executable, "-c", program, sqlite_uri(str(tmp_path / "mlflow.db"))]
    both = [subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    told = [process.communicate(timeout=180) for process in both]
    assert [out for out, _ in told] == ["1\n", "1\n"], told


def test_runs_of_a_killed_process_are_closed(mlflow_uri: str, tmp_path: Path) -> None:
    program = (
        "import os, signal, sys\n"
        "from twfer_dist.engine.tracking import Tracking\n"
        "store, out = Tracking(sys.argv[1], 'x'), sys.argv[2]\n"
        "with store.start('sweep-5', out, params={}) as run, store.start('trial-000', out, parent=run, params={}):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, mlflow_uri, str(tmp_path)], timeout=180)
    assert killed.returncode == -signal.SIGKILL
    store = Tracking(mlflow_uri, "x")
    states = lambda: sorted(run.info.status for run in store.client.search_runs([store.experiment_id()]))  # noqa: E731
    assert states() == ["RUNNING", "RUNNING"]
    with store.start("sweep-6", str(tmp_path), params={}):
        assert states() == ["RUNNING"] * 3  # of another stage, which may be at work
    with store.start("sweep-5", str(tmp_path), params={}):
        assert states() == ["FINISHED", "KILLED", "KILLED", "RUNNING"]


def test_a_run_is_found_by_its_key_and_not_made_twice(mlflow_uri: str, tmp_path: Path) -> None:
    store = Tracking(mlflow_uri, "once")
    with store.start("train-7", str(tmp_path), params={}) as run:
        run.id = None  # as a worker has it whose driver could not make the run
        run.log_metrics({"loss": 1.0})
    _, found = the_run(store, "train-7")
    assert found.data.tags[KEY] == run.key and found.info.run_id == run.id
