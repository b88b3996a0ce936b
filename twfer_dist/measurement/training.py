"""Train a network on crops of rendered heads, and score the one that measures faces, in plain PyTorch: in one process,
or as one worker of a data-parallel group.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor, nn

from twfer_dist.core.errors import UserError
from twfer_dist.core.landmarks import OUTER_EYE_CORNERS
from twfer_dist.core.taxonomy import ACTION_UNITS, MAX_INTENSITY
from twfer_dist.engine.config import Range, Settings
from twfer_dist.measurement import augmentation
from twfer_dist.measurement.augmentation import Examples, Heads
from twfer_dist.measurement.network import FaceNetwork, Measured, predict_batch, standardised
from twfer_dist.training.distributed import rank_and_world_size
from twfer_dist.training.loop import Observe, Schedule, check_converging, run_steps
from twfer_dist.training.precision import Precision, agree_on_bfloat16
from twfer_dist.training.prefetch import prefetched
from twfer_dist.training.state import SteppedState, build_seeded

INTERVAL = 0.90
"""The share of true values that the intervals should contain."""

PRESENT = 0.5
"""The intensity from which scores count a unit as present."""

_WARM_UP = 0.03  # of the training, while the learning rate rises
_MAX_GRADIENT_NORM = 5.0


@dataclass(frozen=True)
class TrainingObjective:
    """What a network is shown, and how its predictions are judged."""

    # a step's number -> the heads it shows, int64 (B,); worker r of w takes every w-th from r on
    rows_of: Callable[[int], np.ndarray]
    draw: Callable[[Heads, np.ndarray, tuple[int, ...]], Examples]  # `augmentation.augmented` or another
    # predictions for a batch, and its truth -> the terms of the loss
    loss_of: Callable[[Any, Examples], dict[str, Tensor]]


@dataclass(frozen=True)
class FaceNetworkConfig(Settings):
    """How a network of faces is trained: for a number of steps or minutes, whichever ends first."""

    steps: Annotated[int, Range(1, 10**9)] = 20000  # updates of the weights, at most
    minutes: Annotated[float, Range(0, 10**6, above=True)] | None = None  # at most; null: the steps decide
    batch: Annotated[int, Range(2, 4096)] = 64  # heads of a step, over all workers
    # AdamW's maximum: the rate rises to it and then falls along a cosine
    learning_rate: Annotated[float, Range(0, 1, above=True)] = 2e-3
    weight_decay: Annotated[float, Range(0, 1)] = 0.02  # of AdamW: of each weight, times the learning rate, at a step
    precision: Precision = "float32"  # of the convolutions during training; bfloat16 is twice as fast
    # share of the figures held out, to calibrate the intervals on, or to identify
    held_out: Annotated[float, Range(0, 0.9, above=True)] = 0.05
    seed: Annotated[int, Range(0, 2**32 - 1)] = 0  # of the weights, the figures held out, and what each step draws


@dataclass(frozen=True)
class MeasuringConfig(FaceNetworkConfig):
    """How the network that measures faces is trained."""

    # weight, in the loss, of keeping its answers for `photographs` in any light, lens and crop
    consistency: Annotated[float, Range(0, 1000)] = 1.0


@dataclass
class State(SteppedState):
    """A network in training."""

    network: nn.Module
    optimizer: torch.optim.AdamW


def new_state(
    config: FaceNetworkConfig, device: torch.device | str = "cpu", build: Callable[[], nn.Module] = FaceNetwork
) -> State:
    """The network that `build` returns, its weights drawn from `config.seed`, on `device`, and its optimizer."""
    network = build_seeded(config.seed, build)
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return State(
        network, torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    )


def loss(prediction: Measured, truth: Examples, deviations: Tensor) -> dict[str, Tensor]:
    """The terms of the loss, each a mean over the batch; their sum is minimised.

    points: mean distance in pixels, as L1, so that an occluded point does not dominate. units: squared errors in
    standard deviations of each unit (`deviations` (17,)), without which frequent, wide units drown the others. pose: L1
    in degrees. The scales learn the Laplace likelihood of detached errors, so that a large scale never excuses an
    error.
    """
    point_errors = (prediction.points - truth.points).abs().mean(2)
    unit_errors = (prediction.units - truth.units).abs()

    def likelihood(errors: Tensor, scales: Tensor) -> Tensor:
        return (scales.log() + errors.detach() / scales).mean()

    return {
        "points": 0.5 * point_errors.mean(),
        "units": ((unit_errors / deviations) ** 2).mean(),
        "pose": 0.02 * (prediction.pose - truth.pose).abs().mean(),
        "scales": 0.1
        * (likelihood(point_errors, prediction.point_scales) + likelihood(unit_errors, prediction.unit_scales)),
    }


def measurement_objective(
    heads: Heads, config: FaceNetworkConfig, device: torch.device | str = "cpu"
) -> TrainingObjective:
    """The objective of the network that measures faces: each epoch shows each head once, in the epoch's own order, as a
    photograph might show it.
    """
    scale = deviations(heads).to(device)
    count = len(heads.units)

    def rows_of(step: int) -> np.ndarray:
        first = step * config.batch
        epochs = range(first // count, (first + config.batch - 1) // count + 1)
        orders = [np.random.default_rng((config.seed, 1, epoch)).permutation(count) for epoch in epochs]
        return np.concatenate(orders)[first % count + np.arange(config.batch)]

    return TrainingObjective(rows_of, augmentation.augmented, lambda prediction, truth: loss(prediction, truth, scale))


def deviations(heads: Heads) -> Tensor:
    """float32 (17,): the standard deviation of each unit, enlarged a little, in which errors are measured."""
    return torch.from_numpy(heads.units.std(0) + 0.1)


def fit(
    state: State,
    net: nn.Module,
    config: FaceNetworkConfig,
    heads: Heads,
    objective: TrainingObjective,
    observe: Observe[State] | None = None,
    processes: int = 0,
) -> None:
    """Train from `state` to the end, on this worker's share of each batch.

    net: `state.network`, or its wrapper for data-parallel training. observe: see `Observe`; the losses are the
    objective's terms. processes: that draw the batches, see `prefetched`. Raises Diverged if the loss or its gradient
    is not finite, or the loss is far above that of the first step.
    """
    rank, workers = rank_and_world_size()
    device = next(net.parameters()).device
    bfloat16 = agree_on_bfloat16(config.precision, device, state.precisions)

    def draw(step: int) -> Examples:
        shown = objective.rows_of(step)
        rows = np.stack([shown, np.arange(len(shown))], 1)[rank::workers]
        return objective.draw(heads, rows, (config.seed, step))

    batches = prefetched(draw, state.step, config.steps, processes)

    def step(rate: float) -> dict[str, float]:
        batch = next(batches).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            prediction = net(standardised(batch.crops).contiguous(memory_format=torch.channels_last))
        terms = objective.loss_of(prediction, batch)
        _update(state, net, config, sum(terms.values(), torch.zeros((), device=device)))
        return {name: float(term.detach()) for name, term in terms.items()}

    net.train()
    run_steps(state, _schedule(config), [state.optimizer], device, step, observe)


def _schedule(config: FaceNetworkConfig) -> Schedule:
    def rate(progress: float) -> float:
        factor = min(1.0, progress / _WARM_UP, 0.5 + 0.5 * math.cos(math.pi * progress))
        return config.learning_rate * factor + 1e-6

    return Schedule(config.steps, config.minutes, rate)


def _update(state: State, net: nn.Module, config: FaceNetworkConfig, total: Tensor) -> None:
    """One optimizer step along the gradient of the loss `total`."""
    value = float(total.detach())
    if not state.step:
        state.initial_loss = max(1.0, value)
    context = f"step {state.step + 1} of {config.steps}", "learning_rate", config.learning_rate
    check_converging(value, state.initial_loss, *context, updates=state.step)
    state.optimizer.zero_grad()
    total.backward()
    norm = nn.utils.clip_grad_norm_(net.parameters(), _MAX_GRADIENT_NORM)
    check_converging(float(norm), math.inf, *context, updates=state.step, what="gradient")
    state.optimizer.step()


@dataclass(frozen=True)
class Predictions:
    """The network's predictions for examples, as numpy arrays, and the truth."""

    points: np.ndarray  # (N, 68, 2), pixels of the crop
    units: np.ndarray  # (N, 17), clipped to 0 to 5
    unit_scales: np.ndarray  # (N, 17)
    pose: np.ndarray  # (N, 3)
    truth: Examples

    def scores(self, factors: np.ndarray) -> dict[str, object]:
        """See `scores`. factors: (17,) of `interval_factors`."""
        return scores(self.points, self.units, self.pose, self.truth, factors * self.unit_scales)


