"""MLflow's system metrics of a training's machine, logged as its other metrics are: kept where MLflow is away."""

import contextlib
import itertools
import threading
from collections.abc import Iterator
from typing import Any

import psutil

from twfer_dist.engine.mlflow_run import Run


@contextlib.contextmanager
def log_system(run: Run, every: float = 30) -> Iterator[None]:
    """Log the use of this machine's processors, memory and GPUs every so many seconds."""
    ended, nvml = threading.Event(), _nvml()
    psutil.cpu_percent()  # it tells the mean since the call before

    def poll() -> None:
        for step in itertools.takewhile(lambda _: not ended.wait(every), itertools.count(1)):
            run.log_metrics(_of_machine() | _of_gpus(nvml), step)

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _of_machine() -> dict[str, float]:
    memory = psutil.virtual_memory()
    return {
        "system/cpu_utilization_percentage": psutil.cpu_percent(),
        "system/system_memory_usage_megabytes": memory.used / 1e6,
        "system/system_memory_usage_percentage": memory.percent,
    }


def _nvml() -> Any:
    """NVIDIA's library, where its Python package and a driver are installed."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # ImportError, or any of the library's own
        return None
    return pynvml


def _of_gpus(nvml: Any) -> dict[str, float]:
    found: dict[str, float] = {}
    for number in range(nvml.nvmlDeviceGetCount() if nvml else 0):
        with contextlib.suppress(nvml.NVMLError):  # a part of a GPU may not tell
            device = nvml.nvmlDeviceGetHandleByIndex(number)
            found[f"system/gpu_{number}_memory_usage_megabytes"] = nvml.nvmlDeviceGetMemoryInfo(device).used / 1e6
            found[f"system/gpu_{number}_utilization_percentage"] = nvml.nvmlDeviceGetUtilizationRates(device).gpu
    return found
