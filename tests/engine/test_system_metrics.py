"""What a training takes of its machine, as metrics of its run."""

import time
from pathlib import Path

from twfer_dist.engine.system_metrics import log_system
from twfer_dist.engine.tracking import Tracking


def test_a_run_says_what_its_machine_has_to_do(mlflow_uri: str, tmp_path: Path) -> None:
    store = Tracking(mlflow_uri, "system")
    name, until = "system/cpu_utilization_percentage", time.monotonic() + 60
    with store.start("train-1", str(tmp_path), params={}) as run, log_system(run, 0.01):
        assert run.id
        while len(store.client.get_metric_history(run.id, name)) < 2:
            assert time.monotonic() < until
            time.sleep(0.05)
        run.log_metrics({"loss": 1.0}, step=1)
    metrics = store.client.get_run(run.id).data.metrics
    assert 0 <= metrics[name] <= 100 and 0 < metrics["system/system_memory_usage_percentage"] <= 100
    assert metrics["system/system_memory_usage_megabytes"] > 100 and metrics["loss"] == 1.0
    steps = [metric.step for metric in store.client.get_metric_history(run.id, name)]
    assert steps == list(range(1, len(steps) + 1))