def predict(network: nn.Module, examples: Examples, batch: int = 64) -> Predictions:
    """Predictions for examples, in batches; the network is left in inference mode."""
    network.eval()
    device = next(network.parameters()).device
    parts: list[tuple[np.ndarray, ...]] = []
    for start in range(0, len(examples.crops), batch):
        measured = predict_batch(network, examples.crops[start : start + batch].to(device))
        parts.append(tuple(value.cpu().numpy() for value in vars(measured).values()))
    points, _, units, unit_scales, pose = (np.concatenate(values) for values in zip(*parts, strict=True))
    return Predictions(points, np.clip(units, 0, MAX_INTENSITY), unit_scales, pose, examples)


def scores(
    points: np.ndarray, units: np.ndarray, pose: np.ndarray, truth: Examples, half_width_90: np.ndarray | None = None
) -> dict[str, object]:
    """How good measurements of N faces are: points (N, 68, 2), units (N, 17), pose (N, 3); half_width_90 (N, 17): half
    of each interval.

    By unit: au_pearson, au_mae, and au_present (share of faces with the unit). Over all: au_pearson_mean,
    au_mae_present (mean absolute error where a unit is present), points_nme (mean distance of the points in
    inter-ocular distances), pose_mae (degrees), n. If intervals are given: interval_coverage_90 (share of true values
    within them), also by unit.
    """
    true_units, true_points = truth.units.numpy(), truth.points.numpy()
    errors = np.abs(units - true_units)
    pearson = [
        float(np.corrcoef(a, b)[0, 1]) if a.std() and b.std() else 0.0
        for a, b in zip(units.T, true_units.T, strict=True)
    ]
    present = true_units >= PRESENT
    eyes = np.linalg.norm(true_points[:, OUTER_EYE_CORNERS[0]] - true_points[:, OUTER_EYE_CORNERS[1]], axis=1)
    measured: dict[str, object] = {
        "n": len(units),
        "au_pearson": _by_unit(pearson),
        "au_pearson_mean": float(np.mean(pearson)),
        "au_mae": _by_unit(errors.mean(0)),
        "au_mae_present": float(errors[present].mean()),
        "au_present": _by_unit(present.mean(0)),
        "points_nme": float((np.linalg.norm(points - true_points, axis=2).mean(1) / eyes).mean()),
        "pose_mae": float(np.abs(pose - truth.pose.numpy()).mean()),
    }
    if half_width_90 is not None:
        within = errors <= half_width_90
        measured |= {
            "interval_coverage_90": float(within.mean()),
            "interval_coverage_90_by_au": _by_unit(within.mean(0)),
        }
    return measured


