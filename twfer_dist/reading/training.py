"""Train the reader in plain PyTorch, on rendered heads as the network measures them; a minute on one core."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from scipy.stats import qmc
from torch import nn

from twfer_dist.core.taxonomy import ACTION_UNITS, EXPRESSIONS, NEUTRAL
from twfer_dist.engine.config import Range, Settings
from twfer_dist.reading.network import CLASSES, ReaderNetwork
from twfer_dist.reading.photographs import Disturbance
from twfer_dist.reading.reader import Reader

_LOG_EVERY = 100  # steps


@dataclass(frozen=True)
class ReaderConfig(Settings):
    """How the reader is trained."""

    steps: Annotated[int, Range(1, 10**6)] = 600  # updates of the weights
    batch: Annotated[int, Range(1, 10**5)] = 256  # faces of a step
    learning_rate: Annotated[float, Range(0, 1, above=True)] = 0.004  # the highest, of one cycle
    weight_decay: Annotated[float, Range(0, 1)] = 0.001  # of AdamW: of each weight, times the learning rate, at a step
    members: Annotated[int, Range(1, 100)] = 5  # networks whose answers are averaged
    hidden: Annotated[int, Range(1, 4096)] = 16  # units of each of the two hidden layers of a member
    # how often neutral faces are drawn, relative to each other expression: most faces of a corpus are neutral
    neutral: Annotated[float, Range(0, 100, above=True)] = 1.5
    draws: Annotated[int, Range(1, 4096)] = 64  # of a face's uncertain units
    held_out: Annotated[float, Range(0, 1, above=True)] = 0.1  # the share of figures
    accuracy_target: Annotated[float, Range(0, 1)] = 0.65  # of accepted answers
    seed: Annotated[int, Range(0, 2**32 - 1)] = 0  # of the weights, the figures held out, and what each step draws


@dataclass(frozen=True)
class MeasuredHeads:
    """N rendered heads as they were measured."""

    units: np.ndarray  # float32 (N, 17), 0 to 5
    half_width_90: np.ndarray  # float32 (N, 17)
    labels: np.ndarray  # int64 (N,), 0 to 6
    intensities: np.ndarray  # float32 (N,), 0 to 1; 0 where the label is neutral
    figure_ids: np.ndarray  # str (N,)

    def of(self, rows: np.ndarray) -> "MeasuredHeads":
        return MeasuredHeads(*(value[rows] for value in vars(self).values()))

    def __len__(self) -> int:
        return len(self.labels)


def split(heads: MeasuredHeads, held_out: float, seed: int) -> tuple[MeasuredHeads, MeasuredHeads]:
    """To train on, and held out: at least one figure each, of at least two."""
    figures = np.unique(heads.figure_ids)
    chosen = np.random.default_rng(seed).permutation(figures)[
        : max(1, min(len(figures) - 1, round(held_out * len(figures))))
    ]
    out = np.isin(heads.figure_ids, chosen)
    return heads.of(~out), heads.of(out)


def fit(
    config: ReaderConfig, heads: MeasuredHeads, resting: np.ndarray, log: Callable[[int, Mapping[str, float]], None]
) -> ReaderNetwork:
    """A trained network. resting: (M, 17), units measured on expressionless people. log: gets step and loss."""
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    network, disturbance = ReaderNetwork(config.members, config.hidden), Disturbance()
    optimizer = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=config.steps)
    weight = np.where(heads.labels == NEUTRAL - 1, config.neutral, 1.0)
    for step in range(1, config.steps + 1):
        batch = heads.of(rng.choice(len(heads), config.batch, p=weight / weight.sum()))
        units = disturbance.apply(batch.units, batch.half_width_90, resting, rng)
        loss = _loss(network.outputs(torch.from_numpy(units)), batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % _LOG_EVERY == 0 or step == config.steps:
            log(step, {"loss": float(loss.detach())})
    return network.eval()


def _loss(outputs: torch.Tensor, batch: MeasuredHeads) -> torch.Tensor:
    """Cross entropy of the label, and squared error of the intensities, each member by itself."""
    labels = torch.from_numpy(batch.labels)
    intensities = torch.zeros(len(batch), CLASSES)
    intensities[torch.arange(len(batch)), labels] = torch.from_numpy(batch.intensities)
    members = len(outputs)
    entropy = nn.functional.cross_entropy(outputs[..., :CLASSES].flatten(0, 1), labels.repeat(members))
    return entropy + ((torch.sigmoid(outputs[..., CLASSES:]) - intensities) ** 2).mean()


def laplace_draws(count: int) -> np.ndarray:
    """Evenly spread draws of 17 independent Laplace distributions of scale 1, float32 (count, 17)."""
    uniform = qmc.Sobol(len(ACTION_UNITS), seed=0).random(count) - 0.5
    return (-np.sign(uniform) * np.log(np.maximum(1 - 2 * np.abs(uniform), 1e-9))).astype(np.float32)


def read_all(reader: Reader, units: np.ndarray, half_width_90: np.ndarray) -> np.ndarray:
    """Probabilities (N, 7) of faces whose units (N, 17) were measured with these half widths (N, 17)."""
    return np.stack([reader.read(*face).probabilities for face in zip(units, half_width_90, strict=True)])


def scores(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """How good probabilities (N, 7) are where the labels (N,), 0 to 6, are known."""
    correct = probabilities.argmax(1) == labels
    of = {name: labels == k for k, name in enumerate(EXPRESSIONS)}
    return {
        "n": len(labels),
        "accuracy": round(float(correct.mean()), 4),
        "per_expression": {name: round(float(correct[rows].mean()), 4) for name, rows in of.items() if rows.any()},
        "ece": round(calibration_error(probabilities, labels), 4),
    }


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 10) -> float:
    """The expected calibration error (Guo et al., arXiv 1706.04599): the mean distance between the confidence of the
    answers and how often they are correct, over bins of equal width.

    probabilities: (N, 7). labels: (N,), 0 to 6.
    """
    confidence, correct = probabilities.max(1), probabilities.argmax(1) == labels
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(bin_of, confidence - correct, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))
