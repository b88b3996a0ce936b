"""The address of an MLflow store, how it is asked, and what its errors mean."""

import contextlib
import fcntl
import functools
import logging
import os
import re
import shlex
import sqlite3
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mlflow import MlflowClient

from twfer_dist.core.errors import UserError
from twfer_dist.engine import storage
from twfer_dist.engine.journal import without_password

CHECK_SECONDS = 10
"""How long a request waits for an answer before the work starts. There is one more try."""
LOG_SECONDS = 30
"""The same while the work goes on."""

REFUSED = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "INVALID_STATE", "RESOURCE_ALREADY_EXISTS")
"""What MLflow answers, as error_code, where asking again gives the same."""

_SQLITE = "sqlite:///"


class Away(UserError):
    """MLflow does not answer now. It may later."""


@contextlib.contextmanager
def patience(seconds: int) -> Iterator[None]:
    """Meanwhile MLflow's client waits so long for an answer, and tries once more, unless the environment says
    otherwise.
    """
    wanted = {"MLFLOW_HTTP_REQUEST_TIMEOUT": str(seconds), "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
    changed = {key: value for key, value in wanted.items() if key not in os.environ}
    os.environ.update(changed)
    try:
        yield
    finally:
        for key in changed:
            os.environ.pop(key, None)


def sqlite_uri(path: str) -> str:
    """The address of an SQLite file: SQLAlchemy decodes what is encoded in it, and a `?` would begin its options."""
    return _SQLITE + storage.absolute(path).replace("%", "%25").replace("?", "%3F")


def sqlite_path(uri: str) -> Path | None:
    """The file of an SQLite address; None for any other."""
    path = uri.removeprefix(_SQLITE).partition("?")[0]
    return Path(urllib.parse.unquote(path)) if uri.startswith(_SQLITE) and path else None


def check_database(database: Path) -> None:
    """Problem where a file is no database, or cannot be read and written: MLflow's own client tries for an hour to open
    one.
    """
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
            f"{database} cannot be read ({error.strerror}): allow it, or name another file for tracking."
        ) from None
    with storage.writing(str(database.parent)):
        database.parent.mkdir(parents=True, exist_ok=True)
    try:
        with contextlib.closing(sqlite3.connect(database, timeout=CHECK_SECONDS)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            connection.rollback()
    except sqlite3.Error as error:
        if "locked" in str(error):
            raise Away(f"{database} is locked by another program ({error}): let it end, and start again.") from None
        if "readonly" in str(error) or "unable to open" in str(error):
            raise UserError(
                f"{database} cannot be written ({error}): allow it, or name another file for tracking."
            ) from None
        raise UserError(f"{database} is damaged ({error}): move it aside, or name another file for tracking.") from None


@functools.cache
def open_database(uri: str) -> None:
    """Open an SQLite store, and make its tables where it is new, one process at a time: two that make them at once both
    fail.
    """
    from mlflow import MlflowClient

    database = sqlite_path(uri)
    assert database
    database.parent.mkdir(parents=True, exist_ok=True)
    littered = Path(uri.removeprefix(_SQLITE)).parent  # MLflow makes this folder, without decoding its name
    is_litter = littered != database.parent and not littered.exists()
    folder = os.open(database.parent, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a network file system that has no locks
            fcntl.flock(folder, fcntl.LOCK_EX)
        MlflowClient(tracking_uri=uri).search_experiments(max_results=1)
    finally:
        os.close(folder)
        if is_litter:
            with contextlib.suppress(OSError):
                os.removedirs(littered)


def problem_of(error: Exception, uri: str) -> UserError:
    """An error of MLflow's client as the sentence that helps."""
    if isinstance(error, UserError):
        return error
    words = without_password(" ".join(str(error).split()))
    words = words if len(words) < 400 else f"{words[:400]} ..."
    place = f"MLflow at {without_password(uri)}"
    if getattr(error, "error_code", None) in REFUSED and "failed with error code" not in words:
        return UserError(f"{place} refuses this ({words}).")
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
            return Away(f"{database} is locked by another program: let it end, and start again.")
        return Away(
            f"{database} cannot be used ({words}): see that it can be written, or name another file for tracking."
        )
    code = _status(error)
    if code == 401:
        return UserError(
            f"{place} does not accept the credentials: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, "
            "or MLFLOW_TRACKING_TOKEN, to yours."
        )
    if code == 403:
        return UserError(
            f"{place} does not allow this to its user ({words}): ask who runs it for the right to write there."
        )
    if code in (404, 405) or "valid JSON" in words:
        return UserError(f"{place} answers, but not as MLflow does: give the address at which its web page opens.")
    reason = found.group(1) if (found := re.search(r"\[Errno -?\d+\] ([^')\"]+)", words)) else words
    for sign, meaning in (("timed out", "no answer in time"), ("RemoteDisconnected", "it closes the connection")):
        reason = meaning if sign in words else reason
    return Away(f"{place} does not answer ({reason}): start it, or set tracking to sqlite:///mlflow.db.")


def _status(error: Exception) -> int | None:
    """The HTTP status in an error of MLflow's client."""
    if found := re.search(r"failed with error code (\d{3})", str(error)):
        return int(found.group(1))
    if "error_code" not in getattr(error, "json", {"error_code": ""}):  # JSON of another program
        return 404
    return {"UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403}.get(getattr(error, "error_code", ""))


def _credentials() -> dict[str, str]:
    """What the environment says of how to reach MLflow: workers on other machines do not have it."""
    return {
        key: value
        for key, value in os.environ.items()
        if key.startswith(("MLFLOW_TRACKING_", "MLFLOW_S3_")) and "URI" not in key
    }


@dataclass(frozen=True)
class Store:
    """An MLflow store and an experiment in it. Travels to workers; is in no fingerprint."""

    uri: str  # http(s)://..., or what `sqlite_uri` gives
    experiment: str
    credentials: Mapping[str, str] = field(default_factory=_credentials, repr=False, compare=False)

    @property
    def shown(self) -> str:
        """The address as it may be printed and written down."""
        return without_password(self.uri)

    @property
    def interface(self) -> str:
        """Where a person looks at the runs: an address, or the command that serves a database."""
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

        for name in ("mlflow", "alembic"):  # what goes wrong is an exception too
            logging.getLogger(name).setLevel(logging.CRITICAL)
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # it warns of each second try
        if self.database:
            open_database(self.uri)
        return MlflowClient(tracking_uri=self.uri)

    def experiment_id(self) -> str:
        """The id of the experiment, which is made where it is not there; an SQLite store keeps artifacts beside
        itself.
        """
        self.check()
        location = (self.database.parent / "mlartifacts").as_uri() if self.database else None
        with self._problems(CHECK_SECONDS):
            client = self.client
            for last in (False, True):
                if found := client.get_experiment_by_name(self.experiment):
                    break
                with (
                    contextlib.nullcontext() if last else contextlib.suppress(Exception)
                ):  # another process may make it just now
                    return client.create_experiment(self.experiment, artifact_location=location)
        assert found
        if found.lifecycle_stage == "deleted":
            restore = (
                f"MLFLOW_TRACKING_URI={shlex.quote(self.shown)} mlflow experiments restore --experiment-id "
                f"{found.experiment_id}"
            )
            raise UserError(
                f"The experiment '{self.experiment}' was deleted in MLflow at {self.shown}: bring it back with "
                f"`{restore}`, "
                "or give the recipe another name."
            )
        return found.experiment_id

    def check(self) -> None:
        """Problem where the store cannot be used, or is a file of this machine while the cluster has several; Away
        where it is silent.
        """
        if self.database:
            check_database(self.database)
            import ray

            if ray.is_initialized() and sum(node["Alive"] for node in ray.nodes()) > 1:
                raise UserError(
                    f"{self.uri} is a file and the cluster has several nodes: start `mlflow server` and give its "
                    "http address."
                )
        elif not self.uri.startswith(("http://", "https://")):
            raise UserError(
                f"{self.shown} is no MLflow address this program knows: give http://host:port or sqlite:///file.db."
            )
        with self._problems(CHECK_SECONDS):
            self.client.search_experiments(max_results=1)

    @contextlib.contextmanager
    def _problems(self, seconds: int) -> Iterator[None]:
        """What MLflow refuses is a Problem, or Away where it does not answer."""
        try:
            with patience(seconds):
                yield
        except UserError:
            raise
        except Exception as error:  # the client raises errors of requests, SQLAlchemy and Alembic too
            raise problem_of(error, self.uri) from None
