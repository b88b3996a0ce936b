"""Train a recogniser in plain PyTorch: in one process, or as one worker of a data-parallel group.

Every batch is divided among the workers in one order of images; norms, ARM's shared part and gradients are those of the
whole batch. So the workers together take the steps that one would take, up to rounding.
"""

import contextlib
import copy
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from twfer_dist.core.errors import UserError
from twfer_dist.dataset import loader
from twfer_dist.dataset.loader import Batch, Decoding
from twfer_dist.dataset.order import batch_edges
from twfer_dist.dataset.stream import ImageSource, KeptImages
from twfer_dist.recognition.mixing import mixed
from twfer_dist.recognition.predictions import named, predict, scores
from twfer_dist.recognition.recogniser import Network, build, start
from twfer_dist.recognition.train_config import CLASSES, TrainConfig
from twfer_dist.training.averaging import averaged_copy, update_average
from twfer_dist.training.distributed import rank_and_world_size, total
from twfer_dist.training.loop import check_converging, set_learning_rate
from twfer_dist.training.precision import agree_on_bfloat16
from twfer_dist.training.state import LogLine, TrainingState, build_seeded

CHECKED_EVERY = 10
"""Updates between two looks at whether the loss is finite, for which a GPU has to wait."""


@dataclass
class State(TrainingState):
    """A network in training. The log holds one line of metrics for each epoch."""

    network: Network
    optimizer: torch.optim.Adam
    average: Network | None = None  # of the weights so far, where the configuration asks for it
    best: dict[str, Tensor] = field(default_factory=dict)  # the state dict of the best epoch
    updates: int = 0  # of the current epoch
    # of the current epoch over all workers, float64 (50,): the sum of the losses, and the confusion matrix
    totals: Tensor = field(default_factory=lambda: torch.zeros(1 + CLASSES**2, dtype=torch.float64))

    @property
    def scored(self) -> Network:
        """The network that is scored and kept: the average where there is one."""
        return self.average or self.network


def best_epoch(history: Sequence[Mapping[str, float | str]]) -> int:
    """The epoch (from 1) with the best balanced accuracy on the validation images; among equals, the one with the
    lowest loss, then the earliest.
    """

    def rank(index: int) -> tuple[float, float, int]:
        metrics = history[index]
        return float(metrics["balanced_accuracy/validation"]), -float(metrics["loss/validation"]), -index

    return 1 + max(range(len(history)), key=rank)


def ended(history: Sequence[Mapping[str, float | str]], config: TrainConfig) -> bool:
    """Whether the last epoch is done, or `patience` epochs were no better than the best."""
    waited = len(history) - best_epoch(history) if history else 0
    return len(history) >= config.epochs or (config.patience is not None and waited >= config.patience)


def images_left(state: State, config: TrainConfig, images: int) -> int:
    """How many of an epoch's training images are still to come; a resumed training may begin in the middle of one."""
    return images - int(batch_edges(images, config.batch)[state.updates])


