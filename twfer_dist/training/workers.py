"""The workers of a data-parallel training, on Ray Train."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

from twfer_dist.core.errors import UserError
from twfer_dist.engine import ray_cluster, resources, storage

T = TypeVar("T")

MAX_FAILURES = 2
"""How often the group of workers is restarted after one of them died."""
MAX_STARTS = 5
"""How often one machine is asked again for the workers, a minute each time; a cluster resources.PATIENCE_MINUTES."""

MAX_LOADERS = 8
"""Processes that prepare the batches of a worker with a GPU."""


@dataclass(frozen=True)
class Workers:
    """The processes of a training."""

    count: int = 0  # 0: this process, or one worker with a GPU, since this process may run on a machine without one
    gpu: bool = False  # one for each
    cpus: float = 1  # for each


def worker_device(gpu: bool) -> torch.device | str:
    """The device of this worker: Ray Train shows each worker the GPUs of all workers of its machine."""
    from ray.train.torch import get_device

    return get_device() if resources.device(gpu) == "cuda" else "cpu"


def loader_processes(device: torch.device) -> int:
    """How many processes beside this worker prepare its batches: with a GPU its share of the machine's cores, up to
    MAX_LOADERS; none on a processor, which has no core to spare and decodes in threads.
    """
    if device.type != "cuda":
        return 0
    from ray.train import get_context

    return max(1, min(MAX_LOADERS, resources.cores() // get_context().get_local_world_size() - 1))


def run_workers(work: Callable[[], T], workers: Workers, uri: str) -> T:
    """Call `work` on each worker, and return what it returned on rank 0.

    uri: where Ray Train keeps its own notes, a directory that all nodes reach. Checkpoints are up to `work`, because
    Ray Train keeps none in this process. Raises the UserError that a worker raised.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    count = max(workers.count, int(workers.gpu))
    _prepare(count, workers.gpu)
    fs, path = storage.resolve(uri)
    error_uri = storage.join(uri, "problem.txt")
    storage.write_bytes(error_uri, b"")
    each = {"CPU": workers.cpus, "GPU": int(workers.gpu)} if count else None
    starts = resources.PATIENCE_MINUTES if resources.on_cluster() else MAX_STARTS
    failures = FailureConfig(max_failures=MAX_FAILURES, controller_failure_limit=starts)  # type: ignore[call-arg]
    trainer = TorchTrainer(
        # A closure: arguments given as `train_loop_config` would be stored and shown by Ray Train.
        lambda: _reporting_errors(work, error_uri),  # type: ignore[arg-type]
        scaling_config=ScalingConfig(num_workers=count, use_gpu=workers.gpu, resources_per_worker=each),
        run_config=RunConfig("workers", storage_path=path, storage_filesystem=fs, failure_config=failures),
    )
    returned = None
    try:
        returned = trainer.fit().return_value  # type: ignore[attr-defined]
    except Exception as error:
        if hasattr(error, "controller_failure"):
            raise UserError(
                f"The cluster did not start {count} workers with {workers.cpus:g} CPU"
                f"{' and a GPU' if workers.gpu else ''} each ({error.controller_failure}): use fewer, or add nodes."
            ) from None
        if not storage.read_bytes(error_uri):
            raise
    if message := storage.read_bytes(error_uri):
        raise UserError(message.decode())
    return returned  # type: ignore[return-value]


def _prepare(count: int, gpu: bool) -> None:
    if gpu or count:
        ray_cluster.start()
    if gpu:
        resources.await_gpus(1)
    elif not count:  # PyTorch counts the machine's cores, even if this container may use fewer
        torch.set_num_threads(min(torch.get_num_threads(), resources.cores()))
    logging.getLogger("ray.train").setLevel(logging.ERROR)  # otherwise it prints every metric


def _reporting_errors(work: Callable[[], T], error_uri: str) -> T | None:
    """Call `work`; a UserError is written down, so that a restarted group does not run into it again."""
    if storage.read_bytes(error_uri):
        return None
    try:
        return work()
    except UserError as error:
        storage.write_bytes(error_uri, str(error).encode())
        raise
