"""What tests share: one local Ray for the session, and a migrated MLflow database for each test that asks."""

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import s3_server
from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).resolve().parent.parent

# Before Ray is imported, and inherited by every process that a test starts. Workers import the package and the
# test modules (functions travel by name) from the work tree.
os.environ.update(
    RAY_AUTH_MODE="disabled",
    RAY_DATA_DISABLE_PROGRESS_BARS="1",
    RAY_USAGE_STATS_ENABLED="0",
    RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0",
    AWS_ACCESS_KEY_ID="testing",
    AWS_SECRET_ACCESS_KEY="testing",
    PYTHONPATH=os.pathsep.join([str(ROOT), str(ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])]),
)
os.environ.pop("RAY_ADDRESS", None)  # a cluster of the person who tests is left alone


class ByCluster(LoadScopeScheduling):
    """What one process does: the files that use the Ray cluster, so that there is one, or any other file, whole,
    because the tests of a file share what is expensive to make.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::")[0]
        return "ray" if "ray_cluster" in (ROOT / file).read_text() else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """How two processes share the tests (pytest -n 2)."""
    return ByCluster(config, log)


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """A local Ray with 4 logical CPUs and 1 logical GPU, shared by all tests: what a test changes, it puts back."""
    import ray

    ray.init(
        address="local",
        num_cpus=4,
        num_gpus=1,
        include_dashboard=False,
        object_store_memory=500_000_000,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    yield
    ray.shutdown()


@pytest.fixture
def one_thread() -> Iterator[None]:
    """PyTorch computes on one thread, as a worker does."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def s3() -> Iterator[s3_server.Server]:
    """An S3-speaking server of this test's own."""
    with s3_server.serve() as server:
        yield server


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database with all its tables: making one takes seconds, copying it none."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    folder = tmp_path_factory.mktemp("mlflow")
    SqlAlchemyStore(f"sqlite:///{folder}/mlflow.db", str(folder / "artifacts")).engine.dispose()
    return folder / "mlflow.db"


@pytest.fixture
def mlflow_uri(migrated_database: Path, tmp_path: Path) -> str:
    """The tracking URI of a database of this test's own, in `tmp_path`."""
    shutil.copy(migrated_database, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"
