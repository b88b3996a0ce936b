"""Ray's address, folder and resources: what is wrong is one sentence, and narrow places are good enough."""

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import pyarrow as pa
import pytest
import ray._common.utils
import ray._private.utils
import torch
from engine_stages import Adder, Config, numbers_spec

from twfer_dist.core.errors import UserError
from twfer_dist.engine import ray_folder, resources
from twfer_dist.engine.ray_cluster import probe
from twfer_dist.engine.shards import Step
from twfer_dist.engine.stage import run_stage
from twfer_dist.synthesis.stage import Animator


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("127.0.0.1:9", r"No Ray cluster answers at RAY_ADDRESS=127.0.0.1:9 \(.*refused\): start it, or unset"),
        ("[::1]:9", "No Ray cluster answers at"),
        ("nobody.invalid:6379", "No Ray cluster answers at"),
        (
            "http://127.0.0.1:8265",
            "looks like the dashboard's.*set it to host:port of the cluster's head, such as head:6379",
        ),
        ("ray://head:10001", "is for Ray Client"),
        ("head", "is not host:port"),
        ("head:port", "is not host:port"),
    ],
)
def test_an_address_without_ray_is_refused(address: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        probe(address)


@pytest.fixture
def web_page() -> Iterator[str]:
    """The address of a web server."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *words: object) -> None:
            """Nothing."""

    with HTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_the_dashboard_is_not_a_cluster(web_page: str) -> None:
    with pytest.raises(UserError, match=f"A web server, perhaps the dashboard, answers at RAY_ADDRESS={web_page}"):
        probe(web_page)


@pytest.mark.long
def test_ray_starts_in_a_narrow_place(tmp_path: Path) -> None:
    """A long name of the temporary folder, no home, and one processor of several."""
    program = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from twfer_dist.engine import ray_cluster, resources; ray_cluster.start()\n"
        "import ray; print(resources.cores(), resources.slots(1, 0), ray.get(ray.remote(lambda: 7).remote()))"
    )
    long = tmp_path / ("x" * 100)
    long.mkdir()
    dropped = ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
    environment = {key: value for key, value in os.environ.items() if key not in dropped} | {
        "TMPDIR": str(long),
        "HOME": "/dev/null/none",
    }
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=300)
    assert done.stdout == "1 1 7\n", done.stderr


def test_no_usable_folder_for_ray_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/dev/null/none")
    assert ray_folder.find_folder() != "/dev/null/none/ray"
    monkeypatch.setattr(ray_folder, "MIN_FREE_BYTES", 1 << 60)
    with pytest.raises(
        UserError,
        match=r"no folder for its sockets and logs \(/dev/null/none/ray cannot be made: .*\): make room there, or set",
    ):
        ray_folder.find_folder()


def test_only_the_folder_that_ray_uses_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    monkeypatch.setattr(os, "makedirs", lambda folder, **_: made.append(folder))
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        Path(folder, "ray").mkdir()
        assert ray_folder.find_folder() == f"{folder}/ray" and made == [f"{folder}/ray"]


def test_limits_of_a_container_are_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(18)))
    monkeypatch.setattr(ray._private.utils.multiprocessing, "cpu_count", lambda: 18)
    for limit, cores in ((2.0, 2), (0.5, 1), (None, 18)):
        monkeypatch.setattr(ray._private.utils, "_get_docker_cpus", lambda limit=limit: limit)
        assert resources.cores() == cores
    for memory, least, most in ((1 << 30, 80 << 20, 256 << 20), (64 << 30, 512 << 20, 4 << 30)):
        monkeypatch.setattr(ray._common.utils, "get_system_memory", lambda memory=memory: memory)
        assert least <= resources.object_store_bytes() <= most


def test_a_gpu_that_pytorch_does_not_find_is_refused(ray_cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resources.device(0) == "cpu"
    with pytest.raises(UserError, match="asks for GPUs and PyTorch finds none on .*: install a driver"):
        Animator("nowhere.safetensors", batch=16, gpus=0.5, bfloat16=False)


class OnGpu(Adder):
    """Adder, which checks its share of the GPU with Ray and does not use PyTorch."""

    def __call__(self, table: pa.Table) -> dict[str, pa.Table]:
        assert ray.get_runtime_context().get_assigned_resources()["GPU"] == 0.5
        return super().__call__(table)


@pytest.mark.long
def test_two_actors_share_a_gpu(ray_cluster: None, tmp_path: Path) -> None:
    step = Step(OnGpu, {"add": 1}, gpus=0.5, actors=2)
    output = run_stage(numbers_spec(Config(rows=40), step=step), str(tmp_path), quiet=True)
    assert output.manifest.rows["numbers"] == 40


@pytest.mark.long
@pytest.mark.parametrize("killed", [True, False])
def test_a_run_that_is_killed_does_not_end_in_silence(killed: bool) -> None:
    program = f"""
import os
from twfer_dist.engine import ray_cluster
ray_cluster.start()
if {killed}:
    os.kill(os.getpid(), 9)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100)
    said = "twfer: The run was ended by force" in ended.stderr and "finished work is kept" in ended.stderr
    assert (ended.returncode, said) == ((-9, True) if killed else (0, False)), ended.stderr
