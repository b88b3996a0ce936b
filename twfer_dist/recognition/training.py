"""Train and evaluate a recogniser in plain PyTorch: in one process, or as one worker of a data-parallel group."""

import copy
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from twfer_dist.core.errors import UserError
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.dataset import loader
from twfer_dist.dataset.loader import Images
from twfer_dist.engine.config import Range, Settings
from twfer_dist.recognition.arm import ARM, SMALLEST
from twfer_dist.recognition.focal import sigmoid_focal, softmax_focal
from twfer_dist.recognition.recogniser import Architecture, build
from twfer_dist.recognition.resnet import CHANNELS, ResNet18
from twfer_dist.training.distributed import gather, rank_and_world_size
from twfer_dist.training.loop import check_converging, check_divisible, set_learning_rate
from twfer_dist.training.precision import Precision, agree_on_bfloat16
from twfer_dist.training.state import LogLine, TrainingState, build_seeded

CLASSES = len(EXPRESSIONS)


@dataclass(frozen=True)
class TrainConfig(Settings):
    """What is trained, and how. The defaults are the paper's, with the decay of the public ARM code."""

    network: Architecture = "arm"
    size: Annotated[int, Range(32, 1024)] = 224  # pixels; ARM needs 96 or more
    # the focal loss over the softmax, or over one sigmoid for each expression
    loss: Literal["softmax", "sigmoid"] = "sigmoid"
    gamma: Annotated[float, Range(0, 20)] = 2.0
    # of the sigmoid loss: the weight of the true expression against the others
    alpha: Annotated[float, Range(0, 1)] = 0.25
    # of the softmax loss: only their ratios matter
    class_alphas: tuple[Annotated[float, Range(0, 1000)], ...] = (1.0,) * CLASSES
    epochs: Annotated[int, Range(1, 100_000)] = 40
    batch: Annotated[int, Range(2, 4096)] = 32  # over all workers
    learning_rate: Annotated[float, Range(0, 1, above=True)] = 1e-4  # of Adam
    decay: Annotated[float, Range(0, 1, above=True)] = 0.9  # of the learning rate, after each epoch
    augment: bool = True
    precision: Precision = "float32"  # of the products during training; auto: bfloat16 if the hardware supports it
    # among the held-out images whose confidence reaches the threshold
    accuracy_target: Annotated[float, Range(0, 1)] = 0.8
    seed: Annotated[int, Range(0, 2**32 - 1)] = 0

    def agree(self) -> None:
        if len(self.class_alphas) != CLASSES:
            raise ValueError(
                f"class_alphas has {len(self.class_alphas)} numbers and there are {CLASSES} expressions; use one "
                "for each"
            )
        if not any(self.class_alphas):
            raise ValueError("class_alphas are all 0, so that no image has a loss; use some weights above 0")
        if self.network == "arm" and self.size < SMALLEST:
            raise ValueError(f"size is {self.size}, and ARM needs {SMALLEST} or more; use that, or network: resnet18")

    def loss_of(self, logits: Tensor, target: Tensor) -> Tensor:
        """The configured loss of logits (B, 7) and labels (B,), a scalar: the mean over the batch."""
        if self.loss == "softmax":
            return softmax_focal(logits, target, gamma=self.gamma, alpha=self.class_alphas)
        return sigmoid_focal(logits, target, gamma=self.gamma, alpha=self.alpha)

    def untrained_loss(self, target: Tensor) -> float:
        """An untrained network's loss on labels (B,): every expression is equally likely, and gamma is left out."""
        logits = torch.zeros(len(target), CLASSES, device=target.device)
        return float(dataclasses.replace(self, gamma=0.0).loss_of(logits, target))


@dataclass
class State(TrainingState):
    """A network in training. The log holds one line of metrics for each epoch."""

    network: ResNet18 | ARM
    optimizer: torch.optim.Adam
    best: dict[str, Tensor] = field(default_factory=dict)  # the state dict of the best epoch


def best_epoch(history: Sequence[Mapping[str, float | str]]) -> int:
    """The epoch (from 1) with the best balanced accuracy on the validation images; among equals, the one with the
    lowest loss, then the earliest.
    """

    def rank(index: int) -> tuple[float, float, int]:
        metrics = history[index]
        return float(metrics["balanced_accuracy/validation"]), -float(metrics["loss/validation"]), -index

    return 1 + max(range(len(history)), key=rank)


def new_state(config: TrainConfig, device: torch.device | str = "cpu") -> State:
    """A network with weights drawn from `config.seed`, on `device`, and its optimizer."""
    network = build_seeded(config.seed, lambda: build(config.network, config.size))
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return State(network, torch.optim.Adam(network.parameters(), config.learning_rate))


