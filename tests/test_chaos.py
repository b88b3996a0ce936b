"""`make chaos` in small: runs with killed processes, and damaged photographs, leave what an undisturbed run leaves.

The driver's own death is in test_engine.py.
"""

import json
import subprocess
import sys
from pathlib import Path

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
