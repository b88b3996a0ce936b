"""Start or join Ray, and run data-parallel trainings on it."""

import contextlib
import logging
import math
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

from twfer_dist import storage
from twfer_dist.errors import Problem

MAX_FAILURES = 2
"""How often a training's group of workers is started again after one of them died."""
MAX_STARTS = 5
"""How often the cluster is asked for the workers, for a minute each time: nodes that start on demand need a few."""


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
    heard = signal.getsignal(signal.SIGTERM) or signal.SIG_DFL
    with _silent():
        _init(quiet)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, heard)  # Ray's C++ core would end the process with a page of its own frames


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
        for last in (False, True):
            try:
                ray.init(address="local", num_cpus=cpus, include_dashboard=False, object_store_memory=_store_bytes(), **quiet)
                return
            except Exception as error:  # Ray has no narrower kind for processes that are not up after 30 seconds, as on a busy machine
                ray.shutdown()
                if last:
                    raise Problem(
                        f"Ray does not start on this machine ({error}): free its processors and memory, or set RAY_ADDRESS to a cluster."
                    ) from error


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


def train(worker: Callable[[dict[str, Any]], Any], arguments: dict[str, Any], uri: str, *, workers: int, gpu: bool, cpus: float = 1) -> Any:
    """Run `worker(arguments)` on Ray Train, and return what rank 0 returned.

    workers: processes with `cpus` each, and a GPU each with `gpu`; 0 is this process. uri: where Ray Train keeps its own notes,
    a folder that all nodes reach; the workers keep their checkpoints themselves, because in this process Ray Train keeps none.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    if workers:
        start()
    logging.getLogger("ray.train").setLevel(logging.ERROR)  # it prints every metric otherwise
    fs, path = storage.resolve(uri)
    sentence = storage.join(uri, "problem.txt")
    storage.write_bytes(sentence, b"")

    def tell(arguments: dict[str, Any]) -> Any:
        """The worker; a Problem is written down, and a group that is started again does not meet it again."""
        if storage.read_bytes(sentence):
            return None
        try:
            return worker(arguments)
        except Problem as problem:
            storage.write_bytes(sentence, str(problem).encode())
            raise

    failures = FailureConfig(max_failures=MAX_FAILURES, controller_failure_limit=MAX_STARTS)  # type: ignore[call-arg]
    trainer = TorchTrainer(
        tell,
        train_loop_config=arguments,
        scaling_config=ScalingConfig(
            num_workers=workers, use_gpu=gpu, resources_per_worker={"CPU": cpus, "GPU": int(gpu)} if workers else None
        ),
        run_config=RunConfig(name="workers", storage_path=path, storage_filesystem=fs, failure_config=failures),
    )
    returned = None
    try:
        returned = trainer.fit().return_value  # type: ignore[attr-defined]
    except Exception as error:
        if hasattr(error, "controller_failure"):
            raise Problem(
                f"The cluster did not start {workers} workers with {cpus:g} CPU{' and a GPU' if gpu else ''} each "
                f"({error.controller_failure}): ask for fewer, or add nodes."
            ) from None
        if not storage.read_bytes(sentence):
            raise
    if told := storage.read_bytes(sentence):
        raise Problem(told.decode())
    return returned
