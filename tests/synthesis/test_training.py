"""The training steps of the generator and its critic."""

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
import torch.distributed as dist
from synthesis_tables import rendered

from twfer_dist.core.errors import UserError
from twfer_dist.synthesis import losses, training
from twfer_dist.synthesis.pairs import Pairs, load_pairs
from twfer_dist.synthesis.training import GeneratorConfig
from twfer_dist.training.checkpoint import unpack

SMALL = GeneratorConfig(width=4, critic_width=2, batch=4, supervised_steps=4, adversarial_steps=2, scored_pairs=4)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    return load_pairs([rendered(str(tmp_path_factory.mktemp("rendered")))], 64, 0.25)[0]


def both(pairs: Pairs) -> dict[str, Pairs]:
    return {"supervised": pairs, "adversarial": pairs}


class Interrupted(Exception):
    pass


def losses_until(
    state: training.State, pairs: Pairs, config: GeneratorConfig, until: tuple[int, int] | None = None
) -> list[dict[str, float]]:
    """Train to the end, or to a step of a phase; the values of each step."""
    observed: list[dict[str, float]] = []

    def observe(state: training.State, values: dict[str, float]) -> None:
        observed.append(values)
        if (state.phase, state.step) == until:
            raise Interrupted

    with contextlib.suppress(Interrupted):
        training.fit(state, both(pairs), config, observe)
    return observed


@pytest.mark.parametrize("network", training.NETWORKS)
def test_a_resumed_training_equals_an_unbroken_one(pairs: Pairs, network: Literal["ganimation", "warping"]) -> None:
    config = dataclasses.replace(SMALL, network=network)
    unbroken = training.new_state(config)
    initial = {name: value.clone() for name, value in unbroken.generator.state_dict().items()}
    observed = losses_until(unbroken, pairs, config)
    assert len(observed) == 6 and all(np.isfinite(list(values.values())).all() for values in observed)
    assert any((value != initial[name]).any() for name, value in unbroken.generator.state_dict().items())
    for until in ((0, 3), (1, 1)):
        broken, resumed = training.new_state(config), training.new_state(config)
        first = losses_until(broken, pairs, config, until)
        resumed.load(broken.to_bytes())
        assert first + losses_until(resumed, pairs, config) == observed
        torch.testing.assert_close(resumed.generator.state_dict(), unbroken.generator.state_dict(), atol=0, rtol=0)
        torch.testing.assert_close(resumed.critic.state_dict(), unbroken.critic.state_dict(), atol=0, rtol=0)


def first_losses(rank: int, workers: int, folder: str, pairs: Pairs, config: GeneratorConfig) -> list[dict[str, float]]:
    """What one worker does: the whole batch's losses of each step, which rank 0 of several workers writes to a file."""
    torch.set_num_threads(1)
    if workers > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=workers)
    observed: list[dict[str, float]] = []
    training.fit(training.new_state(config), both(pairs), config, lambda state, values: observed.append(values))
    if workers > 1:
        dist.destroy_process_group()
        if rank == 0:
            (Path(folder) / "losses.json").write_text(json.dumps(observed))
    return observed


@pytest.mark.long
def test_two_workers_have_the_losses_of_one(pairs: Pairs, tmp_path: Path) -> None:
    config = GeneratorConfig(width=8, critic_width=4, batch=24, supervised_steps=3, adversarial_steps=2)
    torch.multiprocessing.spawn(first_losses, (2, str(tmp_path), pairs, config), nprocs=2)
    two = json.loads((tmp_path / "losses.json").read_text())
    threads = torch.get_num_threads()
    one = first_losses(0, 1, "", pairs, config)
    torch.set_num_threads(threads)
    assert len(one) == len(two) == 5
    for step in (*one, *two):
        if "smoothness" in step:  # a sum over an image's pixels: as it enters the loss
            step["smoothness"] *= losses.SMOOTHNESS
    for ours, theirs in zip(one, two, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("network", training.NETWORKS)
def test_supervision_lowers_the_loss(pairs: Pairs, network: Literal["ganimation", "warping"]) -> None:
    """A few steps of a narrow network on three drawn figures."""
    config = GeneratorConfig(
        network=network, width=8, critic_width=2, batch=4, supervised_steps=25, supervised_rate=4e-3
    )
    observed: list[float] = []
    training.fit(training.new_state(config), both(pairs), config, lambda state, values: observed.append(values["loss"]))
    assert np.mean(observed[-5:]) < 0.85 * np.mean(observed[:5])


def test_a_loss_that_is_not_finite_stops_at_once(pairs: Pairs) -> None:
    state = training.new_state(SMALL)
    with torch.no_grad():
        state.generator.get_parameter("img_reg.0.weight").fill_(float("nan"))
    with pytest.raises(UserError, match="supervised step 1: its loss is nan"):
        training.fit(state, both(pairs), SMALL)
    assert unpack(state.to_bytes())["step"] == 0


def test_a_gradient_that_is_not_finite_changes_no_weight(pairs: Pairs) -> None:
    """A finite loss whose gradient overflows float32, because its weight is tiny."""
    network = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(network.weight, 1e-30)
    optimizer = torch.optim.Adam(network.parameters())
    loss = network(torch.ones(1, 1)).abs().sqrt().sqrt().sqrt().sum() * 1e20
    with pytest.raises(UserError, match="diverged at here: its gradient is inf"):
        training._update(loss, network, optimizer, ("here", "supervised_rate", 1e-4))
    assert network.weight.item() == pytest.approx(1e-30)


def test_minutes_end_a_phase(pairs: Pairs) -> None:
    config = GeneratorConfig(width=4, critic_width=2, batch=4, supervised_steps=10**6, supervised_minutes=0.01)
    state = training.new_state(config)
    training.fit(state, both(pairs), config)
    assert state.phase == 1
