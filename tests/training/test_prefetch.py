"""Batches drawn ahead by other processes are those that this process would draw."""

import os

import numpy as np
import pytest

from twfer_dist.training.prefetch import prefetched


def drawn(step: int) -> dict[str, object]:
    return {"step": step, "values": np.random.default_rng(step).random(3), "process": os.getpid()}


@pytest.mark.parametrize("processes", [0, 2])
def test_batches_come_in_order_whoever_draws_them(processes: int) -> None:
    batches = list(prefetched(drawn, 3, 14, processes))
    assert [batch["step"] for batch in batches] == list(range(3, 14))
    assert all(
        np.allclose(np.asarray(batch["values"]), np.random.default_rng(3 + k).random(3))
        for k, batch in enumerate(batches)
    )
    assert len({batch["process"] for batch in batches} - {os.getpid()}) == processes


def test_a_fault_while_drawing_is_raised_here() -> None:
    with pytest.raises(ZeroDivisionError):
        list(prefetched(lambda step: 1 // (2 - step), 0, 5, 2))
