"""MLflow behind a password, unavailable, locked, deleted or of another version: one sentence for each."""

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import mlflow_server
import pytest
from mlflow_server import Proxy

from twfer_dist.core.errors import UserError
from twfer_dist.engine.mlflow_store import Store, Unavailable, sqlite_uri
from twfer_dist.engine.tracking import Tracking

pytestmark = pytest.mark.usefixtures("impatient")


def test_credentials_reach_a_server(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_other_addresses_are_refused(proxy: Proxy) -> None:
    with pytest.raises(UserError, match="answers, but not as MLflow does"):
        Tracking(f"{proxy.uri}/health", "x").check()
    proxy.away = True
    with pytest.raises(Unavailable, match="does not answer"):
        Tracking(proxy.uri, "x").check()
    with pytest.raises(Unavailable, match=r"does not answer \(Connection refused\): start it"):
        Tracking("http://127.0.0.1:9", "x").check()
    with pytest.raises(UserError, match="is not an MLflow address"):
        Tracking("postgres://ann:secret@host/x", "x").check()


def test_a_deleted_experiment_names_the_remedy(mlflow_uri: str, tmp_path: Path) -> None:
    store = Tracking(mlflow_uri, "gone")
    number = store.experiment_id()
    store.client.delete_experiment(number)
    with pytest.raises(
        UserError, match=f"'gone' was deleted in MLflow .* mlflow experiments restore --experiment-id {number}"
    ):
        store.experiment_id()
    store.client.restore_experiment(number)
    assert store.experiment_id() == number


def with_revision(database: Path, revision: str) -> Tracking:
    """The store, marked as written by another version of MLflow."""
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", [revision])
    connection.close()
    return Tracking(sqlite_uri(str(database)), "x")


def test_unusable_databases_are_refused(migrated_database: Path, tmp_path: Path) -> None:
    for name in ("old", "new", "damaged", "locked"):
        shutil.copy(migrated_database, tmp_path / f"{name}.db")
    with pytest.raises(
        UserError,
        match=r"old.db was written by another version of MLflow .*: copy .* aside, then `mlflow db upgrade sqlite",
    ):
        with_revision(tmp_path / "old.db", "0584bdc529eb").check()
    with pytest.raises(UserError, match=r"new.db was written by another version of MLflow .*ffffffffffff"):
        with_revision(tmp_path / "new.db", "ffffffffffff").check()
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(damaged.read_bytes()[:100] + os.urandom(damaged.stat().st_size - 100))
    with pytest.raises(UserError, match=r"damaged.db is damaged \(.*\): move it aside"):
        Tracking(sqlite_uri(str(damaged)), "x").check()
    with sqlite3.connect(tmp_path / "locked.db", isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Unavailable, match="locked.db is locked by another program"):
            Tracking(sqlite_uri(str(tmp_path / "locked.db")), "x").check()
    other.close()
    (tmp_path / "folder.db").mkdir()
    with pytest.raises(UserError, match="is a folder: name a file"):
        Tracking(sqlite_uri(str(tmp_path / "folder.db")), "x").check()


@pytest.mark.long
def test_two_processes_create_one_database(tmp_path: Path) -> None:
    program = (
        "import sys; from twfer_dist.engine.tracking import Tracking; print(Tracking(sys.argv[1], 'x').experiment_id())"
    )
    words = [sys.executable, "-c", program, sqlite_uri(str(tmp_path / "mlflow.db"))]
    both = [subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    printed = [process.communicate(timeout=180) for process in both]
    assert [out for out, _ in printed] == ["1\n", "1\n"], printed


def test_an_experiment_opens_with_its_scores(mlflow_uri: str) -> None:
    store = Store(mlflow_uri, "readable")
    experiment = store.client.get_experiment(store.experiment_id())
    view = "workflowType=machine_learning&viewStateShareKey=scores"
    assert store.page() == f"http://127.0.0.1:5000/#/experiments/{experiment.experiment_id}/runs?{view}"
    assert "metrics.`balanced_accuracy/test`" in experiment.tags["mlflow.sharedViewState.scores"]
    assert "`readable`" in experiment.tags["mlflow.note.content"]
    assert Store(mlflow_uri, "none").page() is None
