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
    """Mean over the batch of -alpha_y (1 - p_y)^gamma log p_y, with p the softmax and y the true class.

    logits: float (B, C). target: int64 (B,) in 0 .. C - 1. gamma: at least 0. alpha: C weights.
    gamma 0 and every alpha 1 give cross entropy.
    """
    log_p = F.log_softmax(logits, 1).gather(1, target[:, None]).squeeze(1)
    weight = logits.new_tensor(alpha)[target]
    return -(weight * _power(-torch.expm1(log_p), gamma) * log_p).mean()


def sigmoid_focal(logits: Tensor, target: Tensor, *, gamma: float, alpha: float) -> Tensor:
    """Mean over the batch of the sum over classes of -alpha_t (1 - p_t)^gamma log p_t (equation 5).

    For the true class p_t = sigmoid(logit) and alpha_t = alpha; for the others p_t = 1 - sigmoid(logit) and alpha_t = 1
    - alpha. logits: float (B, C). target: int64 (B,) in 0 .. C - 1. gamma: at least 0. alpha: 0 to 1. gamma 0 gives
    binary cross entropy with the true class weighted alpha and the others 1 - alpha: half of it at alpha 1/2, and
    only the true class's -log sigmoid(logit_y) at alpha 1.
    """
    positive = F.one_hot(target, logits.shape[1]).bool()
    log_p = F.logsigmoid(torch.where(positive, logits, -logits))
    weight = torch.where(positive, alpha, 1 - alpha)
    return -(weight * _power(-torch.expm1(log_p), gamma) * log_p).sum(1).mean()


def _power(x: Tensor, gamma: float) -> Tensor:
    """x^gamma for x in 0 to 1 with a finite gradient at 0, which a gamma between 0 and 1 does not have."""
    return x.clamp_min(1e-7) ** gamma
