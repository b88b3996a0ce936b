"""The whole road on three nodes whose only shared storage is S3: workers die, one after a notice, and the head."""

import contextlib
import csv
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow_server
import pytest
import yaml
from s3_server import Server

import twfer_dist
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import MANIFEST, Artifact, open_artifact
from twfer_dist.recipe.load import load_recipe
from twfer_dist.recipe.run import run_recipe
from twfer_dist.synthesis import checkpoints
from twfer_dist.synthesis.networks import Generator

pytestmark = pytest.mark.long

DEMO = Path(twfer_dist.__file__).parent / "demo" / "tw58"
FIGURES = 6

STAGES: dict[str, dict[str, Any]] = {
    "faces": {"kind": "faces", "corpora": ["little"], "size": 64, "aligned": True},
    "animated": {"kind": "animate", "faces": ["faces"], "size": 64, "levels": 4},
    "set": {"kind": "dataset", "animated": ["animated"], "per_expression": 24, "ratios": [4, 1, 1]},
    "network": {"kind": "train", "dataset": "set", "network": "resnet18", "size": 64, "epochs": 4},
    "read": {"kind": "predict", "inputs": ["set", "faces"], "model": "network"},
    "report": {"kind": "report", "predictions": ["read"], "faces": ["faces"], "models": ["network"]},
}  # fmt: skip


def upload_corpus(s3: Server) -> str:
    """A few figures of the demo, in the bucket."""
    rows = list(csv.DictReader((DEMO / "manifest.csv").open()))
    figures = sorted({row["figure_id"] for row in rows})[:FIGURES]
    rows = [row for row in rows if row["figure_id"] in figures]
    table = io.StringIO()
    writer = csv.DictWriter(table, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    corpus = s3.uri("little")
    storage.write_bytes(storage.join(corpus, "manifest.csv"), table.getvalue().encode())
    for row in rows:
        storage.write_bytes(storage.join(corpus, row["path"]), (DEMO / row["path"]).read_bytes())
    return corpus


def write_recipe(folder: Path, s3: Server, corpus: str, tracking: str) -> Path:
    """All of it in the bucket, so that no node needs a folder of another."""
    generator = storage.join(s3.uri("models"), "generator.safetensors")
    storage.write_bytes(generator, checkpoints.save(Generator(8), size=64))
    STAGES["animated"]["generator"] = generator
    path = folder / "road.yaml"
    content = {
        "name": "road",
        "out": s3.uri("out"),
        "tracking": tracking,
        "compute": {"workers": 2, "actors": 2},
        "corpora": {"little": corpus},
        "stages": STAGES,
    }
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


@contextlib.contextmanager
def three_nodes() -> Iterator[Any]:
    """A head that has room for the whole recipe, and two nodes beside it."""
    from ray.cluster_utils import Cluster

    soon = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 1000, "health_check_failure_threshold": 3}
    head = {"num_cpus": 4, "object_store_memory": 200_000_000, "include_dashboard": False, "_system_config": soon}
    nodes = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(2):
        nodes.add_node(num_cpus=2, object_store_memory=100_000_000)
    yield nodes
    nodes.shutdown()


def begin(path: Path, cluster: Any, *options: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "twfer_dist", "run", str(path), "--json", *options]
    environment = os.environ | {"RAY_ADDRESS": cluster.address}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(out: str, prefix: str, running: subprocess.Popen, file: str = "_work") -> None:
    """Until a stage has begun to write, or has written a certain file."""
    deadline = time.monotonic() + 480  # a busy machine finds faces slowly
    while not any(name.startswith(prefix) and file in name for name in storage.list_files(out, recursive=True)):
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)


def outputs(out: str) -> dict[str, Artifact]:
    """The finished outputs by their kinds."""
    manifests = [name for name in storage.list_files(out, recursive=True) if name.endswith(MANIFEST)]
    found = [open_artifact(storage.join(out, name.partition("/")[0])) for name in manifests]
    return {artifact.manifest.stage: artifact for artifact in found}


