"""Training a recogniser in plain PyTorch."""

import dataclasses
import math

import pytest
import torch
from recognition_data import SMALL, dataset

from twfer_dist.dataset.parts import parts_of
from twfer_dist.dataset.stream import ImageSource
from twfer_dist.engine.artifact import Artifact
from twfer_dist.recognition import training
from twfer_dist.recognition.train_config import TrainConfig
from twfer_dist.training.loop import Diverged

pytestmark = pytest.mark.usefixtures("one_thread")

EVERYTHING = dataclasses.replace(
    SMALL, mix="cutmix", augment="arm", accumulate=2, ema=0.9, schedule="cosine", warmup=0.5, loss="softmax"
)


def source_of(images: Artifact) -> ImageSource:
    return ImageSource(images, parts_of(images, seed=0))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ImageSource:
    """42 training and 14 validation images."""
    return source_of(dataset(str(tmp_path_factory.mktemp("images")), {"train": 6, "validation": 2}))


def test_a_training_ends_early_and_keeps_its_best_epoch(source: ImageSource) -> None:
    def line(score: float, loss: float = 1.0) -> dict[str, float | str]:
        return {"balanced_accuracy/validation": score, "loss/validation": loss}

    history = [line(0.5), line(0.7, 0.9), line(0.7, 0.8), line(0.6), line(0.7, 0.8)]
    assert training.best_epoch(history) == 3
    patient = dataclasses.replace(SMALL, epochs=6, patience=2)
    assert [training.ended(history[:done], patient) for done in range(6)] == [False] * 5 + [True]
    assert not training.ended(history, dataclasses.replace(patient, patience=3))
    state = training.new_state(dataclasses.replace(SMALL, epochs=6))
    stuck = dataclasses.replace(SMALL, epochs=6, patience=1, learning_rate=1e-12)
    lines = list(training.fit(state, state.network, stuck, source))
    best = training.best_epoch(lines)
    assert len(lines) == best + 1 < 6
    before = training.new_state(SMALL).network.fc.weight
    torch.testing.assert_close(state.best["fc.weight"], before.data)


def test_parts_of_a_batch_add_up_to_its_gradient(source: ImageSource) -> None:
    """Without batch norm, which sees the parts one by one."""

    def gradient(accumulate: int) -> torch.Tensor:
        config = dataclasses.replace(SMALL, epochs=1, batch=42, accumulate=accumulate, precision="float32")
        state = training.new_state(config)
        for module in state.network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.train = lambda mode=True, module=module: module  # type: ignore[method-assign, misc]
                module.training = False
        list(training.fit(state, state.network, config, source))
        weight = state.network.fc.weight.grad
        assert weight is not None
        return weight

    torch.testing.assert_close(gradient(3), gradient(1), atol=1e-5, rtol=1e-4)


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("config", [SMALL, EVERYTHING])
def test_a_resumed_training_equals_an_unbroken_one(config: TrainConfig, source: ImageSource) -> None:
    """Resumed in the middle of the second epoch, from its second update on."""
    unbroken, broken, resumed = (training.new_state(config) for _ in range(3))
    lines = list(training.fit(unbroken, unbroken.network, config, source))
    saved: list[bytes] = []

    def interrupt(epochs: float) -> None:
        if epochs > 1.5:
            saved.append(broken.to_bytes())
            raise Interrupted

    with pytest.raises(Interrupted):
        list(training.fit(broken, broken.network, config, source, interrupt))
    resumed.load(saved[0])
    assert (len(resumed.log), resumed.updates) == (1, 2)
    assert training.images_left(resumed, config, 42) == 14
    assert [lines[0], *training.fit(resumed, resumed.network, config, source)] == lines == resumed.log
    torch.testing.assert_close(resumed.network.state_dict(), unbroken.network.state_dict(), atol=0, rtol=0)
    torch.testing.assert_close(resumed.best, unbroken.best, atol=0, rtol=0)


def test_a_training_resumed_after_an_update_knows_its_rate(source: ImageSource) -> None:
    """Killed during the validation, with a checkpoint of the epoch's last update."""
    broken, resumed = training.new_state(SMALL), training.new_state(SMALL)
    saved: list[bytes] = []
    run = training.fit(broken, broken.network, SMALL, source, lambda epochs: saved.append(broken.to_bytes()))
    line = next(run)
    resumed.load(saved[-1])
    assert not resumed.log and resumed.updates
    assert next(training.fit(resumed, resumed.network, SMALL, source)) == line


def test_initial_weights_that_are_not_numbers_are_blamed(source: ImageSource) -> None:
    state = training.new_state(SMALL)
    torch.nn.init.constant_(state.network.fc.weight, math.nan)
    with pytest.raises(Diverged, match="diverged at epoch 1 of 2: its loss is nan; its initial weights are at fault"):
        next(training.fit(state, state.network, SMALL, source))


def test_weight_decay_keeps_the_weights_small(source: ImageSource) -> None:
    def norm(weight_decay: float) -> float:
        config = dataclasses.replace(SMALL, network="resnet18", epochs=1, weight_decay=weight_decay)
        state = training.new_state(config)
        assert len(list(training.fit(state, state.network, config, source))) == 1
        return float(sum(weights.square().sum() for weights in state.network.parameters()))

    assert norm(0.1) < norm(0.0)
