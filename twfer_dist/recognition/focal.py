"""The two focal losses (Lin et al., arXiv 1708.02002): over the softmax, and one expression against the rest.

A scalar alpha in front of a softmax loss only scales its gradient, and Adam divides that scale out again; so the
softmax loss has an alpha for each class, of which only the ratios matter. Where alpha weighs the true expression
against the others, as the paper describes it, the loss is the one over seven sigmoids.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def softmax_focal(logits: Tensor, target: Tensor, *, gamma: float, alpha: Sequence[float]) -> Tensor:
    """-alpha_y (1 - p_y)^gamma log p_y of each image, with p the softmax and y the true class: (B,).

    logits: float (B, C). target: int64 (B,) in 0 .. C - 1, or each image's shares of the classes, float (B, C), by
    which their losses are weighted. gamma: at least 0. alpha: C weights. gamma 0 and every alpha 1 give cross entropy.
    """
    log_p = F.log_softmax(logits, 1)
    loss = -logits.new_tensor(alpha) * _power(-torch.expm1(log_p), gamma) * log_p
    return (loss * _shares(logits, target)).sum(1)


def sigmoid_focal(logits: Tensor, target: Tensor, *, gamma: float, alpha: float) -> Tensor:
    """The sum over classes of -alpha_t (1 - p_t)^gamma log p_t (equation 5) of each image: (B,).

    For the true class p_t = sigmoid(logit) and alpha_t = alpha; for the others p_t = 1 - sigmoid(logit) and alpha_t = 1
    - alpha. logits: float (B, C). target: int64 (B,) in 0 .. C - 1, or each image's shares of the classes, float
    (B, C), by which the losses are weighted that it would have as an image of each. gamma: at least 0. alpha: 0 to 1.
    gamma 0 gives binary cross entropy with the true class weighted alpha and the others 1 - alpha: half of it at
    alpha 1/2, and only the true class's -log sigmoid(logit_y) at alpha 1.
    """
    true, other = F.logsigmoid(logits), F.logsigmoid(-logits)
    if_true = alpha * _power(-torch.expm1(true), gamma) * true
    if_other = (1 - alpha) * _power(-torch.expm1(other), gamma) * other
    shares = _shares(logits, target)
    return -(shares * if_true + (1 - shares) * if_other).sum(1)


def _shares(logits: Tensor, target: Tensor) -> Tensor:
    return target if target.is_floating_point() else F.one_hot(target, logits.shape[1]).to(logits.dtype)


def _power(x: Tensor, gamma: float) -> Tensor:
    """x^gamma for x in 0 to 1 with a finite gradient at 0, which a gamma between 0 and 1 does not have."""
    return x.clamp_min(1e-7) ** gamma
