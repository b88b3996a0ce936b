"""Fixtures for MLflow behind a proxy."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import mlflow_server
import pytest
from mlflow_server import Proxy

from twfer_dist.engine import log, mlflow_run, mlflow_store, tracking


@pytest.fixture(scope="session")
def mlflow_proxy(migrated_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(migrated_database, folder / "mlflow.db")
    with mlflow_server.serve(folder / "mlflow.db") as proxy:
        yield proxy


@pytest.fixture
def proxy(mlflow_proxy: Proxy) -> Iterator[Proxy]:
    """A real MLflow server behind a proxy, which answers everyone until a test says otherwise."""
    yield mlflow_proxy
    mlflow_proxy.authorization, mlflow_proxy.away = None, False


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are retried at once, and a store that did not answer is used again at once."""
    for name, value in (("TIMEOUT", "60"), ("BACKOFF_FACTOR", "0"), ("BACKOFF_JITTER", "0")):
        monkeypatch.setenv(f"MLFLOW_HTTP_REQUEST_{name}", value)
    for module in (tracking, mlflow_run):
        monkeypatch.setattr(module, "RETRY_AFTER_S", 1e-9)
    monkeypatch.setattr(mlflow_store, "CHECK_TIMEOUT_S", 0.2)
    log.configure()
