"""An MLflow store: its address, requests to it, and what its errors mean."""

import contextlib
import fcntl
import functools
import json
import logging
import os
import re
import shlex
import sqlite3
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from twfer_dist.core.errors import UserError
from twfer_dist.engine import resources, storage
from twfer_dist.engine.journal import without_password

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHECK_TIMEOUT_S = 10
"""How long a request waits for an answer before the work starts; it is tried twice."""
LOG_TIMEOUT_S = 30
"""The same during the work."""

REJECTED = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "INVALID_STATE", "RESOURCE_ALREADY_EXISTS")
"""The error codes of MLflow that no retry changes."""

_SQLITE = "sqlite:///"
_VIEW = "scores"
_COLUMNS = [
    "metrics.`balanced_accuracy/test`", "metrics.`balanced_accuracy/validation`", "metrics.`accuracy/test`",
    "tags.`stage`", "params.`network`", "params.`alpha`", "params.`gamma`", "params.`learning_rate`",
    "tags.`twfer.corpora`", "attributes.`Dataset`",
]  # fmt: skip


class Unavailable(UserError):
    """MLflow does not answer now, but may later."""


@contextlib.contextmanager
def request_timeout(seconds: int) -> Iterator[None]:
    """Let MLflow's client wait this long for an answer and try twice, unless the environment says otherwise."""
    wanted = {"MLFLOW_HTTP_REQUEST_TIMEOUT": str(seconds), "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
    changed = {key: value for key, value in wanted.items() if key not in os.environ}
    os.environ.update(changed)
    try:
        yield
    finally:
        for key in changed:
            os.environ.pop(key, None)


def sqlite_uri(path: str) -> str:
    """The address of an SQLite file: SQLAlchemy decodes percent signs, and a `?` would start its options."""
    return _SQLITE + storage.absolute(path).replace("%", "%25").replace("?", "%3F")


def sqlite_path(uri: str) -> Path | None:
    """The file of an SQLite address; None for other addresses."""
    path = uri.removeprefix(_SQLITE).partition("?")[0]
    return Path(urllib.parse.unquote(path)) if uri.startswith(_SQLITE) and path else None


def check_database(database: Path) -> None:
    """UserError where a file is not a usable database: MLflow's client would try for an hour to open it."""
    try:
        with database.open("rb") as file:
            if file.read(16) not in (b"", b"SQLite format 3\0"):
                raise UserError(f"{database} is not an SQLite database: name another file for tracking.")
    except FileNotFoundError:
        pass
    except IsADirectoryError:
        raise UserError(f"{database} is a folder: name a file for tracking.") from None
    except OSError as error:
        raise UserError(
            f"{database} cannot be read ({error.strerror}): grant access, or name another file for tracking."
        ) from None
    with storage.writing(str(database.parent)):
        database.parent.mkdir(parents=True, exist_ok=True)
    try:
        with contextlib.closing(sqlite3.connect(database, timeout=CHECK_TIMEOUT_S)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            connection.rollback()
    except sqlite3.Error as error:
        if "locked" in str(error):
            raise Unavailable(
                f"{database} is locked by another program ({error}): stop that program, and start again."
            ) from None
        if "readonly" in str(error) or "unable to open" in str(error):
            raise UserError(
                f"{database} cannot be written ({error}): grant access, or name another file for tracking."
            ) from None
        raise UserError(f"{database} is damaged ({error}): move it aside, or name another file for tracking.") from None


@functools.cache
def open_database(uri: str) -> None:
    """Open an SQLite store and create its tables if it is new, one process at a time: two at once would both fail."""
    from mlflow import MlflowClient

    database = sqlite_path(uri)
    assert database
    database.parent.mkdir(parents=True, exist_ok=True)
    stray = Path(uri.removeprefix(_SQLITE)).parent  # MLflow creates this folder, without decoding its name
    is_stray = stray != database.parent and not stray.exists()
    folder = os.open(database.parent, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a network file system without locks
            fcntl.flock(folder, fcntl.LOCK_EX)
        MlflowClient(tracking_uri=uri).search_experiments(max_results=1)
    finally:
        os.close(folder)
        if is_stray:
            with contextlib.suppress(OSError):
                os.removedirs(stray)


def explain(error: Exception, uri: str) -> UserError:
    """An error of MLflow's client as a sentence with its remedy."""
    if isinstance(error, UserError):
        return error
    words = without_password(" ".join(str(error).split()))
    words = words if len(words) < 400 else f"{words[:400]} ..."
    server = f"MLflow at {without_password(uri)}"
    if getattr(error, "error_code", None) in REJECTED and "failed with error code" not in words:
        return UserError(f"{server} refuses this ({words}).")
    if database := sqlite_path(uri):
        backup = f"copy {shlex.quote(str(database))} aside, then `mlflow db upgrade {shlex.quote(uri)}`"
        if "out-of-date database schema" in words:
            return UserError(f"{database} was written by another version of MLflow ({words.split('. ')[0]}): {backup}.")
        if "locate revision" in words:
            return UserError(
                f"{database} was written by a newer MLflow ({words}): install that one, or name another file."
            )
        if "malformed" in words or "not a database" in words or "disk I/O error" in words:
            return UserError(f"{database} is damaged ({words}): move it aside, or name another file for tracking.")
        if "locked" in words:
            return Unavailable(f"{database} is locked by another program: stop that program, and start again.")
        return Unavailable(f"{database} cannot be used ({words}): make it writable, or name another file for tracking.")
    code = _status(error)
    if code == 401:
        return UserError(
            f"{server} does not accept the credentials: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, "
            "or MLFLOW_TRACKING_TOKEN, to yours."
        )
    if code == 403:
        return UserError(f"{server} does not allow this to its user ({words}): ask its administrator for write access.")
    if code in (404, 405) or "valid JSON" in words:
        return UserError(f"{server} answers, but not as MLflow does: give the address at which its web page opens.")
    reason = match.group(1) if (match := re.search(r"\[Errno -?\d+\] ([^')\"]+)", words)) else words
    for sign, meaning in (("timed out", "no answer in time"), ("RemoteDisconnected", "it closes the connection")):
        reason = meaning if sign in words else reason
    return Unavailable(f"{server} does not answer ({reason}): start it, or set tracking to sqlite:///mlflow.db.")


def _status(error: Exception) -> int | None:
    """The HTTP status in an error of MLflow's client."""
    if match := re.search(r"failed with error code (\d{3})", str(error)):
        return int(match.group(1))
    if "error_code" not in getattr(error, "json", {"error_code": ""}):  # JSON of another program
        return 404
    return {"UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403}.get(getattr(error, "error_code", ""))


def _credentials() -> dict[str, str]:
    """The credentials for MLflow in the environment, which workers on other machines lack."""
    return {
        key: value
        for key, value in os.environ.items()
        if key.startswith(("MLFLOW_TRACKING_", "MLFLOW_S3_")) and "URI" not in key
    }


@dataclass(frozen=True)
class Store:
    """An MLflow store and an experiment in it. Travels to workers; not part of any fingerprint."""

    uri: str  # http(s)://..., or what `sqlite_uri` gives
    experiment: str
    credentials: Mapping[str, str] = field(default_factory=_credentials, repr=False, compare=False)

    @property
    def shown(self) -> str:
        """The address without user and password."""
        return without_password(self.uri)

    @property
    def interface(self) -> str:
        """Where to look at the runs: an address, or the command that serves a database."""
        return f"mlflow ui --backend-store-uri {shlex.quote(self.uri)}" if self.database else self.shown

    @property
    def database(self) -> Path | None:
        """The SQLite file, if the store is one."""
        return sqlite_path(self.uri)

    @property
    def client(self) -> "MlflowClient":
        for key, value in self.credentials.items():
            os.environ.setdefault(key, value)
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        from mlflow import MlflowClient

        for name in ("mlflow", "alembic"):  # errors are raised as well
            logging.getLogger(name).setLevel(logging.CRITICAL)
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # it warns of each retry
        if self.database:
            open_database(self.uri)
        return MlflowClient(tracking_uri=self.uri)

    def experiment_id(self) -> str:
        """The id of the experiment, created if it does not exist. An SQLite store keeps its artifacts beside itself."""
        self.check()
        location = (self.database.parent / "mlartifacts").as_uri() if self.database else None
        with self._explained(CHECK_TIMEOUT_S):
            client = self.client
            for last in (False, True):
                if experiment := client.get_experiment_by_name(self.experiment):
                    break
                # At first another process may create it at the same time.
                with contextlib.nullcontext() if last else contextlib.suppress(Exception):
                    return client.create_experiment(self.experiment, artifact_location=location, tags=self._tags())
        assert experiment
        if experiment.lifecycle_stage == "deleted":
            restore = (
                f"MLFLOW_TRACKING_URI={shlex.quote(self.shown)} mlflow experiments restore --experiment-id "
                f"{experiment.experiment_id}"
            )
            raise UserError(
                f"The experiment '{self.experiment}' was deleted in MLflow at {self.shown}: restore it with "
                f"`{restore}`, or give the recipe another name."
            )
        return experiment.experiment_id

    def _tags(self) -> dict[str, str]:
        """What makes an experiment readable in MLflow's interface: a description, and a table with scores first."""
        return {
            "mlflow.note.content": f"Stages, trainings and sweeps of the recipe `{self.experiment}`.",
            "mlflow.experimentKind": "custom_model_development",
            f"mlflow.sharedViewState.{_VIEW}": json.dumps({"selectedColumns": _COLUMNS, "viewMaximized": True}),
        }

    def page(self) -> str | None:
        """The address of the table of runs, for a database on the server that `interface` starts; None where the store
        does not answer. Without its options MLflow opens a page about language models.
        """
        try:
            with request_timeout(CHECK_TIMEOUT_S):
                experiment = self.client.get_experiment_by_name(self.experiment)
        except Exception:  # the work is done, and its runs are kept to be sent
            return None
        if not experiment:
            return None
        view = f"workflowType=machine_learning&viewStateShareKey={_VIEW}"
        server = "http://127.0.0.1:5000" if self.database else self.shown.rstrip("/")
        return f"{server}/#/experiments/{experiment.experiment_id}/runs?{view}"

    def check(self) -> None:
        """UserError where the store cannot be used, or is a local file while the cluster has several nodes; Unavailable
        where it does not answer.
        """
        if self.database:
            check_database(self.database)
            self.check_nodes()
        elif not self.uri.startswith(("http://", "https://")):
            raise UserError(f"{self.shown} is not an MLflow address: give http://host:port or sqlite:///file.db.")
        with self._explained(CHECK_TIMEOUT_S):
            self.client.search_experiments(max_results=1)

    def check_nodes(self) -> None:
        """UserError where the store is a local file while the cluster has several nodes, or is about to."""
        import ray

        if self.database and ray.is_initialized() and resources.has_other_nodes():
            raise UserError(
                f"{self.uri} is a file and the cluster has several nodes: start `mlflow server` and give its http "
                "address."
            )

    @contextlib.contextmanager
    def _explained(self, seconds: int) -> Iterator[None]:
        """Turn errors of MLflow's client into UserError, or Unavailable where it does not answer."""
        try:
            with request_timeout(seconds):
                yield
        except UserError:
            raise
        except Exception as error:  # the client raises errors of requests, SQLAlchemy and Alembic too
            raise explain(error, self.uri) from None