def fit(
    state: State,
    net: nn.Module,
    config: TrainConfig,
    train: Images,
    validation: Images,
    report: Callable[[float], None] = lambda epochs: None,
) -> Iterator[LogLine]:
    """Train to the last epoch, and yield each epoch's line of the log once `state` holds it.

    net: `state.network`, or its wrapper for data-parallel training. train, validation: this worker's share. report: is
    called after each batch with the epochs done. Raises Diverged if a loss is not finite, or far above that of an
    untrained network. Metrics, over all workers: learning_rate; loss, accuracy (share of images) and
    balanced_accuracy, each of `train` (as augmented, while the weights change) and of `validation`.
    """
    batch, largest_share = _split_among_workers(config, len(train.ids))
    bfloat16 = agree_on_bfloat16(config.precision, next(net.parameters()).device, state.precisions)
    for epoch in range(len(state.log) + 1, config.epochs + 1):
        order = loader.shuffled(train, largest_share, batch, seed=config.seed, epoch=epoch)
        rate = config.learning_rate * config.decay ** (epoch - 1)
        metrics = _train_epoch(state, net, config, train, order, epoch, rate, bfloat16, report)
        predictions = predict(state.network, config, validation)
        metrics |= scores("validation", predictions, config)
        limit = config.untrained_loss(torch.from_numpy(predictions.labels))
        context = f"epoch {epoch} of {config.epochs}", "learning_rate", rate
        updates = epoch * len(order)
        check_converging(metrics["loss/train"], limit, *context, updates=updates)
        # A single epoch may do badly on new images and recover: only the best one is held to the limit.
        check_converging(metrics["loss/validation"], math.inf, *context, updates=updates)
        state.log.append({"epoch": epoch, "learning_rate": rate, **metrics})
        best = best_epoch(state.log)
        if best == epoch:
            state.best = copy.deepcopy(state.network.state_dict())
        if epoch == config.epochs:
            loss = float(state.log[best - 1]["loss/validation"])
            check_converging(loss, limit, "its best epoch", "learning_rate", config.learning_rate, updates=1)
        yield state.log[-1]


def _split_among_workers(config: TrainConfig, images: int) -> tuple[int, int]:
    """A worker's share of a batch, and the largest worker's number of images. Raises UserError if there are too few."""
    world = rank_and_world_size()[1]
    check_divisible(config.batch, world)
    shares = gather(images)
    if max(shares) < 2:
        raise UserError(
            f"{world} workers have {sum(shares)} training images, and each needs at least two: use fewer workers."
        )
    return config.batch // world, max(shares)


def _train_epoch(
    state: State,
    net: nn.Module,
    config: TrainConfig,
    train: Images,
    order: Sequence[np.ndarray],
    epoch: int,
    rate: float,
    bfloat16: bool,
    report: Callable[[float], None],
) -> dict[str, float]:
    """One pass over the training images in batches of `order`; its metrics over all workers."""
    device = next(net.parameters()).device
    total, confusion = torch.zeros((), device=device), np.zeros((CLASSES, CLASSES), np.int64)
    set_learning_rate([state.optimizer], rate)
    net.train()
    batches = loader.batches(train, order, config.size, (config.seed, epoch) if config.augment else None)
    for number, (pixels, labels) in enumerate(batches, start=1):
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            logits = net(loader.normalise(pixels, device))
        logits = logits.float()
        loss = config.loss_of(logits, torch.from_numpy(labels).to(device))
        context = f"epoch {epoch} of {config.epochs}", "learning_rate", rate
        updates = (epoch - 1) * len(order) + number - 1
        check_converging(float(loss.detach()), math.inf, *context, updates=updates)
        state.optimizer.zero_grad()
        loss.backward()
        state.optimizer.step()
        total += loss.detach() * len(labels)
        np.add.at(confusion, (labels, logits.argmax(1).cpu().numpy()), 1)
        report(epoch - 1 + number / len(order))
    workers = gather((float(total), confusion))
    confusion = sum((matrix for _, matrix in workers), np.zeros_like(confusion))
    return named("train", sum(value for value, _ in workers) / confusion.sum(), confusion)


@dataclass(frozen=True)
class Predictions:
    """A network's predictions for images, over all workers: logits float32 (N, 7), labels int64 (N,); and for some of
    the images the pooled features, float32 (M, 512), with their labels (M,).
    """

    logits: np.ndarray
    labels: np.ndarray
    features: np.ndarray
    feature_labels: np.ndarray


@torch.no_grad()
def predict(network: ResNet18 | ARM, config: TrainConfig, images: Images, *, features_of: int = 1) -> Predictions:
    """Predictions for all workers' images, without augmentation. features_of: about how many images' features are kept,
    evenly spaced.
    """
    network.eval()
    for buffer in network.buffers():  # each worker has its own running statistics: those of rank 0 are used
        if dist.is_initialized():
            dist.broadcast(buffer, 0)
    device = next(network.parameters()).device
    logits, features = [np.zeros((0, CLASSES), np.float32)], [np.zeros((0, CHANNELS), np.float32)]
    for pixels, _ in loader.batches(images, loader.in_order(images, config.batch), config.size):
        maps = network.features(loader.normalise(pixels, device))
        logits.append(network.head(maps).float().cpu().numpy())
        features.append(maps.mean((2, 3)).float().cpu().numpy())
    stride = max(1, sum(gather(len(images.ids))) // features_of)
    own = (np.concatenate(logits), images.labels, np.concatenate(features)[::stride], images.labels[::stride])
    return Predictions(*(np.concatenate(parts) for parts in zip(*gather(own), strict=True)))


def confusion_of(predictions: Predictions) -> np.ndarray:
    """int64 (7, 7): images by true (row) and predicted (column) expression."""
    confusion = np.zeros((CLASSES, CLASSES), np.int64)
    np.add.at(confusion, (predictions.labels, predictions.logits.argmax(1)), 1)
    return confusion


def scores(split: str, predictions: Predictions, config: TrainConfig) -> dict[str, float]:
    """The metrics of the predictions for a split, see `named`."""
    loss = float(config.loss_of(torch.from_numpy(predictions.logits), torch.from_numpy(predictions.labels)))
    return named(split, loss, confusion_of(predictions))


def named(split: str, loss: float, confusion: np.ndarray) -> dict[str, float]:
    """loss/<split>, accuracy/<split> (share of images predicted correctly) and balanced_accuracy/<split> (mean of that
    share over the expressions in the split).
    """
    total, correct = confusion.sum(1), np.diag(confusion)
    present = total > 0
    return {
        f"loss/{split}": float(loss),
        f"accuracy/{split}": float(correct.sum() / total.sum()),
        f"balanced_accuracy/{split}": float((correct[present] / total[present]).mean()),
    }
