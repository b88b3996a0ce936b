"""One run at a time makes an output; the second waits and says for whom; no dead run blocks for ever."""

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from engine_jobs import Config, numbers_job

from twfer_dist.core.errors import UserError
from twfer_dist.engine import lease, storage
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.shards import Step
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import run_stage

HOLD = """
import sys, time
from pathlib import Path
from twfer_dist import claim
uri, log, name, seconds = sys.argv[1:]
with claim.hold(uri, quiet=False):
    with open(log, "a") as file:
        file.write(f"+{name} ")
    time.sleep(float(seconds))
    with open(log, "a") as file:
        file.write(f"-{name} ")
"""


def holder(uri: str, log: Path, name: str, seconds: float) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, uri, log, name, str(seconds)], stderr=subprocess.PIPE, text=True
    )


def wait_for(log: Path, text: str) -> None:
    for _ in range(1200):
        if log.exists() and text in log.read_text():
            return
        time.sleep(0.1)
    raise AssertionError(f"no {text} in the log")


def test_the_second_start_of_a_stage_waits_says_for_whom_and_finds_it_done(tmp_path, capsys):
    script = Path(__file__).parent / "engine_jobs.py"
    child = subprocess.Popen([sys.executable, script, tmp_path, "0.2"], start_new_session=True)
    while not list(tmp_path.glob("*.claim")):
        assert child.poll() is None
        time.sleep(0.05)
    finished = run_stage(numbers_job(Config(), step=Step(int)), str(tmp_path))  # would fail if it did anything
    assert child.wait() == 0
    assert finished.manifest.rows["numbers"] == 200
    (sentence,) = capsys.readouterr().err.splitlines()
    assert sentence.startswith(f"twfer: {Path(finished.uri).name} is being made by process {child.pid} on ")
    assert sentence.endswith(": waiting for it.")
    assert [path.name for path in tmp_path.iterdir()] == [Path(finished.uri).name]


@pytest.mark.parametrize("place", ["local", "s3"])
def test_of_many_that_come_at_once_one_holds_it_at_a_time(place, s3, tmp_path):
    uri = s3.uri("runs/a-0123") if place == "s3" else str(tmp_path / "runs" / "a-0123")
    names = [str(k) for k in range(4)]
    for child in [holder(uri, tmp_path / "log", name, 0.2) for name in names]:
        errors = child.communicate(timeout=200)[1]
        assert child.returncode == 0, errors
    said = (tmp_path / "log").read_text().split()
    assert [one[0] for one in said] == ["+", "-"] * len(names)
    assert [one[1:] for one in said[::2]] == [one[1:] for one in said[1::2]]
    assert {one[1:] for one in said} == set(names)


def test_the_claim_of_a_killed_process_is_void_at_once(tmp_path):
    uri = str(tmp_path / "a-0123")
    child = holder(uri, tmp_path / "log", "killed", 600)
    wait_for(tmp_path / "log", "+killed")
    child.send_signal(signal.SIGKILL)  # and it is not waited for: a zombie holds nothing
    with lease.hold(uri, quiet=False):
        assert len(list(tmp_path.glob("*.claim"))) == 1
    assert not list(tmp_path.glob("*.claim"))
    child.wait()


def test_the_claim_of_an_earlier_process_of_the_same_number_is_void_at_once(tmp_path):
    """As in a container that is started again: what holds the claim is this process, seconds younger."""
    with lease.hold(str(tmp_path / "a-0123"), quiet=True):
        (own,) = tmp_path.glob("*.claim")
        earlier = json.loads(own.read_text())
    earlier["started"] -= 100  # a second
    (tmp_path / "a-0123.deadbeef.claim").write_text(json.dumps(earlier))
    started = time.monotonic()
    with lease.hold(str(tmp_path / "a-0123"), quiet=True):
        assert time.monotonic() - started < lease.LEASE_TIMEOUT_S / 2 and len(list(tmp_path.glob("*.claim"))) == 1


def test_a_claim_that_is_written_anew_while_it_is_read_is_read_again(s3, tmp_path):
    uri = s3.uri("runs/a-0123")
    child = holder(uri, tmp_path / "log", "a", 60)
    wait_for(tmp_path / "log", "+a")
    child.kill()
    child.wait()
    (name,) = storage.list_files(s3.uri("runs"))
    s3.growing[f"/{name}"] = 1
    with lease.hold(uri, quiet=True):
        assert s3.growing[f"/{name}"] == 0 and name not in storage.list_files(s3.uri("runs"))


def test_a_claim_from_another_machine_is_void_when_it_falls_silent(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(lease, "LEASE_TIMEOUT_S", 3.0)
    monkeypatch.setattr(lease, "POLL_S", 0.2)
    theirs = tmp_path / "a-0123.deadbeef.claim"
    elsewhere = json.dumps(
        {"host": "elsewhere", "processes": "", "pid": 1, "started": 0.0, "since": "2026-01-01 00:00:00"}
    )
    alive = [True] * 8

    def beat() -> None:
        while alive.pop():
            theirs.write_text(elsewhere)
            if not alive:
                return
            time.sleep(0.5)

    theirs.write_text(elsewhere)
    beating = threading.Thread(target=beat)
    beating.start()
    with lease.hold(str(tmp_path / "a-0123"), quiet=False):
        assert not beating.is_alive()  # it was waited for as long as it gave signs of life
        assert not theirs.exists()
    assert "made by process 1 on elsewhere since 2026-01-01 00:00:00: waiting" in capsys.readouterr().err


def test_who_was_taken_over_does_not_finish(tmp_path):
    with lease.hold(str(tmp_path / "a-0123"), quiet=True) as held:
        held.check()
        next(tmp_path.glob("*.claim")).unlink()
        with pytest.raises(UserError, match="was taken over by another run"):
            held.check()


def test_a_stage_that_fails_is_free_again(tmp_path):
    def fails(work: StageOutput) -> None:
        raise UserError("it cannot be done: mend it.")

    with pytest.raises(UserError):
        run_stage(StageSpec("a", 1, {}, {}, {}, {}, fails), str(tmp_path))
    assert not list(tmp_path.glob("*.claim"))
