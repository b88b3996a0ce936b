"""The loop of a training that counts steps, and the checks that all trainings share."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from twfer_dist.core.errors import UserError
from twfer_dist.training import distributed
from twfer_dist.training.state import SteppedState

S = TypeVar("S", bound=SteppedState)

Observe = Callable[[S, dict[str, float]], None]
"""Called after each step with the state and the step's values: progress (0 to 1), learning_rate, and named losses."""

DIVERGENCE_FACTOR = 100.0
"""A training has diverged once its loss exceeds this multiple of an untrained network's loss."""


class Diverged(UserError):
    """A training whose loss or gradient has run away."""


@dataclass(frozen=True)
class Schedule:
    """When a training, or one phase of it, ends, and its learning rate until then."""

    steps: int
    minutes: float | None  # ends the training if it comes first
    learning_rate: Callable[[float], float]  # of the progress, 0 to 1

    def progress(self, state: SteppedState, device: torch.device) -> float:
        """The finished share of the steps or of the minutes, whichever is larger; 1 or more at the end. The slowest
        worker's clock counts.
        """
        if not self.minutes:
            return state.step / self.steps
        return distributed.maximum(max(state.step / self.steps, state.seconds / 60 / self.minutes), device)


def run_steps(
    state: S,
    schedule: Schedule,
    optimizers: Sequence[torch.optim.Optimizer],
    device: torch.device,
    step: Callable[[float], Mapping[str, float]],
    observe: Observe[S] | None,
) -> None:
    """Call `step(learning rate)` until the schedule ends. `step` updates the weights and returns this worker's named
    losses; `observe` sees their means over the workers.
    """
    progress = schedule.progress(state, device)
    while progress < 1:
        started = time.monotonic()
        rate = schedule.learning_rate(progress)
        set_learning_rate(optimizers, rate)
        values = step(rate)
        state.step += 1
        state.seconds += time.monotonic() - started
        progress = schedule.progress(state, device)
        values = distributed.mean_values(values, device)
        if observe:
            observe(state, {"progress": progress, "learning_rate": rate, **values})


def set_learning_rate(optimizers: Sequence[torch.optim.Optimizer], rate: float) -> None:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate


def check_converging(
    value: float, limit: float, where: str, setting: str, rate: float, *, updates: int, what: str = "loss"
) -> None:
    """Raise Diverged if `value` is not finite, or exceeds DIVERGENCE_FACTOR times `limit`.

    setting, rate: name and value of the learning rate. updates: number of weight updates so far.
    """
    if math.isfinite(value) and value <= DIVERGENCE_FACTOR * limit:
        return
    remedy = f"lower {setting}, which is {rate:g}" if updates else "its initial weights are at fault, name others"
    reference = f", against {limit:.3g} for an untrained network" if math.isfinite(value) else ""
    raise Diverged(f"The training diverged at {where}: its {what} is {value:.3g}{reference}; {remedy}.")


def check_divisible(batch: int, workers: int, what: str = "images") -> None:
    """Raise UserError if a batch cannot be split evenly among the workers; 0 workers are this process."""
    if workers and batch % workers:
        raise UserError(
            f"A batch of {batch} {what} cannot be split among {workers} workers: make it a multiple, or use fewer "
            "workers."
        )
