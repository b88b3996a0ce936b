"""Training of a network on crops of rendered heads, and the scores of the one that measures faces, in plain PyTorch:
one process, or a share of a data-parallel group.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from twfer_dist.core.errors import UserError
from twfer_dist.core.landmarks import OUTER_EYE_CORNERS
from twfer_dist.core.taxonomy import ACTION_UNITS, MAX_INTENSITY
from twfer_dist.engine.config import Range, Settings
from twfer_dist.measurement import augmentation
from twfer_dist.measurement.augmentation import Examples, Heads
from twfer_dist.measurement.network import FaceNetwork, Measured, predict_batch, standardised
from twfer_dist.training.checkpoint import pack, unpack
from twfer_dist.training.loop import agree_on_bfloat16, check_converging
from twfer_dist.training.precision import Precision

INTERVAL = 0.90
"""The share of truths that the intervals are made to hold."""

PRESENT = 0.5
"""The intensity from which a unit counts as there, in scores."""

_WARM = 0.03  # of the training, while the learning rate rises


@dataclass(frozen=True)
class TrainingObjective:
    """What a network is shown, and how its answers are judged."""

    rows_of: Callable[
        [int], np.ndarray
    ]  # a step's number -> the heads that it shows, int64 (B,); worker r of w takes each w-th from r on
    draw: Callable[[Heads, np.ndarray, tuple[int, ...]], Examples]  # `examples.drawn` or another
    loss_of: Callable[
        [Any, Examples], dict[str, Tensor]
    ]  # the network's answers to a batch, and its truth -> the parts of the loss


@dataclass(frozen=True)
class FaceNetworkConfig(Settings):
    """How a network of faces is trained. It ends with its steps, or with its minutes where they are given and come
    first.
    """

    steps: Annotated[int, Range(1, 10**9)] = 20000
    minutes: Annotated[float, Range(0, 10**6, above=True)] | None = None
    batch: Annotated[int, Range(2, 4096)] = 64  # over all workers
    # of AdamW at its highest; it rises and then falls along a cosine
    learning_rate: Annotated[float, Range(0, 1, above=True)] = 2e-3
    weight_decay: Annotated[float, Range(0, 1)] = 0.02
    precision: Precision = "float32"  # of the convolutions while learning, bfloat16 is twice as fast
    # share of the figures kept to choose intervals by, or to be told apart
    held_out: Annotated[float, Range(0, 0.9, above=True)] = 0.05
    seed: Annotated[int, Range(0, 2**32 - 1)] = 0


@dataclass
class State:
    """All that a training is between two steps."""

    network: nn.Module
    optimizer: torch.optim.AdamW
    step: int = 0
    seconds: float = 0.0
    log: list[dict[str, float]] = field(default_factory=list)
    precisions: list[str] = field(
        default_factory=list
    )  # in which convolutions were computed; several where the hardware changed
    begun: float = math.inf  # the loss of the first step

    def to_bytes(self) -> bytes:
        parts = {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}
        return pack({**parts, **{name: getattr(self, name) for name in _PLAIN}})

    def load(self, saved: bytes) -> None:
        """Become the state that `to_bytes` saved."""
        found = unpack(saved)
        self.network.load_state_dict(found["network"])
        self.optimizer.load_state_dict(found["optimizer"])
        for name in _PLAIN:
            setattr(self, name, found[name])


_PLAIN = ("step", "seconds", "log", "precisions", "begun")


def new_state(
    config: FaceNetworkConfig, device: torch.device | str = "cpu", make: Callable[[], nn.Module] = FaceNetwork
) -> State:
    """The network that `make` makes, its weights drawn from `config.seed`, on `device`, and its optimizer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = make()
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return State(
        network, torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    )


