"""One run at a time writes an output; others wait and say for which process; dead runs do not block."""

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import engine_stages
import pytest
from engine_stages import Config, numbers_spec
from s3_server import Server

from twfer_dist.core.errors import UserError
from twfer_dist.engine import lease, log, storage
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.shards import Step
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import run_stage

HOLD = """
import sys, time
from twfer_dist.engine import lease
uri, log, name, seconds = sys.argv[1:]
with lease.hold(uri, quiet=True):
    with open(log, "a") as file:
        file.write(f"+{name} ")
    time.sleep(float(seconds))
    with open(log, "a") as file:
        file.write(f"-{name} ")
"""


def holder(uri: str, log: Path, name: str, seconds: float) -> subprocess.Popen[str]:
    """A process that holds a lease for some seconds."""
    command = [sys.executable, "-c", HOLD, uri, str(log), name, str(seconds)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def wait_for(log: Path, text: str) -> None:
    for _ in range(1200):
        if log.exists() and text in log.read_text():
            return
        time.sleep(0.1)
    raise AssertionError(f"no {text} in the log")


def leases(folder: Path) -> list[Path]:
    return list(folder.glob("*.lease"))


@pytest.mark.long
def test_a_second_run_waits_and_finds_the_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log.configure()
    child = subprocess.Popen([sys.executable, engine_stages.__file__, tmp_path, "0.2"], start_new_session=True)
    while not leases(tmp_path):
        assert child.poll() is None
        time.sleep(0.05)
    output = run_stage(numbers_spec(Config(), step=Step(int)), str(tmp_path))  # its step would fail if it ran
    assert child.wait() == 0
    assert output.manifest.rows["numbers"] == 200
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"twfer: {output.name} is being written by process {child.pid} on ")
    assert line.endswith("; waiting for it.") and " since 20" in line
    assert [path.name for path in tmp_path.iterdir()] == [output.name]


@pytest.mark.parametrize("place", ["disk", pytest.param("s3", marks=pytest.mark.long)])
def test_of_several_runs_one_holds_the_output_at_a_time(place: str, s3: Server, tmp_path: Path) -> None:
    uri = s3.uri("runs/a-0123") if place == "s3" else str(tmp_path / "runs" / "a-0123")
    names = {str(k) for k in range(3)}
    for child in [holder(uri, tmp_path / "log", name, 0.2) for name in names]:
        errors = child.communicate(timeout=200)[1]
        assert child.returncode == 0, errors
    events = (tmp_path / "log").read_text().split()
    assert [event[0] for event in events] == ["+", "-"] * len(names)
    assert [event[1:] for event in events[::2]] == [event[1:] for event in events[1::2]]
    assert {event[1:] for event in events} == names


def test_the_lease_of_a_killed_process_expires_at_once(tmp_path: Path) -> None:
    uri = str(tmp_path / "a-0123")
    child = holder(uri, tmp_path / "log", "killed", 600)
    wait_for(tmp_path / "log", "+killed")
    child.send_signal(signal.SIGKILL)  # it becomes a zombie, as nobody waits for it
    with lease.hold(uri, quiet=True):
        assert len(leases(tmp_path)) == 1
    assert not leases(tmp_path)
    child.wait()


def test_a_lease_with_a_reused_process_id_expires_at_once(tmp_path: Path) -> None:
    """As in a restarted container: a process with the same id, but another start time, holds the lease."""
    with lease.hold(str(tmp_path / "a-0123"), quiet=True):
        (own,) = leases(tmp_path)
        earlier = json.loads(own.read_text())
    earlier["started"] -= 100  # clock ticks
    (tmp_path / "a-0123.deadbeef.lease").write_text(json.dumps(earlier))
    started = time.monotonic()
    with lease.hold(str(tmp_path / "a-0123"), quiet=True):
        assert time.monotonic() - started < lease.LEASE_TIMEOUT_S / 2 and len(leases(tmp_path)) == 1


def test_a_lease_rewritten_during_the_read_is_read_again(s3: Server, tmp_path: Path) -> None:
    uri = s3.uri("runs/a-0123")
    child = holder(uri, tmp_path / "log", "a", 60)
    wait_for(tmp_path / "log", "+a")
    child.kill()
    child.wait()
    (name,) = storage.list_files(s3.uri("runs"))
    s3.growing[f"/{name}"] = 1
    with lease.hold(uri, quiet=True):
        assert s3.growing[f"/{name}"] == 0 and name not in storage.list_files(s3.uri("runs"))


def test_a_lease_of_another_machine_expires_without_heartbeat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log.configure()
    monkeypatch.setattr(lease, "LEASE_TIMEOUT_S", 2.0)
    monkeypatch.setattr(lease, "POLL_S", 0.2)
    theirs = tmp_path / "a-0123.deadbeef.lease"
    elsewhere = json.dumps(
        {"host": "elsewhere", "processes": "", "pid": 1, "started": 0.0, "since": "2026-01-01 00:00:00"}
    )

    def beat() -> None:
        for _ in range(5):
            theirs.write_text(elsewhere)
            time.sleep(0.4)

    theirs.write_text(elsewhere)
    heartbeat = threading.Thread(target=beat)
    heartbeat.start()
    with lease.hold(str(tmp_path / "a-0123"), quiet=False):
        assert not heartbeat.is_alive()
        assert not theirs.exists()
    expected = "a-0123 is being written by process 1 on elsewhere since 2026-01-01 00:00:00; waiting for it."
    assert expected in capsys.readouterr().err


def test_a_run_that_lost_its_lease_does_not_finish(tmp_path: Path) -> None:
    with lease.hold(str(tmp_path / "a-0123"), quiet=True) as held:
        held.check()
        leases(tmp_path)[0].unlink()
        with pytest.raises(UserError, match="was taken over by another run"):
            held.check()


def test_a_failed_stage_releases_its_lease(tmp_path: Path) -> None:
    def fail(output: StageOutput) -> None:
        raise UserError("x is wrong: correct it.")

    with pytest.raises(UserError):
        run_stage(StageSpec("a", 1, {}, {}, {}, {}, fail), str(tmp_path))
    assert not leases(tmp_path)
