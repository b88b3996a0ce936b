"""Damaged checkpoints are set aside, and the previous one is used."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from s3_server import Server

from twfer_dist.engine import log, storage
from twfer_dist.engine.tracking import Tracking
from twfer_dist.training.checkpoint import CHECKPOINT, pack, save_checkpoint, set_aside_damaged, unpack
from twfer_dist.training.observer import Record, Recorder
from twfer_dist.training.state import SteppedState


class State(SteppedState):
    def __init__(self, width: int = 8) -> None:
        super().__init__(step=3)
        self.network = torch.nn.Linear(64, width)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda saved: saved[: len(saved) // 2],
    "empty": lambda saved: b"",
    "zeros": lambda saved: bytes(len(saved)),
    "garbage": lambda saved: np.random.default_rng(0).bytes(1000),
    "flipped": lambda saved: saved[:999] + bytes([saved[999] ^ 1]) + saved[1000:],
    "another training's": lambda saved: pack({"network": {}, "optimizer": {}, "step": 3}),
    "another network's": lambda saved: State(width=9).to_bytes(),
}


@pytest.mark.parametrize(("damage", "previous"), [*((damage, True) for damage in DAMAGES), ("truncated", False)])
def test_a_damaged_checkpoint_is_set_aside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str, previous: bool
) -> None:
    log.configure()
    whole, path = State().to_bytes(), tmp_path / "checkpoint.pt"
    damaged = DAMAGES[damage](whole)
    if previous:
        save_checkpoint(str(path), whole)
    save_checkpoint(str(path), damaged)
    set_aside_damaged(str(path), State)
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and f"{path} cannot be used" in message
    assert "renamed to checkpoint.pt.damaged" in message
    assert f"continues from the {'previous checkpoint' if previous else 'start'}." in message
    assert (tmp_path / "checkpoint.pt.damaged").read_bytes() == damaged
    assert path.exists() == previous and (not previous or path.read_bytes() == whole)
    set_aside_damaged(str(path), State)
    assert not capsys.readouterr().err


def test_a_kill_between_two_checkpoints_leaves_the_first(tmp_path: Path) -> None:
    whole, path = State().to_bytes(), tmp_path / "checkpoint.pt"
    for _ in range(2):
        save_checkpoint(str(path), whole)
    path.unlink()  # as between the two steps of a save
    set_aside_damaged(str(path), State)
    assert path.read_bytes() == whole


def test_a_worker_killed_within_a_save_resumes(mlflow_uri: str, tmp_path: Path) -> None:
    """Ray starts the worker again without `set_aside_damaged`."""
    with Tracking(mlflow_uri, "x").start("t", str(tmp_path), tags={}, params={}) as run:
        recorder = Recorder[State](Record(run, str(tmp_path / "work"), 0))
        for step in (4, 5):
            saved = State()
            saved.step = step
            recorder.save(saved)
        path = tmp_path / "work" / CHECKPOINT
        path.rename(f"{path}.before")  # the first of the two steps of a save
        resumed = State()
        recorder.record.resume(resumed)
        assert resumed.step == 5
        resumed.step = 6
        recorder.save(resumed)
    assert unpack(path.read_bytes())["step"] == 6
    assert unpack(Path(f"{path}.before").read_bytes())["step"] == 5


def test_checkpoints_in_a_bucket_are_set_aside_too(s3: Server) -> None:
    """Storage that cannot rename copies and deletes."""
    whole, uri = State().to_bytes(), s3.uri("out/checkpoint.pt")
    for saved in (whole, whole, whole[:100]):
        save_checkpoint(uri, saved)
    set_aside_damaged(uri, State)
    assert storage.read_bytes(uri) == whole
    assert storage.list_files(s3.uri("out")) == ["checkpoint.pt", "checkpoint.pt.damaged"]
