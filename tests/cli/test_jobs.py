"""`ray job submit` as docs/cluster.md writes it, against a real local cluster with token authentication on."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
import yaml

from twfer_dist.core.schema import FACES, PHOTOGRAPHS
from twfer_dist.core.status import OK
from twfer_dist.recipe.load import load_recipe
from twfer_dist.recipe.run import plan_recipe

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.long


@dataclass(frozen=True)
class Cluster:
    """A head node of its own, which knows nothing of other Rays on this machine."""

    ray: tuple[str, ...]  # the `ray` command
    address: str
    temp: Path
    client: dict[str, str]  # the environment of a person who has the token

    def submit(
        self, *entrypoint: str, options: tuple[str, ...] = (), token: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """`ray job submit` from the repository's root, to the end of the job; output and errors together."""
        words = ("--working-dir", ".", "--runtime-env", "jobs/env.yaml", *options, "--", *entrypoint)
        return self.job("submit", *words, token=token)

    def job(self, command: str, *words: str, token: str = "") -> subprocess.CompletedProcess[str]:
        """`ray job COMMAND`."""
        return subprocess.run(
            [*self.ray, "job", command, "--address", self.address, *words],
            cwd=ROOT,
            env=self.client | ({"RAY_AUTH_TOKEN": token} if token else {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=240,
        )


def free_ports(count: int) -> list[int]:
    """Ports that are free now, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    temp = Path(tempfile.mkdtemp(prefix="twfer-", dir="/tmp"))  # short: sockets lie in it
    # Ray's head starts a process through a shell and cannot where the path has a space: a link has none.
    (temp / "environment").symlink_to(sys.prefix)
    python = temp / "environment" / Path(sys.executable).relative_to(sys.prefix)
    ray = (str(python), "-m", "ray.scripts.scripts")
    token = secrets.token_hex(16)
    client = {key: value for key, value in os.environ.items() if not key.startswith("RAY_") and key != "PYTHONPATH"}
    client |= {
        "HOME": str(temp),  # a token file of the person who tests is not seen
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        "PATH": os.pathsep.join([str(python.parent), os.environ["PATH"]]),  # an entry point says `python`
    }
    dashboard, *others = free_ports(6)
    names = (
        "port",
        "ray-client-server-port",
        "dashboard-agent-listen-port",
        "metrics-export-port",
        "runtime-env-agent-port",
    )
    command = [*ray, "start", "--head", "--block", "--disable-usage-stats"]
    command += [
        "--num-cpus=4",
        "--object-store-memory=300000000",
        f"--temp-dir={temp}",
        f"--dashboard-port={dashboard}",
    ]
    command += ["--node-ip-address=127.0.0.1", "--min-worker-port=0", "--max-worker-port=0"]
    command += [f"--{name}={port}" for name, port in zip(names, others, strict=True)]
    with (temp / "start.log").open("w") as log:
        head = psutil.Popen(command, cwd=temp, env=client, stdout=log, stderr=subprocess.STDOUT)
    try:
        address = f"http://127.0.0.1:{dashboard}"
        wait_for(address, token, head, temp / "start.log")
        yield Cluster(ray, address, temp, client)
    finally:
        stop(head)
        shutil.rmtree(temp, ignore_errors=True)


def wait_for(address: str, token: str, head: psutil.Popen, log: Path) -> None:
    """Until the dashboard answers."""
    request = urllib.request.Request(f"{address}/api/version", headers={"Authorization": f"Bearer {token}"})
    for _ in range(240):
        assert head.poll() is None, log.read_text()
        try:
            return urllib.request.urlopen(request, timeout=5).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.25)
    raise AssertionError(log.read_text())


def stop(head: psutil.Popen) -> None:
    """End the processes of this cluster and no others."""
    processes = [head, *head.children(recursive=True)]
    head.terminate()
    _, alive = psutil.wait_procs(processes, timeout=10)
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=10)


def write_recipe(folder: Path) -> Path:
    """A recipe of one stage over three files, one of which is no picture; all paths absolute: a job runs elsewhere."""
    photographs = folder / "photographs"
    photographs.mkdir()
    for name, shade in (("a.png", 90), ("b.png", 160)):
        assert cv2.imwrite(str(photographs / name), np.full((100, 100, 3), shade, np.uint8))
    (photographs / "c.jpg").write_text("no picture")
    stages = {"faces": {"kind": "faces", "corpora": ["tiny"], "aligned": True}}
    path = folder / "tiny.yaml"
    path.write_text(
        yaml.safe_dump({"out": str(folder / "out"), "corpora": {"tiny": str(photographs)}, "stages": stages})
    )
    return path


def test_a_submitted_recipe_leaves_its_output(cluster: Cluster, tmp_path: Path) -> None:
    path = write_recipe(tmp_path)
    done = cluster.submit("python", "jobs/run.py", str(path))
    assert done.returncode == 0, done.stdout
    assert "succeeded" in done.stdout

    (outcome,) = plan_recipe(load_recipe(str(path)))
    assert outcome.artifact
    assert outcome.artifact.table("photographs", PHOTOGRAPHS)["status"].to_pylist().count(OK) == 2
    assert len(outcome.artifact.table("photographs", PHOTOGRAPHS)) == 3
    assert len(outcome.artifact.table("faces", FACES)) == 2

    (uploaded,) = cluster.temp.glob("session_2*/runtime_resources/working_dir_files/_ray_pkg_*/")
    names = {each.name for each in uploaded.iterdir()}
    assert names >= {"twfer_dist", "jobs"}
    assert not names & {".git", ".venv", "tests", "clusters", "docs", "runs", "mlflow.db", "mlruns"}


def finished_shards(folder: Path) -> dict[str, int]:
    """When each was written."""
    paths = folder.glob("out/faces-*/_work/photographs/shard-*.parquet")
    return {path.name: path.stat().st_mtime_ns for path in paths}


def shards_beyond(folder: Path, number: int) -> dict[str, int]:
    """The finished shards, as soon as there are more."""
    deadline = time.monotonic() + 180
    while len(found := finished_shards(folder)) <= number:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def test_a_stopped_job_goes_on_when_submitted_again(cluster: Cluster, tmp_path: Path) -> None:
    path = write_recipe(tmp_path)
    for number in range(2560):  # forty shards: some are left when the job has stopped
        shutil.copy(tmp_path / "photographs" / "a.png", tmp_path / "photographs" / f"{number:04}.png")
    run = ("python", "jobs/run.py", str(path))
    assert cluster.submit(*run, options=("--no-wait", "--submission-id", "first")).returncode == 0
    shards_beyond(tmp_path, 0)
    assert cluster.job("stop", "first").returncode == 0
    assert "Finished work is kept" in cluster.job("logs", "first").stdout
    kept = finished_shards(tmp_path)
    assert 0 < len(kept) < 40
    assert cluster.submit(*run, options=("--no-wait", "--submission-id", "second")).returncode == 0
    assert kept.items() <= shards_beyond(tmp_path, len(kept)).items()
    assert "succeeded" in cluster.job("logs", "second", "--follow").stdout
    (outcome,) = plan_recipe(load_recipe(str(path)))
    assert outcome.artifact and outcome.artifact.manifest.rows["photographs"] == 2563


def test_a_wrong_recipe_fails_with_its_sentence(cluster: Cluster) -> None:
    failed = cluster.submit("python", "jobs/run.py", "jobs/none.yaml")
    assert failed.returncode != 0
    assert "twfer: jobs/none.yaml does not exist" in failed.stdout


def test_a_wrong_token_is_refused(cluster: Cluster) -> None:
    refused = cluster.submit("python", "--version", token="0" * 32)
    assert refused.returncode != 0
    assert "Invalid authentication token" in refused.stdout


def test_a_request_without_a_token_is_refused(cluster: Cluster) -> None:
    entrypoint = json.dumps({"entrypoint": "python --version"}).encode()
    request = urllib.request.Request(
        f"{cluster.address}/api/jobs/", data=entrypoint, headers={"Content-Type": "application/json"}
    )
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(request, timeout=30)
