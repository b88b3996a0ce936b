"""What a stage used: the CPU time of processes that have ended counts, and the memory of workers."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from engine_stages import Config, numbers_spec

from twfer_dist.engine import artifact, usage
from twfer_dist.engine.stage import run_stage

BUSY = "import time\nwhile time.process_time() < 1.2: pass"


def test_the_time_of_an_ended_process_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with usage.follow() as used:
        subprocess.run([sys.executable, "-c", BUSY], check=True)
        seconds, memory = used.so_far(by_workers=True)
    assert seconds and seconds >= 0.3
    assert memory and memory > 1_000_000


def test_a_driver_does_not_know_what_a_cluster_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    with usage.follow() as used:
        assert used.so_far(by_workers=False) == (None, None)


def test_a_manifest_says_what_its_stage_used(ray_cluster: None, tmp_path: Path) -> None:
    output = run_stage(numbers_spec(Config()), str(tmp_path), quiet=True)
    assert output.manifest.cpu_seconds is not None and output.manifest.peak_bytes
    path = Path(output.path(artifact.MANIFEST))
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({key: manifest[key] for key in manifest.keys() - {"cpu_seconds", "peak_bytes"}}))
    assert artifact.open_artifact(output.uri).manifest.cpu_seconds is None  # of an earlier version
