"""The state of a training between two steps."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import nn

from twfer_dist.training.checkpoint import pack, unpack

T = TypeVar("T")

LogLine = dict[str, float | str]
"""A line of a training's log: `phase` where there are several, `step` or `epoch`, `seconds`, and metrics by name."""


@dataclass(kw_only=True)
class TrainingState:
    """Everything a training resumes from. A subclass adds its networks and optimizers, and further plain values.

    All randomness is seeded from the configuration and the step, so no random generator is kept: a resumed training
    draws what an unbroken one draws.
    """

    log: list[LogLine] = field(default_factory=list)
    run_id: str = ""  # key of the MLflow run that has received the log
    precisions: list[str] = field(default_factory=list)  # used so far; several if the hardware changed

    def to_bytes(self) -> bytes:
        """A checkpoint: networks and optimizers by their state dicts, all other fields as they are."""
        return pack({name: value.state_dict() if _is_stateful(value) else value for name, value in vars(self).items()})

    def load(self, saved: bytes) -> None:
        """Become the state that `to_bytes` saved. Raises DamagedCheckpoint, or PyTorch's errors for another training's
        checkpoint.
        """
        values = unpack(saved)
        for name, value in vars(self).items():
            if _is_stateful(value):
                value.load_state_dict(values[name])
            else:
                setattr(self, name, values[name])

    @property
    def precision(self) -> str:
        """The precisions for a stage's results."""
        return " and ".join(self.precisions)


@dataclass(kw_only=True)
class SteppedState(TrainingState):
    """The state of a training that counts optimizer steps."""

    step: int = 0
    seconds: float = 0.0
    initial_loss: float = math.inf  # of the first step, at least 1


def build_seeded(seed: int, build: Callable[[], T]) -> T:
    """Call `build` with PyTorch's random numbers seeded, and leave the process's own random state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def _is_stateful(value: object) -> bool:
    return isinstance(value, nn.Module | torch.optim.Optimizer)