def _by_unit(values: np.ndarray | list[float]) -> dict[str, float]:
    return {name: round(float(value), 4) for name, value in zip(ACTION_UNITS, values, strict=True)}


def interval_factors(predictions: Predictions) -> np.ndarray:
    """float32 (17,): factors on the units' scales for which +- contains INTERVAL of these faces' true values (split
    conformal prediction; Lei et al. 2018).
    """
    errors = np.abs(predictions.units - predictions.truth.units.numpy()) / predictions.unit_scales
    rank = min(1.0, math.ceil((len(errors) + 1) * INTERVAL) / len(errors))
    return np.quantile(errors, rank, axis=0, method="higher").astype(np.float32)


def split(heads: Heads, share: float, seed: int) -> tuple[Heads, Heads]:
    """Heads to train on, and a `share` of the figures held out, at least one. Raises UserError if there is one figure
    alone.
    """
    figure_ids = np.unique(heads.figure_ids)
    chosen = np.random.default_rng((seed, 2)).permutation(figure_ids)[: max(1, round(share * len(figure_ids)))]
    held_out = np.isin(heads.figure_ids, chosen)
    if held_out.all():
        raise UserError("All rendered heads show one figure: render more figures.")
    return heads.of(np.flatnonzero(~held_out)), heads.of(np.flatnonzero(held_out))
