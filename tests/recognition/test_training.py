"""Training a recogniser in plain PyTorch."""

import math

import pytest
import torch
from recognition_data import SMALL, dataset

from twfer_dist.dataset import loader
from twfer_dist.recognition import training
from twfer_dist.training.loop import Diverged

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def shares(tmp_path_factory: pytest.TempPathFactory) -> tuple[loader.Images, loader.Images]:
    """42 training and 14 validation images."""
    images = dataset(str(tmp_path_factory.mktemp("images")), {"train": 6, "validation": 2})
    ids = loader.splits(images, seed=0).ids
    return loader.load(images, ids["train"]), loader.load(images, ids["validation"])


def test_a_resumed_training_equals_an_unbroken_one(shares: tuple[loader.Images, loader.Images]) -> None:
    unbroken, broken, resumed = (training.new_state(SMALL) for _ in range(3))
    lines = list(training.fit(unbroken, unbroken.network, SMALL, *shares))
    first = next(training.fit(broken, broken.network, SMALL, *shares))
    resumed.load(broken.to_bytes())
    assert [first, *training.fit(resumed, resumed.network, SMALL, *shares)] == lines == resumed.log
    torch.testing.assert_close(resumed.network.state_dict(), unbroken.network.state_dict(), atol=0, rtol=0)
    torch.testing.assert_close(resumed.best, unbroken.best, atol=0, rtol=0)


def test_initial_weights_that_are_not_numbers_are_blamed(shares: tuple[loader.Images, loader.Images]) -> None:
    state = training.new_state(SMALL)
    torch.nn.init.constant_(state.network.fc.weight, math.nan)
    with pytest.raises(Diverged, match="diverged at epoch 1 of 2: its loss is nan; its initial weights are at fault"):
        next(training.fit(state, state.network, SMALL, *shares))
