"""What a stage used: the CPU time of processes that have ended counts, and the memory of workers."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from engine_stages import Config, numbers_spec

from twfer_dist.engine import artifact, storage, usage
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import run_stage

BUSY = "import time\nwhile time.process_time() < 1.2: pass"


def test_the_time_of_an_ended_process_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with usage.follow(str(tmp_path)) as followed:
        subprocess.run([sys.executable, "-c", BUSY], check=True)
        used = followed.end()
    assert used.cpu_seconds and used.cpu_seconds >= 0.3
    assert (memory := used.peak_bytes(by_workers=True)) and memory > 1_000_000


def test_a_driver_does_not_know_what_a_cluster_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    with usage.follow(str(tmp_path)) as followed:
        used = followed.end()
    assert used.cpu_seconds is None and used.peak_bytes(by_workers=False) is None


def test_the_starts_of_a_stage_add_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)

    def do(output: StageOutput) -> None:
        until = time.process_time() + 0.5
        while time.process_time() < until:
            pass
        if not storage.exists(output.scratch("half.txt")):
            storage.write_bytes(output.scratch("half.txt"), b"half")
            raise RuntimeError("the first start ends here")

    spec = StageSpec("busy", 1, {}, {}, {}, {}, do)
    with pytest.raises(RuntimeError):
        run_stage(spec, str(tmp_path))
    manifest = run_stage(spec, str(tmp_path)).manifest
    assert manifest.cpu_seconds and manifest.cpu_seconds >= 0.9 and manifest.seconds >= 0.9
    assert not (tmp_path / spec.name / "_work").exists()


def test_a_manifest_says_what_its_stage_used(ray_cluster: None, tmp_path: Path) -> None:
    output = run_stage(numbers_spec(Config()), str(tmp_path), quiet=True)
    assert output.manifest.cpu_seconds is not None and output.manifest.peak_bytes
    path = Path(output.path(artifact.MANIFEST))
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({key: manifest[key] for key in manifest.keys() - {"cpu_seconds", "peak_bytes"}}))
    assert artifact.open_artifact(output.uri).manifest.cpu_seconds is None  # of an earlier version
