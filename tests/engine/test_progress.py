"""Progress at a terminal, and in the log of a job."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from engine_stages import Config, numbers_spec

from twfer_dist.engine import progress
from twfer_dist.engine.stage import run_stage

PROGRAM = """
import sys, time
from twfer_dist.engine.progress import Progress, ProgressReporter
progress = Progress("train", 4, unit="epochs")
with progress.follow(sys.argv[1]):
    ProgressReporter(sys.argv[1])(1.5)
    time.sleep(1.2)
rows = Progress("faces", 100)
rows.start(40, dead=1)
rows.advance(60, dead=2)
rows.close()
"""


COUNTED = """
from twfer_dist.engine import progress
progress.SLOW_S = 0.2
for name, seconds in (("quick", 0), ("slow", 0.3)):
    list(progress.counted((time.sleep(seconds) for _ in range(3)), f"faces, {name}", 3, quiet=False))
"""


def test_progress_is_shown_at_a_terminal(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    subprocess.run(
        [sys.executable, "-c", PROGRAM + COUNTED, str(tmp_path / "progress.txt")], stderr=theirs, check=True, timeout=60
    )
    shown = os.read(ours, 1 << 16).decode()
    assert "train: 0.0 of 4 epochs (starting)" in shown
    assert "train: 1.5 of 4 epochs" in shown
    assert "faces: 40 of 100 (starting, 1 without result)" in shown
    assert "faces: 100 of 100" in shown and "0 s left, 3 without result" in shown
    assert "faces, slow: 3 of 3" in shown and "quick" not in shown


def test_nothing_is_printed_without_a_terminal(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "progress.txt")], capture_output=True, check=True, timeout=60
    )
    assert done.stdout == b"" and done.stderr == b""


def test_a_log_gets_whole_lines(tmp_path: Path) -> None:
    program = "import twfer_dist.engine.progress as progress; progress.LINE_S = 0.3\n" + PROGRAM
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "progress.txt")], capture_output=True, check=True, timeout=60
    )
    lines = done.stderr.decode().splitlines()
    assert 1 <= len(lines) <= 4 and all(line.startswith("train: 1.5 of 4 epochs (") for line in lines)
    assert b"\r" not in done.stderr


def test_a_stage_says_what_it_is_doing(
    ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "SLOW_S", -1.0)
    monkeypatch.setattr(progress, "LINE_S", -1.0)
    run_stage(numbers_spec(Config(rows=20)), str(tmp_path))
    begun = [line.partition(" (")[0] for line in capsys.readouterr().err.splitlines()]
    parts = ["planning: 1 of 1", "measuring: 1 of 1", "joining: 2 of 2"]
    assert {f"numbers, {part}" for part in parts} <= set(begun)
