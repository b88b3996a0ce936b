"""Start or join Ray."""

import contextlib
import logging
import math
import os
from collections.abc import Iterator

from twfer_dist.errors import Problem


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
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    with _silent():
        _init(quiet)


def _init(quiet: dict) -> None:
    import ray

    if os.environ.get("RAY_ADDRESS"):
        try:
            ray.init(address="auto", **quiet)
        except (ConnectionError, RuntimeError, ray.exceptions.RayError) as error:
            raise Problem(
                f"No Ray cluster answers at RAY_ADDRESS={os.environ['RAY_ADDRESS']} ({error}): start it, or unset RAY_ADDRESS."
            ) from None
    else:
        cpus = max(4, os.cpu_count() or 1)
        ray.init(address="local", num_cpus=cpus, include_dashboard=False, object_store_memory=_store_bytes(), **quiet)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Nothing on the process's error output meanwhile: Ray's C++ core announces its log level there. Errors are exceptions."""
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _store_bytes() -> int:
    """An object store that fits a laptop: an eighth of the memory, 0.5 to 4 GB."""
    import psutil

    return int(min(max(psutil.virtual_memory().total / 8, 512 << 20), 4 << 30))


def slots(cpus: float, gpus: float) -> int:
    """How many actors that ask for so much fit on the cluster, at least one; on one machine no more than it has cores."""
    import ray

    total = ray.cluster_resources()
    if gpus:
        if total.get("GPU", 0) < gpus:
            raise Problem(
                f"A stage asks for {gpus:g} GPU per actor and the cluster has {total.get('GPU', 0):g}: set gpus to 0, or add a GPU node."
            )
        return max(1, int(total["GPU"] / gpus))
    cores = (os.cpu_count() or 1) if len(ray.nodes()) == 1 else math.inf
    return max(1, int(min(total.get("CPU", 1) / max(cpus, 0.01), cores)))
