"""`make chaos` in small: runs with killed processes, and damaged photographs, leave what an undisturbed run leaves.

The driver's own death is in test_engine.py.
"""

import contextlib
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil

from twfer_dist.engine.config import package_path

PHOTOGRAPHS = 192  # three parts: after the first there is work left for a process to die at
CHAOS = Path(__file__).parent.parent / "jobs" / "chaos.py"


def chaos(*arguments: str) -> list[dict]:
    done = subprocess.run([sys.executable, CHAOS, *arguments], capture_output=True, text=True)
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, (told, done.stderr)
    return told


def test_killed_runs_leave_what_an_undisturbed_one_leaves() -> None:
    kinds = ["worker", "actor", "raylet"]
    told = chaos("--points", "1", "--parts", "24", *kinds)
    assert [one["kind"] for one in told] == kinds
    for one in told:
        assert (one["kills"], one["rows"], one["lost"], one["twice"], one["differ"]) == (1, 237, 0, 0, 0), one


def test_damaged_photographs_are_one_row_each() -> None:
    (told,) = chaos("--files", "60", "files")
    assert told["rows"] == 60 and told["lost"] == told["twice"] == 0
    assert told["status"]["ok"] > 0 and told["status"]["unreadable"] > 0


def test_the_json_of_a_run_whose_worker_died_is_json(tmp_path: Path) -> None:
    """Ray says of such a death at the standard output."""
    shipped = sorted(Path(package_path("package:demo/tw58")).rglob("*.jpg"))
    (tmp_path / "photographs").mkdir()
    for number in range(PHOTOGRAPHS):
        shutil.copyfile(shipped[number % len(shipped)], tmp_path / "photographs" / f"{number:04d}.jpg")
    command = [
        sys.executable,
        "-m",
        "twfer_dist",
        "faces",
        str(tmp_path / "photographs"),
        "--aligned",
        "--out",
        str(tmp_path / "out"),
        "--json",
    ]
    child = psutil.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline, killed = time.monotonic() + 180, False
    while not killed:
        assert child.poll() is None and time.monotonic() < deadline
        if list(tmp_path.glob("out/faces-*/_work/photographs/shard-*.parquet")):
            for process in child.children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    if not killed and " ".join(process.cmdline()).startswith("ray::MapWorker("):
                        process.kill()
                        killed = True
    told, said = child.communicate(timeout=240)
    assert child.returncode == 0, said
    (stage,) = json.loads(told)["stages"]
    assert stage["rows"]["photographs"] == PHOTOGRAPHS
    assert "died" in said