@pytest.mark.timeout(1200)
def test_two_of_three_nodes_die_and_nothing_is_lost(
    ray_cluster: None, s3: Server, migrated_database: Path, tmp_path: Path
) -> None:
    """One while faces are animated, one while the network is trained."""
    with three_nodes() as cluster, mlflow_server.serve(migrated_database) as mlflow:
        path = write_recipe(tmp_path, s3, upload_corpus(s3), mlflow.uri)
        run = begin(path, cluster)
        for stage, node in zip(("animate-", "train-"), list(cluster.worker_nodes), strict=True):
            wait_for(s3.uri("out"), stage, run)
            cluster.remove_node(node, allow_graceful=False)
        stdout, stderr = run.communicate(timeout=480)
        assert run.returncode == 0, stderr
        made = {stage["name"]: stage for stage in json.loads(stdout)["stages"]}
        assert {stage["state"] for stage in made.values()} == {"made"} and list(made) == list(STAGES)

        recipe = load_recipe(str(path), out=str(tmp_path / "alone"))
        alone = {o.stage.kind: o.artifact for o in run_recipe(recipe, until="set", quiet=True)}
    there = outputs(s3.uri("out"))
    assert {kind: artifact.digest for kind, artifact in alone.items() if artifact} == {
        kind: there[kind].digest for kind in alone
    }
    read = made["read"]["rows"]["."]
    assert read == made["set"]["rows"]["."] + made["faces"]["rows"]["faces"]


@pytest.fixture
def road(s3: Server, tmp_path: Path) -> Path:
    """The recipe, without a tracking server."""
    return write_recipe(tmp_path, s3, upload_corpus(s3), "")


def animated_alone(road: Path, folder: Path) -> str:
    """What one machine animates, as its digest."""
    recipe = load_recipe(str(road), out=str(folder / "alone"))
    *_, last = run_recipe(recipe, until="animated", quiet=True)
    assert last.artifact
    return last.artifact.digest


@pytest.mark.timeout(1200)
def test_a_new_cluster_goes_on_where_the_head_fell(ray_cluster: None, s3: Server, road: Path, tmp_path: Path) -> None:
    """The shards that were finished are not made again."""
    with three_nodes() as cluster:
        run = begin(road, cluster, "--until", "animated")
        wait_for(s3.uri("out"), "animate-", run, "shard-")
        cluster.remove_node(cluster.head_node, allow_graceful=False)
        _, stderr = run.communicate(timeout=120)
    assert run.returncode == 1 and "was ended by force" in stderr, (run.returncode, stderr)
    made = [name for name in storage.list_files(s3.uri("out"), recursive=True) if "/_work/shard-" in name]
    s3.requests.clear()
    with three_nodes() as cluster:
        run = begin(road, cluster, "--until", "animated")
        _, stderr = run.communicate(timeout=480)
    assert run.returncode == 0, stderr
    assert made and not {f"PUT /bucket/out/{name}" for name in made} & set(s3.requests)
    assert outputs(s3.uri("out"))["animate"].digest == animated_alone(road, tmp_path)


@pytest.mark.timeout(1200)
def test_a_node_that_is_called_back_takes_nothing_along(
    ray_cluster: None, s3: Server, road: Path, tmp_path: Path
) -> None:
    """As a spot node is: its notice comes some seconds before its end."""
    with three_nodes() as cluster:
        run = begin(road, cluster, "--until", "animated")
        wait_for(s3.uri("out"), "animate-", run)
        node = next(iter(cluster.worker_nodes))
        notice = ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot"]
        at = ["--address", cluster.address, "--node-id", node.node_id, "--deadline-remaining-seconds", "3"]
        subprocess.run([Path(sys.executable).with_name("ray"), "drain-node", *at, *notice], check=True)
        time.sleep(3)
        cluster.remove_node(node, allow_graceful=False)
        _, stderr = run.communicate(timeout=480)
    assert run.returncode == 0, stderr
    assert outputs(s3.uri("out"))["animate"].digest == animated_alone(road, tmp_path)
