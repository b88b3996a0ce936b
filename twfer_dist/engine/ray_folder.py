"""The folder where Ray keeps its sockets and logs on this machine."""

import contextlib
import os
import re
import shutil
from pathlib import Path

from twfer_dist.core.errors import UserError

MAX_NAME_BYTES = 40
"""Names of sockets are limited to 107 bytes, and Ray needs the rest below its folder."""
MIN_FREE_BYTES = 200 << 20


def find_folder() -> str:
    """Ray's default folder, or another one where the default has too long a name, is full or cannot be written."""
    import ray._common.utils

    default = ray._common.utils.get_default_ray_temp_dir()
    user = os.getuid()
    others = ["/tmp/ray", f"/tmp/ray-{user}", f"/var/tmp/ray-{user}", f"/run/user/{user}/ray", f"/dev/shm/ray-{user}"]
    if (fault := _fault(default)) is None:
        return default
    if usable := next((folder for folder in others if _fault(folder) is None), None):
        return usable
    raise UserError(
        f"Ray finds no folder for its sockets and logs ({default} {fault}): make room there, or set RAY_TMPDIR to a "
        f"folder with a short name and {MIN_FREE_BYTES >> 20} MB free."
    )


def _fault(folder: str) -> str | None:
    """Why Ray cannot use a folder; None where it can."""
    if len(os.fsencode(folder)) > MAX_NAME_BYTES:
        return f"has more than {MAX_NAME_BYTES} bytes in its name"
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        return f"cannot be made: {error.strerror}"
    if not os.access(folder, os.W_OK | os.X_OK):
        return "cannot be written"
    free = shutil.disk_usage(folder).free
    return f"has {free >> 20} MB free" if free < MIN_FREE_BYTES else None


def explain_failure(error: Exception, folder: str, started: float) -> str:
    """Why Ray did not start, from its error and the logs it wrote since `started` (seconds since the epoch), and a
    remedy. The sentence goes inside brackets that the caller opens and closes.
    """
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
    return f"{words}): see its logs in {logs}, or set RAY_ADDRESS to a running cluster (this one used {folder}"
