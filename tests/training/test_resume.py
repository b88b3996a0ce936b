"""A training that is interrupted ends as an unbroken one, whatever is trained."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import training_kinds

from twfer_dist.engine import artifact, log, storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.stage import run_stage
from twfer_dist.engine.tracking import Tracking
from twfer_dist.training.checkpoint import CHECKPOINT, save_checkpoint, unpack

pytestmark = pytest.mark.usefixtures("one_thread")


def assert_equal_weights(one: Artifact, other: Artifact) -> None:
    names = [file.path for file in one.manifest.files if not file.path.endswith(("training.jsonl", ".png"))]
    assert any(name.endswith(".safetensors") for name in names)
    for name in names:
        assert storage.read_bytes(one.path(name)) == storage.read_bytes(other.path(name)), name


def kill_after_first_line(kind: str, data: Artifact, mlflow_uri: str, out: Path) -> Path:
    command = [sys.executable, "-m", "training_kinds", kind, data.uri, mlflow_uri, str(out)]
    process = subprocess.Popen(command, start_new_session=True)
    until = time.monotonic() + 120
    while not any(unpack(path.read_bytes())["log"] for path in out.glob(f"*/_work/{CHECKPOINT}")):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not list(out.glob(f"*/{artifact.MANIFEST}"))
    (checkpoint,) = out.glob(f"*/_work/{CHECKPOINT}")
    return checkpoint


@pytest.mark.long
@pytest.mark.parametrize(("kind", "damaged"), [("generator", True), *((kind, False) for kind in training_kinds.KINDS)])
def test_a_killed_training_ends_as_an_unbroken_one(
    kind: str, damaged: bool, mlflow_uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also when its last checkpoint is damaged: it continues from the previous one."""
    log.configure()
    data = training_kinds.data(kind, str(tmp_path / "data"))
    tracking = Tracking(mlflow_uri, "x")
    checkpoint = kill_after_first_line(kind, data, mlflow_uri, tmp_path / "killed")
    logged = unpack(checkpoint.read_bytes())["log"]
    if damaged:
        save_checkpoint(str(checkpoint), b"half a file")
    resumed = run_stage(training_kinds.spec(kind, data, tracking, 0), str(tmp_path / "killed"), quiet=True)
    assert ("continues from the previous checkpoint" in capsys.readouterr().err) == damaged
    unbroken = run_stage(training_kinds.spec(kind, data, tracking, 120), str(tmp_path / "whole"), quiet=True)
    assert_equal_weights(resumed, unbroken)
    client = tracking.client
    runs = client.search_runs([tracking.experiment_id()])
    assert sorted(run.info.status for run in runs) == ["FINISHED", "FINISHED", "KILLED"]
    line = logged[0]  # the new run has what was logged before the kill
    name = list(line)[-1]
    history = client.get_metric_history(
        resumed.results["run_id"], f"{line['phase']}_{name}" if "phase" in line else name
    )
    assert history[0].step == line.get("epoch", line.get("step")) == 1
    assert history[0].value == pytest.approx(line[name])
