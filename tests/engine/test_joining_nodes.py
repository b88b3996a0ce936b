"""Nodes that come after the start: GPUs are waited for, and storage that a new node does not see is found."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from twfer_dist.engine import lease
from twfer_dist.recipe.load import load_recipe
from twfer_dist.recipe.run import plan_recipe

pytestmark = pytest.mark.long

TERRACOTTAS = "package:demo/terracottas"


@contextlib.contextmanager
def head(cpus: int) -> Iterator[Any]:
    """A cluster with one node."""
    from ray.cluster_utils import Cluster

    node = {"num_cpus": cpus, "num_gpus": 0, "object_store_memory": 100_000_000, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    yield cluster
    cluster.shutdown()


def begin(cluster: Any, *words: str) -> subprocess.Popen[str]:
    environment = os.environ | {"RAY_ADDRESS": cluster.address}
    return subprocess.Popen([sys.executable, *words], env=environment, stderr=subprocess.PIPE, text=True)


TRAINING = """
import sys
from twfer_dist.core.errors import UserError
from twfer_dist.engine import log
from twfer_dist.training.workers import Workers, run_workers, worker_device
log.configure()
try:
    run_workers(lambda: worker_device(gpu=True), Workers(gpu=True), sys.argv[1])
except UserError as problem:
    print(problem, file=sys.stderr)
"""


def test_a_training_waits_for_a_gpu_node(tmp_path: Path) -> None:
    """The node's GPU is one in name, unless the machine has one."""
    import torch

    with head(2) as cluster:
        run = begin(cluster, "-c", TRAINING, str(tmp_path))
        assert run.stderr
        while not (line := run.stderr.readline()).startswith("twfer:"):
            assert line, "the training ended"
        assert "No node has 1 GPU free; waiting up to 30 minutes" in line
        cluster.add_node(num_cpus=1, num_gpus=1, object_store_memory=100_000_000)
        _, stderr = run.communicate(timeout=120)
    assert ("PyTorch finds none" in stderr) != torch.cuda.is_available(), stderr


MEETING = """
import sys, time
from functools import partial
from pathlib import Path
from twfer_dist.engine import ray_tasks

def meet(number, folder):
    (folder / f"{number}.begun").touch()
    wanted, there = ("joined", 1) if number < 4 else ("[4-9].begun", 5)
    deadline = time.monotonic() + 100
    while len(list(folder.glob(wanted))) < there and time.monotonic() < deadline:
        time.sleep(0.1)
    return len(list(folder.glob(wanted))) >= there

met = list(ray_tasks.run("meet", partial(meet, folder=Path(sys.argv[1])), range(10)))
assert all(met), met
"""


def test_a_node_that_joins_gets_tasks(tmp_path: Path) -> None:
    """One CPU has four tasks in flight; five run at once when there are more CPUs."""
    with head(1) as cluster:
        run = begin(cluster, "-c", MEETING, str(tmp_path))
        while not list(tmp_path.glob("*.begun")):
            assert run.poll() is None
            time.sleep(0.1)
        cluster.add_node(num_cpus=5, object_store_memory=100_000_000)
        (tmp_path / "joined").touch()
        _, stderr = run.communicate(timeout=240)
    assert run.returncode == 0, stderr


def write_recipe(folder: Path, **values: Any) -> str:
    faces = {"kind": "faces", "corpora": ["few"], "aligned": True}
    stages = {"first": faces, "second": faces | {"size": 64}}
    (folder / "recipe.yaml").write_text(yaml.safe_dump({"corpora": {"few": TERRACOTTAS}, "stages": stages} | values))
    return str(folder / "recipe.yaml")


def test_a_lone_head_without_cpus_is_sent_elsewhere(tmp_path: Path) -> None:
    """Its workers are on their way."""
    out, database = str(tmp_path / "out"), f"sqlite:///{tmp_path}/mlflow.db"
    refused = {"out is a folder of the cluster's head": {}, "mlflow.db is a file and the": {"tracking": database}}
    with head(0) as cluster:
        for sentence, values in refused.items():
            run = begin(cluster, "-m", "twfer_dist", "run", write_recipe(tmp_path, out=out, **values))
            _, stderr = run.communicate(timeout=120)
            assert run.returncode == 2 and sentence in stderr, stderr


def test_a_node_that_joins_is_asked_before_the_next_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes of a node have the working directory in which it was started; this one gets no work of its own."""
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
    monkeypatch.chdir(here)
    path = write_recipe(tmp_path, out="/proc/self/cwd/out")
    first, _ = plan_recipe(load_recipe(path))
    with head(2) as cluster:
        with lease.hold(str(here / "out" / first.directory), quiet=True):
            run = begin(cluster, "-m", "twfer_dist", "run", path)
            assert run.stderr and "waiting for it" in run.stderr.readline()
            monkeypatch.chdir(there)
            cluster.add_node(num_cpus=0, object_store_memory=100_000_000)
        _, stderr = run.communicate(timeout=120)
    assert run.returncode == 2 and "out is not shared: " in stderr, stderr
    assert (here / "out" / first.directory / "_manifest.json").exists()