def loss(found: Measured, truth: Examples, spread: Tensor) -> dict[str, Tensor]:
    """The parts of the loss, whose sum is minimised, each a mean over the batch.

    points: the mean distance in pixels, as L1 (so that a covered point costs no more than it must). units: squared
    errors in standard deviations of each unit (spread (17,)), without which frequent, wide units drown the others.
    pose: L1 in degrees. The scales learn the Laplace likelihood of errors that they cannot change, so that being unsure
    never excuses being wrong.
    """
    point_errors = (found.points - truth.points).abs().mean(2)
    unit_errors = (found.units - truth.units).abs()

    def likelihood(errors: Tensor, scales: Tensor) -> Tensor:
        return (scales.log() + errors.detach() / scales).mean()

    return {
        "points": 0.5 * point_errors.mean(),
        "units": ((unit_errors / spread) ** 2).mean(),
        "pose": 0.02 * (found.pose - truth.pose).abs().mean(),
        "scales": 0.1 * (likelihood(point_errors, found.point_scales) + likelihood(unit_errors, found.unit_scales)),
    }


def measurement_objective(
    heads: Heads, config: FaceNetworkConfig, device: torch.device | str = "cpu"
) -> TrainingObjective:
    """The lesson of the network that measures faces: each epoch shows each head once, in its own order, as photographs
    might show it.
    """
    spread = torch.from_numpy(heads.units.std(0) + 0.1).to(device)
    count = len(heads.units)

    def rows_of(step: int) -> np.ndarray:
        first = step * config.batch
        epochs = range(first // count, (first + config.batch - 1) // count + 1)
        drawn = [np.random.default_rng((config.seed, 1, epoch)).permutation(count) for epoch in epochs]
        return np.concatenate(drawn)[first % count + np.arange(config.batch)]

    return TrainingObjective(rows_of, augmentation.augmented, lambda found, truth: loss(found, truth, spread))


def fit(
    state: State,
    net: nn.Module,
    config: FaceNetworkConfig,
    heads: Heads,
    lesson: TrainingObjective,
    observe: Callable[[State, dict[str, float]], None],
) -> None:
    """Train from where `state` stands to the end, on this worker's share of each batch.

    net: `state.network`, or what wraps it for data-parallel training. observe(state, values) is called after each step
    with `progress` (0 to 1), the learning rate and the parts of this worker's loss. Diverged where the loss or its
    gradient is not finite, or the loss far beyond that of the first step.
    """
    rank, workers = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    device = next(net.parameters()).device
    net.train()
    half = agree_on_bfloat16(config.precision, device, state.precisions)
    progress = _progress(state, config, device)
    while progress < 1:
        started = time.monotonic()
        rate = config.learning_rate * min(1.0, progress / _WARM, 0.5 + 0.5 * math.cos(math.pi * progress)) + 1e-6
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        shown = lesson.rows_of(state.step)
        rows = np.stack([shown, np.arange(len(shown))], 1)[rank::workers]
        batch = lesson.draw(heads, rows, (config.seed, state.step)).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            found = net(standardised(batch.crops).contiguous(memory_format=torch.channels_last))
        parts = lesson.loss_of(found, batch)
        total = sum(parts.values(), torch.zeros((), device=device))
        if not state.step:
            state.begun = max(1.0, float(total.detach()))
        place = f"step {state.step + 1} of {config.steps}", "learning_rate", config.learning_rate
        check_converging(float(total.detach()), state.begun, *place, updates=state.step)
        state.optimizer.zero_grad()
        total.backward()
        length = nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        check_converging(float(length), math.inf, *place, updates=state.step, what="gradient")
        state.optimizer.step()
        state.step += 1
        state.seconds += time.monotonic() - started
        progress = _progress(state, config, device)
        observe(
            state,
            {
                "progress": progress,
                "learning_rate": rate,
                **{name: float(part.detach()) for name, part in parts.items()},
            },
        )


def _progress(state: State, config: FaceNetworkConfig, device: torch.device) -> float:
    """How much of the training is done: of its steps or its minutes, whichever is more; the slowest worker's clock
    counts.
    """
    done = max(state.step / config.steps, state.seconds / 60 / config.minutes if config.minutes else 0.0)
    if config.minutes and dist.is_initialized():
        shared = torch.tensor(done, device=device)
        dist.all_reduce(shared, dist.ReduceOp.MAX)
        done = shared.item()
    return done


@dataclass(frozen=True)
class Answers:
    """The network's answers to examples, as numpy arrays, and the truth."""

    points: np.ndarray  # (N, 68, 2), pixels of the crop
    units: np.ndarray  # (N, 17), clipped to 0 to 5
    unit_scales: np.ndarray  # (N, 17)
    pose: np.ndarray  # (N, 3)
    truth: Examples

    def scores(self, factors: np.ndarray) -> dict[str, object]:
        """See `scores`. factors: (17,) of `interval_factors`."""
        return scores(self.points, self.units, self.pose, self.truth, factors * self.unit_scales)


def answers(network: nn.Module, shown: Examples, batch: int = 64) -> Answers:
    """What the network says of examples."""
    network.eval()
    device = next(network.parameters()).device
    parts: list[tuple[np.ndarray, ...]] = []
    for start in range(0, len(shown.crops), batch):
        found = predict_batch(network, shown.crops[start : start + batch].to(device))
        parts.append(tuple(value.cpu().numpy() for value in vars(found).values()))
    points, _, units, unit_scales, pose = (np.concatenate(values) for values in zip(*parts, strict=True))
    return Answers(points, np.clip(units, 0, MAX_INTENSITY), unit_scales, pose, shown)


def scores(
    points: np.ndarray, units: np.ndarray, pose: np.ndarray, truth: Examples, half_width_90: np.ndarray | None = None
) -> dict[str, object]:
    """How good measurements of N faces are: points (N, 68, 2), units (N, 17), pose (N, 3); half_width_90 (N, 17): half
    of each interval.

    au_pearson, au_mae and au_present (the share of faces where the unit is there) by name, au_pearson_mean,
    au_mae_present (mean absolute error where a unit is there), points_nme (mean distance of the points in inter-ocular
    distances), pose_mae (degrees), interval_coverage_90 (share of truths within the intervals) and by unit, where
    intervals are given, n.
    """
    true_units, true_points = truth.units.numpy(), truth.points.numpy()
    errors = np.abs(units - true_units)
    pearson = [
        float(np.corrcoef(a, b)[0, 1]) if a.std() and b.std() else 0.0
        for a, b in zip(units.T, true_units.T, strict=True)
    ]
    there = true_units >= PRESENT
    eyes = np.linalg.norm(true_points[:, OUTER_EYE_CORNERS[0]] - true_points[:, OUTER_EYE_CORNERS[1]], axis=1)

    def by_unit(values: np.ndarray | list[float]) -> dict[str, float]:
        return {name: round(float(value), 4) for name, value in zip(ACTION_UNITS, values, strict=True)}

    told: dict[str, object] = {
        "n": len(units),
        "au_pearson": by_unit(pearson),
        "au_pearson_mean": float(np.mean(pearson)),
        "au_mae": by_unit(errors.mean(0)),
        "au_mae_present": float(errors[there].mean()),
        "au_present": by_unit(there.mean(0)),
        "points_nme": float((np.linalg.norm(points - true_points, axis=2).mean(1) / eyes).mean()),
        "pose_mae": float(np.abs(pose - truth.pose.numpy()).mean()),
    }
    if half_width_90 is not None:
        held = errors <= half_width_90
        told |= {"interval_coverage_90": float(held.mean()), "interval_coverage_90_by_au": by_unit(held.mean(0))}
    return told


def interval_factors(found: Answers) -> np.ndarray:
    """(17,): by how much a unit's scale is multiplied so that +- holds INTERVAL of the truths of these faces (split
    conformal prediction; Lei et al. 2018).
    """
    errors = np.abs(found.units - found.truth.units.numpy()) / found.unit_scales
    rank = min(1.0, math.ceil((len(errors) + 1) * INTERVAL) / len(errors))
    return np.quantile(errors, rank, axis=0, method="higher").astype(np.float32)


def split(heads: Heads, share: float, seed: int) -> tuple[Heads, Heads]:
    """Heads to learn from, and heads of other figures."""
    figure_ids = np.unique(heads.figure_ids)
    kept = np.random.default_rng((seed, 2)).permutation(figure_ids)[: max(1, round(share * len(figure_ids)))]
    held = np.isin(heads.figure_ids, kept)
    if held.all():
        raise UserError("The rendered heads are all of one figure: render more.")
    return heads.of(np.flatnonzero(~held)), heads.of(np.flatnonzero(held))
