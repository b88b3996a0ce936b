"""Start or join Ray."""

import contextlib
import logging
import math
import os
import re
import secrets
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twfer_dist.core.errors import UserError
from twfer_dist.engine.journal import without_password

PROBE_SECONDS = 3.0
"""How long `RAY_ADDRESS` may take to answer; it is tried twice."""
FOLDER_LENGTH = 40
"""Bytes of the name of Ray's folder: sockets below it have names of 107 bytes at most."""
FOLDER_BYTES = 200 << 20
STORE_BYTES = 80 << 20
"""About the least that Ray takes for an object store."""


def start() -> None:
    """Join the cluster named by `RAY_ADDRESS` (set inside `ray job submit`), or start Ray on this machine.

    On a machine with few cores the CPUs are logical, at least four: Ray Train and Ray Data wait for each other for ever
    where there are only two. Does nothing where Ray runs already in this process.
    """
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray
    import ray.data  # sets its loggers up, which are made quiet below: what it would say, progress and errors say

    for name in ("ray.data", "ray.train", "ray.tune"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if ray.is_initialized():
        return
    address = os.environ.get("RAY_ADDRESS")
    if address and address != "local":
        _probe(address)
    heard = signal.getsignal(signal.SIGTERM) or signal.SIG_DFL
    with _silent():
        if address and address != "local":
            _join(address)
        else:
            _start_here()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, heard)  # Ray's C++ core would end the process with a page of its own frames


_QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}


def _join(address: str) -> None:
    import ray

    try:
        ray.init(address="auto", **_QUIET)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise UserError(
            f"No Ray cluster answers at RAY_ADDRESS={address} ({error}): start it, or unset RAY_ADDRESS."
        ) from None


def _probe(address: str) -> None:
    """Problem where nothing listens at RAY_ADDRESS, or no Ray: Ray itself would try for ten minutes without a word."""
    if address == "auto":
        import ray._private.services

        try:
            address = ray._private.services.get_ray_address_from_environment("auto", None)
        except ConnectionError:
            raise UserError(
                "RAY_ADDRESS=auto, and no Ray runs on this machine: start it with `ray start --head`, or unset it."
            ) from None
    remedy = "set it to host:port of the cluster's head, such as head:6379, or unset it to start Ray here"
    if "://" in address:
        kind = (
            "is for Ray Client"
            if address.startswith("ray://")
            else "looks like the dashboard's, for `ray job submit --address`"
        )
        raise UserError(
            f"RAY_ADDRESS={without_password(address)} is not the address of a Ray cluster (it {kind}): {remedy}."
        )
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UserError(f"RAY_ADDRESS={address} is not host:port: {remedy}.")
    for last in (False, True):
        try:
            with socket.create_connection((host, int(port)), timeout=PROBE_SECONDS) as connection:
                connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
                try:
                    answer = connection.recv(5)
                except OSError:  # silence, or a reset: no web server
                    answer = b""
                if answer == b"HTTP/":
                    raise UserError(
                        f"A web server answers at RAY_ADDRESS={address}, perhaps the dashboard, and no Ray cluster: "
                        f"{remedy}."
                    )
                return
        except OSError as error:
            if last:
                raise UserError(
                    f"No Ray cluster answers at RAY_ADDRESS={address} ({error}): start it, or unset RAY_ADDRESS."
                ) from None
            time.sleep(1)


def _start_here() -> None:
    import ray

    folder = _folder()
    _make_token()
    asked: dict[str, Any] = {"num_cpus": max(4, cores()), "object_store_memory": _store_bytes(), "_temp_dir": folder}
    started = time.time()
    for last in (False, True):
        try:
            ray.init(address="local", include_dashboard=False, **asked, **_QUIET)
            return
        except (
            Exception
        ) as error:  # Ray has no narrower kind for processes that are not up after 30 seconds, as on a busy machine
            ray.shutdown()
            if last:
                raise UserError(f"Ray does not start on this machine ({_cause(error, folder, started)}).") from error


def cores() -> int:
    """How many processors this process may use: not more than its container's limit, nor than it is pinned to."""
    import ray._private.utils

    logging.getLogger("ray._private.utils").setLevel(logging.ERROR)  # it warns of half a processor
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else math.inf
    return max(1, int(min(ray._private.utils.get_num_cpus(override_docker_cpu_warning=True), allowed)))


def _folder() -> str:
    """Where Ray keeps its sockets and logs: its own choice, or another place where that is too long, full or not
    ours.
    """
    import ray._common.utils

    own = ray._common.utils.get_default_ray_temp_dir()
    user = os.getuid()
    others = ["/tmp/ray", f"/tmp/ray-{user}", f"/var/tmp/ray-{user}", f"/run/user/{user}/ray", f"/dev/shm/ray-{user}"]
    if (fault := _fault(own)) is None:
        return own
    if found := next((place for place in others if _fault(place) is None), None):
        return found
    raise UserError(
        f"Ray finds no folder for its sockets and logs ({own} {fault}): make room there, or set RAY_TMPDIR to a "
        "folder with a "
        f"short name and {FOLDER_BYTES >> 20} MB free."
    )