def new_state(config: TrainConfig, device: torch.device | str = "cpu") -> State:
    """A network with weights drawn from `config.seed`, or those it starts from, on `device`, and its optimizer."""
    network = build_seeded(config.seed, lambda: build(config.network, config.size))
    start(network)
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    adam = torch.optim.Adam(network.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    state = State(network, adam)
    start_average(state, config)
    return state


def start_average(state: State, config: TrainConfig) -> None:
    """Begin the average with the network as it is, where the configuration asks for one."""
    state.average = averaged_copy(state.network) if config.ema is not None else None


def fit(
    state: State,
    net: nn.Module,
    config: TrainConfig,
    source: ImageSource,
    report: Callable[[float], None] = lambda epochs: None,
    *,
    processes: int = 0,
) -> Iterator[LogLine]:
    """Train to the last epoch, and yield each epoch's line of the log once `state` holds it.

    net: `state.network`, or its wrapper for data-parallel training. processes: see `loader.batches`. report: is called
    after each update with the epochs done; `state` may then be saved. Raises Diverged if a loss is not finite, or far
    above that of an untrained network. Metrics, over all workers: learning_rate (of the last update); loss, accuracy
    (share of images) and balanced_accuracy, each of `train` (as augmented, while the weights change) and of
    `validation`.
    """
    if ended(state.log, config):
        return
    run = _Run(state, _compiled(net, config), config, source, report, processes)
    validation = KeptImages(source.in_order("validation", config.batch))
    while not ended(state.log, config):
        epoch = len(state.log) + 1
        rate = run.epoch(epoch)
        metrics = named("train", *_loss_and_confusion(state.totals))
        predictions = predict(state.scored, config, validation)
        metrics |= scores("validation", predictions, config)
        limit = config.untrained_loss(torch.from_numpy(predictions.labels))
        _check_epoch(epoch, metrics, config, limit, rate, epoch * run.updates)
        state.log.append({"epoch": epoch, "learning_rate": rate, **metrics})
        state.updates, state.totals = 0, torch.zeros_like(state.totals)
        best = best_epoch(state.log)
        if best == epoch:
            state.best = copy.deepcopy(state.scored.state_dict())
        if ended(state.log, config):
            loss = float(state.log[best - 1]["loss/validation"])
            check_converging(loss, limit, "its best epoch", "learning_rate", config.learning_rate, updates=1)
        yield state.log[-1]


def _check_epoch(
    epoch: int, metrics: Mapping[str, float], config: TrainConfig, limit: float, rate: float, updates: int
) -> None:
    context = f"epoch {epoch} of {config.epochs}", "learning_rate", rate
    check_converging(metrics["loss/train"], limit, *context, updates=updates)
    # A single epoch may do badly on new images and recover: only the best one is held to the limit.
    check_converging(metrics["loss/validation"], math.inf, *context, updates=updates)


def _compiled(net: nn.Module, config: TrainConfig) -> nn.Module:
    if not config.compile:
        return net
    if not any(map(shutil.which, ("g++", "clang++", "gcc"))):
        raise UserError("compile is true, and this machine has no C++ compiler: install g++, or set compile to false.")
    return torch.compile(net)  # type: ignore[return-value]


def _loss_and_confusion(totals: Tensor) -> tuple[float, np.ndarray]:
    confusion = totals[1:].reshape(CLASSES, CLASSES).cpu().numpy().round().astype(np.int64)
    return float(totals[0]) / confusion.sum(), confusion


class _Run:
    """The updates of a training, from where its state stands to wherever it ends."""

    def __init__(
        self,
        state: State,
        net: nn.Module,
        config: TrainConfig,
        source: ImageSource,
        report: Callable[[float], None],
        processes: int,
    ) -> None:
        if (images := source.count("train")) < 2:
            raise UserError(f"{source.dataset.uri} has {images} training image, and a training needs two or more.")
        self._state, self._net, self._config, self._report = state, net, config, report
        self._device = next(net.parameters()).device
        self._bfloat16 = agree_on_bfloat16(config.precision, self._device, state.precisions)
        self._edges = batch_edges(images, config.batch, config.accumulate)
        self.updates = len(batch_edges(images, config.batch)) - 1  # of an epoch
        self._pieces = (len(self._edges) - 1) // self.updates  # of a batch
        state.totals = state.totals.to(self._device)
        start = len(state.log) + 1, state.updates * self._pieces
        self._batches = loader.batches(
            source.epochs(self._edges, config.seed, start, config.epochs),
            Decoding(config.size, config.augment, config.seed),
            processes=processes,
            pinned=self._device.type == "cuda",
        )

    def epoch(self, epoch: int) -> float:
        """Make the updates that are left of an epoch; the learning rate of the last one."""
        state, config = self._state, self._config
        rate = config.rate(epoch, self.updates - 1, self.updates)  # a resumed epoch may have no update left
        self._net.train()
        while state.updates < self.updates:
            rate = config.rate(epoch, state.updates, self.updates)
            set_learning_rate([state.optimizer], rate)
            state.totals += self._update(epoch)
            state.updates += 1
            if state.updates % CHECKED_EVERY == 0 or self._device.type == "cpu":
                context = f"epoch {epoch} of {config.epochs}", "learning_rate", rate
                done = (epoch - 1) * self.updates + state.updates - 1
                check_converging(float(state.totals[0]), math.inf, *context, updates=done)
            self._report(epoch - 1 + state.updates / self.updates)
        return rate

    def _update(self, epoch: int) -> Tensor:
        """One update of the weights; the sum of its losses and its confusion matrix, over all workers."""
        state, config = self._state, self._config
        found = torch.zeros_like(state.totals)
        first = state.updates * self._pieces
        images = int(self._edges[first + self._pieces] - self._edges[first])
        state.optimizer.zero_grad()
        for piece in range(first, first + self._pieces):
            last = piece == first + self._pieces - 1
            shared = contextlib.nullcontext() if last else self._without_exchange()
            with shared:
                found += self._piece(next(self._batches), images, (config.seed, epoch, piece))
        state.optimizer.step()
        if state.average is not None and config.ema is not None:
            updates = (epoch - 1) * self.updates + state.updates
            update_average(state.average, state.network, config.ema, updates)
        return total(found)

    def _piece(self, batch: Batch, images: int, seed: tuple[int, ...]) -> Tensor:
        """Add the gradient of this worker's images of a part of a batch of `images`; their losses and confusion."""
        config, labels = self._config, batch.labels.to(self._device, non_blocking=True)
        pixels, target = loader.normalise(batch.pixels, self._device), labels
        if config.mix != "none":
            pixels, target = mixed(pixels, labels, batch.lanes, config.mix, config.mix_alpha, seed)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16):
            logits = self._net(pixels)
        logits = logits.float()
        loss = config.losses_of(logits, target).sum()
        (loss * rank_and_world_size()[1] / images).backward()  # the workers' gradients are averaged
        counted = torch.bincount(labels * CLASSES + logits.argmax(1), minlength=CLASSES**2)
        return torch.cat([loss.detach()[None], counted]).double()

    def _without_exchange(self) -> contextlib.AbstractContextManager:
        no_sync = getattr(self._net, "no_sync", None)
        return no_sync() if no_sync else contextlib.nullcontext()
