"""Start Ray on this machine, or join a cluster."""

import contextlib
import logging
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twfer_dist.core.errors import UserError
from twfer_dist.engine import last_words, ray_folder, resources
from twfer_dist.engine.journal import without_password

PROBE_SECONDS = 3.0
"""How long `RAY_ADDRESS` may take to answer; it is tried twice."""

_QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}


def start() -> None:
    """Join the cluster named by `RAY_ADDRESS` (set inside `ray job submit`), or start Ray on this machine. Does nothing
    where this process is already connected to Ray.

    On a machine with few cores Ray gets at least four logical CPUs: with two, Ray Train and Ray Data wait for each
    other indefinitely.
    """
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray
    import ray.data  # configures its loggers, which are silenced below: our progress line and errors replace them

    for name in ("ray.data", "ray.train", "ray.tune"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if ray.is_initialized():
        return
    address = os.environ.get("RAY_ADDRESS", "")
    if resources.on_cluster():
        probe(address)
    handler = signal.getsignal(signal.SIGTERM) or signal.SIG_DFL
    with _stderr_silenced():
        if resources.on_cluster():
            _join(address)
        else:
            _start_here()
    last_words.prepare()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)  # Ray's C++ core would end the process with a page of stack frames


def _join(address: str) -> None:
    import ray

    try:
        ray.init(address="auto", **_QUIET)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise UserError(
            f"No Ray cluster answers at RAY_ADDRESS={address} ({error}): start it, or unset RAY_ADDRESS."
        ) from None


def probe(address: str) -> None:
    """UserError where nothing, or something other than Ray, listens at RAY_ADDRESS: Ray itself would retry silently
    for ten minutes.
    """
    if address == "auto":
        import ray._private.services

        try:
            address = ray._private.services.get_ray_address_from_environment("auto", None)
        except ConnectionError:
            raise UserError(
                "RAY_ADDRESS=auto, and no Ray runs on this machine: start it with `ray start --head`, or unset it."
            ) from None
    host, port = _host_and_port(address)
    for last in (False, True):
        try:
            return _check_listener(address, host, port)
        except OSError as error:
            if last:
                raise UserError(
                    f"No Ray cluster answers at RAY_ADDRESS={address} ({error}): start it, or unset RAY_ADDRESS."
                ) from None
            time.sleep(1)


_REMEDY = "set it to host:port of the cluster's head, such as head:6379, or unset it to start Ray here"


def _host_and_port(address: str) -> tuple[str, int]:
    if "://" in address:
        kind = (
            "is for Ray Client"
            if address.startswith("ray://")
            else "looks like the dashboard's, for `ray job submit --address`"
        )
        raise UserError(
            f"RAY_ADDRESS={without_password(address)} is not the address of a Ray cluster (it {kind}): {_REMEDY}."
        )
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UserError(f"RAY_ADDRESS={address} is not host:port: {_REMEDY}.")
    return host, int(port)


def _check_listener(address: str, host: str, port: int) -> None:
    """UserError where a web server listens; OSError where nothing does."""
    with socket.create_connection((host, port), timeout=PROBE_SECONDS) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        try:
            answer = connection.recv(5)
        except OSError:  # no answer, or a reset: not a web server
            answer = b""
    if answer == b"HTTP/":
        raise UserError(
            f"A web server, perhaps the dashboard, answers at RAY_ADDRESS={address} instead of a Ray cluster: "
            f"{_REMEDY}."
        )


def _start_here() -> None:
    import ray

    folder = ray_folder.find_folder()
    _make_token()
    options: dict[str, Any] = {
        "num_cpus": max(4, resources.cores()),
        "object_store_memory": resources.object_store_bytes(),
        "_temp_dir": folder,
    }
    started = time.time()
    for last in (False, True):
        try:
            ray.init(address="local", include_dashboard=False, **options, **_QUIET)
            return
        except Exception as error:  # what Ray raises where its processes are not up after 30 seconds, on a busy machine
            ray.shutdown()
            if last:
                cause = ray_folder.explain_failure(error, folder, started)
                raise UserError(f"Ray does not start on this machine ({cause}).") from error


def _make_token() -> None:
    """Ray keeps the token that its processes share in the home folder; where that cannot be written, pass one in the
    environment.
    """
    if (
        any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
        or os.environ.get("RAY_AUTH_MODE") == "disabled"
    ):
        return
    try:
        folder = Path.home() / ".ray"
        folder.mkdir(parents=True, exist_ok=True)
        writable = (folder / "auth_token").is_file() or os.access(folder, os.W_OK)
    except (OSError, RuntimeError):  # no home folder
        writable = False
    if not writable:
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


@contextlib.contextmanager
def _stderr_silenced() -> Iterator[None]:
    """Discard what is written to file descriptor 2: Ray's C++ core announces its log level there. Errors are raised."""
    saved = os.dup(2)
    with open(os.devnull, "w") as devnull:
        os.dup2(devnull.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
