"""The losses of the generator and its critic."""

import pytest
import torch
from torch.nn import functional as F

from twfer_dist.synthesis import losses


def test_the_gradient_penalty_of_a_known_gradient() -> None:
    """D(x) = 3 sum x_0 over 4 patches of an 8x8 image: the gradient is 3 on 64 pixels, its norm 24, the penalty
    23^2.
    """

    def critic(x: torch.Tensor) -> torch.Tensor:
        return 3 * F.avg_pool2d(x[:, 0], 4) * 16

    real, fake = torch.rand(5, 3, 8, 8), torch.rand(5, 3, 8, 8)
    assert losses.gradient_penalty(critic, real, fake, torch.rand(5, 1, 1, 1)).item() == pytest.approx(23**2, rel=1e-5)


def test_the_gradient_penalty_trains_the_critic_between_images() -> None:
    """D(x) = a |x|^2 / 2 has the gradient a x: with mix 0.25 the penalty is (a |0.25 real + 0.75 fake| - 1)^2."""
    a = torch.tensor(0.7, requires_grad=True)
    real, fake = torch.full((2, 3, 4, 4), 0.8), torch.full((2, 3, 4, 4), 0.4)
    penalty = losses.gradient_penalty(
        lambda x: a * x.square().sum((1, 2, 3)) / 2, real, fake, torch.full((2, 1, 1, 1), 0.25)
    )
    norm = 0.5 * 48**0.5
    assert penalty.item() == pytest.approx((0.7 * norm - 1) ** 2, rel=1e-5)
    penalty.backward()
    assert a.grad is not None and a.grad.item() == pytest.approx(2 * (0.7 * norm - 1) * norm, rel=1e-5)


def test_losses_of_shares_average_to_those_of_the_batch() -> None:
    rng = torch.Generator().manual_seed(0)
    image, truth, fused = (torch.rand(20, 3, 16, 16, generator=rng) * 2 - 1 for _ in range(3))
    attention, seen, wanted = (
        torch.rand(20, 1, 16, 16, generator=rng),
        torch.rand(20, 17, generator=rng),
        torch.rand(20, 17, generator=rng),
    )
    values = {
        "action units": lambda part: losses.action_unit_loss(seen[part], wanted[part]),
        "smoothness": lambda part: losses.smoothness(attention[part]),
        "paired": lambda part: torch.stack(
            [*losses.paired_loss(image[part], truth[part], fused[part], attention[part]).values()]
        ).sum(),
    }
    for name, value in values.items():
        for size in (1, 4, 10):
            split = torch.stack([value(slice(k, k + size)) for k in range(0, 20, size)]).mean()
            torch.testing.assert_close(split, value(slice(0, 20)), msg=name)
    assert losses.ACTION_UNITS == 160


def test_attention_paints_where_paint_beats_the_warped_input() -> None:
    image, still = torch.zeros(1, 3, 16, 16), torch.zeros(1, 2, 16, 16)
    truth = image.clone()
    truth[:, :, 4:12, 4:12] = -0.9  # a mouth opens
    painted, kept = torch.full((1, 1, 16, 16), 0.95), torch.full((1, 1, 16, 16), 0.95)
    painted[:, :, 4:12, 4:12] = 0.05
    wanted = [losses.paired_loss(image, truth, truth, attention, still)["attention"] for attention in (painted, kept)]
    assert wanted[0] < 0.5 * wanted[1]
    unwanted = [losses.paired_loss(image, truth, image, attention, still)["attention"] for attention in (painted, kept)]
    assert unwanted[1] < 0.5 * unwanted[0]  # paint that is no nearer is not wanted


def test_smoothness_is_the_public_sum_at_its_batch() -> None:
    attention = torch.rand(25, 1, 8, 8)
    public = (attention[:, :, :-1] - attention[:, :, 1:]).abs().sum() + (
        attention[:, :, :, :-1] - attention[:, :, :, 1:]
    ).abs().sum()
    torch.testing.assert_close(losses.SMOOTHNESS * losses.smoothness(attention), 1e-5 * public)
