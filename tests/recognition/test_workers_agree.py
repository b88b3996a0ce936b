"""Workers together take the steps that one process takes."""

import dataclasses
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from recognition_data import SMALL, dataset
from torch import Tensor, nn

from twfer_dist.dataset.parts import parts_of
from twfer_dist.dataset.stream import ImageSource
from twfer_dist.recognition import training
from twfer_dist.recognition.train_config import TrainConfig
from twfer_dist.training.distributed import rank_and_world_size
from twfer_dist.training.normalisation import synchronise
from twfer_dist.training.workers import Workers, run_workers

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = dataclasses.replace(SMALL, network="arm", size=96, epochs=1, batch=7, learning_rate=1e-4, mix="mixup")

Steps = tuple[int, list[float], dict[str, np.ndarray]]


class Enough(Exception):
    pass


class Casting(nn.Module):
    """A network of another type of numbers than its images."""

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self.dtype = network, dtype

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images.to(self.dtype))


def three_updates(config: TrainConfig, source: ImageSource, dtype: torch.dtype) -> Steps:
    """The number of workers; the sum of the losses after each of three updates; weights and running statistics."""
    from ray.train.torch import prepare_model

    torch.set_num_threads(1)
    rank, world = rank_and_world_size()
    state = training.new_state(config)
    state.network.to(dtype)
    synchronise(state.network)
    network: nn.Module = state.network
    if world > 1:
        network = prepare_model(network, move_to_device=False, parallel_strategy_kwargs={"broadcast_buffers": False})
    losses: list[float] = []

    def report(epochs: float) -> None:
        losses.append(float(state.totals[0]))
        if len(losses) == 3:
            raise Enough

    with pytest.raises(Enough):
        list(training.fit(state, Casting(network, dtype), config, source.of_worker(rank, world), report))
    return world, losses, {name: value.numpy() for name, value in state.network.state_dict().items()}


def both(config: TrainConfig, source: ImageSource) -> list[Steps]:
    return [three_updates(config, source, dtype) for dtype in (torch.float64, torch.float32)]


@pytest.mark.long
def test_two_workers_take_the_steps_of_one(ray_cluster: None, tmp_path: Path) -> None:
    """In double precision, weights too: in single precision, those that Adam moves by the sign of a gradient that is
    nothing but rounding already depend on the order of a batch.
    """
    images = dataset(str(tmp_path), {"train": 3, "validation": 1})
    source = ImageSource(images, parts_of(images, seed=0))
    alone = both(CONFIG, source)
    together = run_workers(partial(both, CONFIG, source), Workers(2, cpus=0.5), str(tmp_path / "ray"))
    for (one, losses, _), (two, same, _) in zip(alone, together, strict=True):
        assert (one, two) == (1, 2)
        assert same == pytest.approx(losses, rel=1e-4)
    for name, value in alone[0][2].items():
        np.testing.assert_allclose(together[0][2][name], value, rtol=1e-4, atol=1e-6, err_msg=name)
