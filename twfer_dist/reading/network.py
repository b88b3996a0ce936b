"""The reader's network: a few small perceptrons over 17 Action Units, whose answers are averaged.

Averaging networks that start from different weights gives better calibrated probabilities than any of them
(Lakshminarayanan et al., arXiv 1612.01474).
"""

import torch
from torch import Tensor, nn

from twfer_dist.core.taxonomy import ACTION_UNITS, EXPRESSIONS, MAX_INTENSITY

CLASSES = len(EXPRESSIONS)


class ReaderNetwork(nn.Module):
    """forward(units (B, 17) float32, 0 to 5) gives probabilities (B, 7) and intensities (B, 7), both 0 to 1."""

    def __init__(self, members: int, hidden: int) -> None:
        super().__init__()
        self.members = nn.ModuleList(_member(hidden) for _ in range(members))

    def forward(self, units: Tensor) -> tuple[Tensor, Tensor]:
        outputs = self.outputs(units)
        return torch.softmax(outputs[..., :CLASSES], -1).mean(0), torch.sigmoid(outputs[..., CLASSES:]).mean(0)

    def outputs(self, units: Tensor) -> Tensor:
        """What each member gives before softmax and sigmoid: (members, B, 14)."""
        centred = 2 * units / MAX_INTENSITY - 0.5
        return torch.stack([member(centred) for member in self.members])


def _member(hidden: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(len(ACTION_UNITS), hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(),
        nn.Linear(hidden, 2 * CLASSES),
    )  # fmt: skip
