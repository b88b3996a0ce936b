"""The loop over steps: exact resume, the end by minutes, divergence."""

import math
from dataclasses import dataclass

import pytest
import torch

from twfer_dist.core.errors import UserError
from twfer_dist.training.loop import Diverged, Schedule, check_converging, check_divisible, run_steps
from twfer_dist.training.state import SteppedState, build_seeded

CPU = torch.device("cpu")


@dataclass
class State(SteppedState):
    network: torch.nn.Linear
    optimizer: torch.optim.Adam


def new_state() -> State:
    network = build_seeded(0, lambda: torch.nn.Linear(3, 1))
    return State(network, torch.optim.Adam(network.parameters()))


class Interrupted(Exception):
    pass


def run(state: State, schedule: Schedule, stop_at: int | None = None) -> list[dict[str, float]]:
    observed: list[dict[str, float]] = []

    def step(rate: float) -> dict[str, float]:
        inputs = torch.randn(4, 3, generator=torch.Generator().manual_seed(state.step))
        loss = ((state.network(inputs) - 1) ** 2).mean()
        state.optimizer.zero_grad()
        loss.backward()
        state.optimizer.step()
        return {"loss": loss.item()}

    def observe(state: State, values: dict[str, float]) -> None:
        observed.append(values)
        if state.step == stop_at:
            raise Interrupted

    try:
        run_steps(state, schedule, [state.optimizer], CPU, step, observe)
    except Interrupted:
        assert state.step == stop_at
    return observed


def test_a_resumed_training_equals_an_unbroken_one() -> None:
    schedule = Schedule(7, None, lambda progress: 0.1 * (1 - progress))
    unbroken, broken, resumed = new_state(), new_state(), new_state()
    observed = run(unbroken, schedule)
    assert [values["progress"] for values in observed] == [k / 7 for k in range(1, 8)]
    assert observed[3]["learning_rate"] == pytest.approx(0.1 * 4 / 7)
    first = run(broken, schedule, stop_at=3)
    resumed.load(broken.to_bytes())
    assert first + run(resumed, schedule) == observed
    torch.testing.assert_close(resumed.network.state_dict(), unbroken.network.state_dict(), atol=0, rtol=0)


def test_minutes_end_a_training_before_its_steps() -> None:
    state = new_state()
    run(state, Schedule(10**6, 0.001, lambda progress: 0.1))
    assert state.step < 10**6 and state.seconds >= 0.06


@pytest.mark.parametrize(
    ("value", "converging"), [(199.0, True), (201.0, False), (math.inf, False), (math.nan, False), (-1e9, True)]
)
def test_a_loss_far_above_an_untrained_one_has_diverged(value: float, converging: bool) -> None:
    def check() -> None:
        check_converging(value, 2.0, "step 7", "learning_rate", 0.5, updates=7)

    if converging:
        return check()
    with pytest.raises(Diverged, match="diverged at step 7: its loss is .*lower learning_rate, which is 0.5"):
        check()


def test_a_batch_must_be_a_multiple_of_the_workers() -> None:
    check_divisible(5, 0)
    check_divisible(6, 3)
    with pytest.raises(UserError, match="A batch of 4 images cannot be split among 3 workers"):
        check_divisible(4, 3)