def _fault(place: str) -> str | None:
    """Why Ray cannot work in a folder; None where it can."""
    if len(os.fsencode(place)) > FOLDER_LENGTH:
        return f"has more than {FOLDER_LENGTH} bytes in its name"
    try:
        os.makedirs(place, exist_ok=True)
    except OSError as error:
        return f"cannot be made: {error.strerror}"
    if not os.access(place, os.W_OK | os.X_OK):
        return "cannot be written"
    free = shutil.disk_usage(place).free
    return f"has {free >> 20} MB free" if free < FOLDER_BYTES else None


def _make_token() -> None:
    """Ray keeps the token by which its processes know each other in the home folder; where that cannot be written, the
    token goes by the environment.
    """
    if (
        any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
        or os.environ.get("RAY_AUTH_MODE") == "disabled"
    ):
        return
    try:
        folder = Path.home() / ".ray"
        folder.mkdir(parents=True, exist_ok=True)
        kept = (folder / "auth_token").is_file() or os.access(folder, os.W_OK)
    except (OSError, RuntimeError):  # there is no home
        kept = False
    if not kept:
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _cause(error: Exception, folder: str, started: float) -> str:
    """What went wrong as far as Ray tells, and what helps against that."""
    words = " ".join(str(error).split())
    logs = Path(folder, "session_latest", "logs")
    for log in (logs / f"{name}.{kind}" for name in ("gcs_server", "raylet") for kind in ("err", "out")):
        with contextlib.suppress(OSError):
            lines = log.read_text(errors="replace").splitlines() if log.stat().st_mtime >= started else []
            if bad := [line for line in lines if re.match(r"\[[^\]]* [EFC] \d", line)]:
                words += f"; {log.name}: {bad[-1][:300]}"
    if "No space left" in words:
        return f"{words}): make room in {folder} and /dev/shm, or set RAY_TMPDIR to a folder with room (now {folder}"
    if "ermission denied" in words or "Read-only" in words:
        return f"{words}): allow writing in {folder}, or set RAY_TMPDIR to a folder of yours (now {folder}"
    if "timed out" in words or "annot allocate memory" in words:
        return f"{words}): free its processors and memory, or set RAY_ADDRESS to a cluster (logs are in {logs}"
    return f"{words}): see its logs in {logs}, or set RAY_ADDRESS to a cluster that runs (this one used {folder}"


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Nothing on the process's error output meanwhile: Ray's C++ core announces its log level there. Errors are
    exceptions.
    """
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _store_bytes() -> int:
    """An object store that fits a laptop and a container: an eighth of the memory that it may use, 0.5 to 4 GB where
    there is so much, and not more than shared memory holds, unless that is so small that Ray had better use a disk.
    """
    import ray._common.utils

    memory = ray._common.utils.get_system_memory()
    wanted = min(max(memory // 8, min(512 << 20, memory // 4)), 4 << 30)
    with contextlib.suppress(OSError):
        shared = shutil.disk_usage("/dev/shm").free * 9 // 10
        wanted = min(wanted, shared) if shared >= STORE_BYTES else wanted
    return int(max(wanted, STORE_BYTES))


def slots(cpus: float, gpus: float) -> int:
    """How many actors that ask for so much fit on the cluster, at least one; on one machine no more than it has
    cores.
    """
    import ray

    total = ray.cluster_resources()
    if gpus:
        if total.get("GPU", 0) < gpus:
            raise UserError(
                f"A stage asks for {gpus:g} GPU per actor and the cluster has {total.get('GPU', 0):g}: set gpus to "
                "0, or add a GPU node."
            )
        return max(1, int(total["GPU"] / gpus))
    most = cores() if len(ray.nodes()) == 1 else math.inf
    return max(1, int(min(total.get("CPU", 1) / max(cpus, 0.01), most)))


def check_gpus(gpus: float) -> None:
    """Problem where the cluster has no GPU, or PyTorch sees none of it: a processor would do the work a hundred times
    slower.
    """
    import ray

    start()
    slots(1, gpus)
    sees = ray.remote(num_cpus=0, num_gpus=min(gpus, 1), max_calls=1)(_device_fault)
    if fault := ray.get(sees.remote()):
        raise UserError(fault)


def _device_fault() -> str | None:
    import torch

    if torch.cuda.is_available():
        return None
    return (
        f"A stage asks for GPUs and PyTorch sees none on {socket.gethostname()}: install a driver and a PyTorch "
        "with CUDA there, "
        "or set gpus to 0."
    )


def device(gpus: float) -> str:
    """Where PyTorch computes for an actor or worker that asked for so many GPUs: Ray shows it no others. Problem where
    there is none.
    """
    if not gpus:
        return "cpu"
    if fault := _device_fault():
        raise UserError(fault)
    return "cuda"
