"""Settings of a recogniser's training."""

import dataclasses
import math
from typing import Literal

import pytest
import torch

from twfer_dist.recognition.train_config import TrainConfig

CONFIG = TrainConfig(learning_rate=0.1, epochs=10)


def test_learning_rates_follow_their_schedule() -> None:
    assert [CONFIG.rate(epoch, 3, 5) for epoch in (1, 2, 10)] == pytest.approx([0.1, 0.09, 0.1 * 0.9**9])
    cosine = dataclasses.replace(CONFIG, schedule="cosine", warmup=2.0)
    rising = [cosine.rate(epoch, update, 4) for epoch in (1, 2) for update in range(4)]
    assert rising == pytest.approx([0.1 * k / 8 for k in range(1, 9)])
    falling = [cosine.rate(epoch, update, 4) for epoch in range(3, 11) for update in range(4)]
    assert falling == pytest.approx([0.05 * (1 + math.cos(math.pi * k / 32)) for k in range(32)])


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_a_blended_label_has_the_blended_loss(loss: Literal["softmax", "sigmoid"]) -> None:
    config = dataclasses.replace(CONFIG, loss=loss, class_alphas=(1, 2, 3, 4, 5, 6, 7))
    logits = torch.randn(1, 7, generator=torch.Generator().manual_seed(0))
    shares = torch.tensor([[0.0, 0.3, 0.0, 0.0, 0.7, 0.0, 0.0]])
    ends = [config.losses_of(logits, torch.tensor([label])) for label in (1, 4)]
    torch.testing.assert_close(config.losses_of(logits, shares), 0.3 * ends[0] + 0.7 * ends[1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch": 8, "accumulate": 5}, "a batch of 8 in 5 parts has fewer than 2 images in each"),
        ({"epochs": 3, "warmup": 3.0}, "warmup is 3 epochs of 3; use fewer"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainConfig(**settings)  # type: ignore[arg-type]
