"""Workers of a training on Ray Train."""

import os
from pathlib import Path

import pytest
import torch

from twfer_dist.core.errors import UserError
from twfer_dist.training.workers import Workers, run_workers, worker_device


@pytest.mark.parametrize("count", [0, 1])
def test_a_training_with_gpus_never_runs_on_a_processor(ray_cluster: None, tmp_path: Path, count: int) -> None:
    """The cluster's GPU is one in name, unless the machine has one."""

    def work() -> tuple[int, str]:
        return os.getpid(), str(worker_device(gpu=True))

    if torch.cuda.is_available():
        process, device = run_workers(work, Workers(count, gpu=True), str(tmp_path))
        assert process != os.getpid() and device.startswith("cuda")
    else:
        with pytest.raises(UserError, match="PyTorch finds none"):
            run_workers(work, Workers(count, gpu=True), str(tmp_path))
