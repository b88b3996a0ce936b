"""The two focal losses: what they equal, and what an alpha can and cannot do."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from twfer_dist.recognition.focal import sigmoid_focal, softmax_focal

ONES = (1.0,) * 7
Batch = tuple[torch.Tensor, torch.Tensor]


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(16, 7, generator=generator, dtype=torch.float64)
    return logits, torch.randint(0, 7, (16,), generator=generator)


def test_softmax_focal_with_gamma_0_and_alpha_1_is_cross_entropy(batch: Batch) -> None:
    logits, target = batch
    torch.testing.assert_close(
        softmax_focal(logits, target, gamma=0, alpha=ONES).mean(), F.cross_entropy(logits, target)
    )


def test_softmax_focal_is_its_formula(batch: Batch) -> None:
    logits, target = batch
    alpha = torch.arange(1, 8, dtype=torch.float64) / 7
    p = logits.softmax(1)[torch.arange(16), target]
    expected = (-alpha[target] * (1 - p) ** 2 * p.log()).mean()
    torch.testing.assert_close(softmax_focal(logits, target, gamma=2, alpha=alpha.tolist()).mean(), expected)


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (0.5, 0.0), (0.75, 0.5), (1.0, 0.0)])
def test_sigmoid_focal_is_torchvisions(batch: Batch, alpha: float, gamma: float) -> None:
    logits, target = batch
    expected = sigmoid_focal_loss(logits, F.one_hot(target, 7).double(), alpha=alpha, gamma=gamma, reduction="sum") / 16
    torch.testing.assert_close(sigmoid_focal(logits, target, gamma=gamma, alpha=alpha).mean(), expected)


def test_sigmoid_focal_without_focus_is_binary_cross_entropy(batch: Batch) -> None:
    logits, target = batch
    binary = F.binary_cross_entropy_with_logits(logits, F.one_hot(target, 7).double(), reduction="sum") / 16
    torch.testing.assert_close(sigmoid_focal(logits, target, gamma=0, alpha=0.5).mean(), binary / 2)
    of_the_truth = F.binary_cross_entropy_with_logits(
        logits[torch.arange(16), target], torch.ones(16, dtype=torch.float64)
    )
    torch.testing.assert_close(sigmoid_focal(logits, target, gamma=0, alpha=1.0).mean(), of_the_truth)


@pytest.mark.parametrize("gamma", [0.0, 0.3, 2.0])
def test_gradients_stay_finite_where_a_prediction_is_certain(gamma: float) -> None:
    logits = torch.zeros(2, 7)
    logits[0, 0], logits[1, 0] = 200, -200
    target = torch.tensor([0, 0])
    for loss in (
        softmax_focal(logits.requires_grad_(), target, gamma=gamma, alpha=ONES),
        sigmoid_focal(logits, target, gamma=gamma, alpha=0.25),
    ):
        assert torch.isfinite(torch.autograd.grad(loss.mean(), logits)[0]).all()


def trained(loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """The weights of a linear model after 30 steps of Adam on `loss(logits, target)`."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(64, 20, generator=generator, dtype=torch.float64)
    target = torch.randint(0, 7, (64,), generator=generator)
    weights = torch.zeros(20, 7, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([weights], 1e-2)
    for _ in range(30):
        optimizer.zero_grad()
        loss(images @ weights, target).mean().backward()
        optimizer.step()
    return weights.detach()


def test_scaling_all_softmax_alphas_changes_nothing_under_adam() -> None:
    whole = trained(partial(softmax_focal, gamma=2, alpha=ONES))
    quarter = trained(partial(softmax_focal, gamma=2, alpha=(0.25,) * 7))
    assert whole.abs().max() > 0.1
    torch.testing.assert_close(quarter, whole, rtol=0, atol=1e-4)


def test_ratios_of_softmax_alphas_matter_under_adam() -> None:
    whole = trained(partial(softmax_focal, gamma=2, alpha=ONES))
    uneven = trained(partial(softmax_focal, gamma=2, alpha=(0.25, *ONES[1:])))
    assert (uneven - whole).abs().max() > 0.01


def test_alpha_of_the_sigmoid_loss_matters_under_adam() -> None:
    low, high = (trained(partial(sigmoid_focal, gamma=2, alpha=alpha)) for alpha in (0.25, 0.75))
    assert (low - high).abs().max() > 0.01
