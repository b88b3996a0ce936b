"""`make chaos` in small, and the command line while its processes are stopped or killed.

The fast tier kills the driver in test_stage.py and a worker in test_quarantine.py.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from twfer_dist.engine.config import package_path

pytestmark = pytest.mark.long

CHAOS = Path(__file__).parents[2] / "jobs" / "measure" / "chaos.py"


def chaos(*arguments: str) -> list[dict[str, Any]]:
    done = subprocess.run([sys.executable, CHAOS, *arguments], capture_output=True, text=True)
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, (results, done.stderr)
    return results


def twfer_faces(folder: Path, photographs: int, *options: str, **arguments: Any) -> psutil.Popen:
    """`twfer faces` on copies of the demo's photographs, after its first shard is finished."""
    shipped = sorted(Path(package_path("package:demo/tw58")).rglob("*.jpg"))
    (folder / "photographs").mkdir()
    for number in range(photographs):
        shutil.copyfile(shipped[number % len(shipped)], folder / "photographs" / f"{number:04d}.jpg")
    command = [sys.executable, "-m", "twfer_dist", "faces", str(folder / "photographs"), "--aligned"]
    command += ["--out", str(folder / "out"), *options]
    child = psutil.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **arguments)
    deadline = time.monotonic() + 180
    while not finished_shards(folder):
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    return child


def finished_shards(folder: Path) -> dict[str, int]:
    """When each finished shard was written."""
    paths = folder.glob("out/faces-*/_work/photographs/shard-*.parquet")
    return {path.name: path.stat().st_mtime_ns for path in paths}


@pytest.mark.timeout(900)
def test_killed_runs_leave_what_an_undisturbed_run_leaves() -> None:
    kinds = ["worker", "actor", "raylet"]
    results = chaos("--points", "1", "--shards", "24", *kinds)
    assert [result["kind"] for result in results] == kinds
    for result in results:
        counts = [result[key] for key in ("kills", "rows", "lost", "twice", "differ")]
        assert counts == [1, 237, 0, 0, 0], result


def test_damaged_photographs_are_one_row_each() -> None:
    (result,) = chaos("--files", "60", "files")
    assert result["rows"] == 60 and result["lost"] == result["twice"] == 0
    assert result["status"]["ok"] > 0 and result["status"]["unreadable"] > 0


def test_json_stays_json_when_a_worker_dies(tmp_path: Path) -> None:
    """Ray reports the death on the standard output."""
    child = twfer_faces(tmp_path, 192, "--json")  # three shards: some are left after the first
    killed, deadline = False, time.monotonic() + 60
    while not killed:
        assert child.poll() is None and time.monotonic() < deadline
        for process in child.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if not killed and " ".join(process.cmdline()).startswith("ray::MapWorker("):
                    process.kill()
                    killed = True
    stdout, stderr = child.communicate(timeout=240)
    assert child.returncode == 0, stderr
    (stage,) = json.loads(stdout)["stages"]
    assert stage["rows"]["photographs"] == 192
    assert "died" in stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_keeps_what_is_done(tmp_path: Path, number: signal.Signals) -> None:
    """By Ctrl-C at a terminal, or by a cluster."""
    # A shell starts background processes with SIGINT ignored.
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    child = twfer_faces(tmp_path, 320, start_new_session=True, preexec_fn=heed)  # five shards
    before = finished_shards(tmp_path)
    if number == signal.SIGINT:
        os.killpg(child.pid, number)  # as a terminal does
    else:
        child.send_signal(number)
    stderr = child.communicate(timeout=120)[1]
    assert child.returncode == 130 and "is kept" in stderr and "Traceback" not in stderr
    assert before.items() <= finished_shards(tmp_path).items()
