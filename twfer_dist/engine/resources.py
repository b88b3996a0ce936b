"""Processors, memory and GPUs: what this process and the Ray cluster have, and how many actors fit."""

import contextlib
import logging
import math
import os
import shutil
import socket
from typing import Any

from twfer_dist.core.errors import UserError

MIN_OBJECT_STORE_BYTES = 80 << 20
"""About the smallest object store that Ray accepts."""

PATIENCE_MINUTES = 30
"""How long a cluster may take to start the nodes that a stage asks for: a group may have none of them yet."""

logger = logging.getLogger(__name__)


def on_cluster() -> bool:
    """Whether this process joins the cluster that `RAY_ADDRESS` names, instead of starting Ray on this machine."""
    return os.environ.get("RAY_ADDRESS", "") not in ("", "local")


def cores() -> int:
    """How many processors this process may use, within its container's limit and its CPU affinity."""
    import ray._private.utils

    logging.getLogger("ray._private.utils").setLevel(logging.ERROR)  # it warns about fractional CPU limits
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else math.inf
    return max(1, int(min(ray._private.utils.get_num_cpus(override_docker_cpu_warning=True), allowed)))


def object_store_bytes() -> int:
    """The size of an object store that fits a laptop or a container: an eighth of the memory, 0.5 to 4 GB where
    available, and within shared memory unless that is so small that Ray should use the disk.
    """
    import ray._common.utils

    memory = ray._common.utils.get_system_memory()
    wanted = min(max(memory // 8, min(512 << 20, memory // 4)), 4 << 30)
    with contextlib.suppress(OSError):
        shared = shutil.disk_usage("/dev/shm").free * 9 // 10
        wanted = min(wanted, shared) if shared >= MIN_OBJECT_STORE_BYTES else wanted
    return int(max(wanted, MIN_OBJECT_STORE_BYTES))


def slots(cpus: float, gpus: float) -> int:
    """How many actors of `cpus` and `gpus` each fit on the cluster: at least one, and on a single machine at most one
    per core.
    """
    import ray

    total = ray.cluster_resources()
    if gpus:
        if total.get("GPU", 0) < gpus:
            raise UserError(
                f"A stage asks for {gpus:g} GPU per actor and the cluster has {total.get('GPU', 0):g}: set gpus to "
                "0, or add a GPU node; where such nodes start on demand, set actors."
            )
        return max(1, int(total["GPU"] / gpus))
    most = cores() if len(ray.nodes()) == 1 else math.inf
    return max(1, int(min(total.get("CPU", 1) / max(cpus, 0.01), most)))


def has_other_nodes() -> bool:
    """Whether work is done on several machines: there are some, or a lone head without CPUs, which waits for others."""
    import ray

    alive = [node for node in ray.nodes() if node["Alive"]]
    return len(alive) > 1 or not any(node["Resources"].get("CPU") for node in alive)


def check_gpus(gpus: float) -> None:
    """UserError where the cluster has no GPU now or PyTorch cannot use it: the CPU would be a hundred times slower."""
    import ray

    slots(1, gpus)
    if fault := ray.get(_check_device(min(gpus, 1))):
        raise UserError(fault)


def await_gpus(gpus: float) -> None:
    """Return once a node of the cluster has the GPUs of an actor; UserError where PyTorch cannot use them, or none came
    within PATIENCE_MINUTES. A single machine is not waited for, as it gets no others.
    """
    if not on_cluster():
        return check_gpus(gpus)
    import ray

    check = _check_device(gpus)  # to the cluster's autoscaler a request for a node
    for minute in range(PATIENCE_MINUTES):
        if ray.wait([check], timeout=60 if minute else 20)[0]:
            break
        logger.info("No node has %g GPU free; waiting up to %d minutes for one.", gpus, PATIENCE_MINUTES - minute)
    else:
        ray.cancel(check)
        raise UserError(
            f"A stage asks for {gpus:g} GPU per actor and no node offered them within {PATIENCE_MINUTES} minutes: set "
            "gpus to 0, or add a GPU node."
        )
    if fault := ray.get(check):
        raise UserError(fault)


def _check_device(gpus: float) -> Any:
    """A reference to what `_device_fault` returns in a process with `gpus`."""
    import ray

    return ray.remote(num_cpus=0, num_gpus=gpus, max_calls=1)(_device_fault).remote()


def _device_fault() -> str | None:
    import torch

    if torch.cuda.is_available():
        return None
    return (
        f"A stage asks for GPUs and PyTorch finds none on {socket.gethostname()}: install a driver and a PyTorch with "
        "CUDA there, or set gpus to 0."
    )


def device(gpus: float) -> str:
    """The PyTorch device of an actor or worker that asked for `gpus`: Ray shows it no other GPUs. UserError where
    PyTorch finds none.
    """
    if not gpus:
        return "cpu"
    if fault := _device_fault():
        raise UserError(fault)
    return "cuda"
