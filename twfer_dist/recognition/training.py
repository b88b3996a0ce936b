"""Training and evaluation of a recogniser in plain PyTorch: one process, or a share of a data-parallel group."""

import copy
import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

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
from twfer_dist.training.checkpoint import pack, unpack
from twfer_dist.training.loop import agree_on_bfloat16, check_converging, check_divisible
from twfer_dist.training.precision import Precision

CLASSES = len(EXPRESSIONS)


@dataclass(frozen=True)
class TrainConfig(Settings):
    """What is trained and how. The defaults are the paper's, with the decay of the public ARM code."""

    network: Architecture = "arm"
    size: Annotated[int, Range(32, 1024)] = 224  # pixels; ARM takes 96 or more
    # the focal loss over the softmax, or one expression against the rest
    loss: Literal["softmax", "sigmoid"] = "sigmoid"
    gamma: Annotated[float, Range(0, 20)] = 2.0
    # of the sigmoid loss: the weight of the true expression against the others
    alpha: Annotated[float, Range(0, 1)] = 0.25
    class_alphas: tuple[Annotated[float, Range(0, 1000)], ...] = (
        1.0,
    ) * CLASSES  # of the softmax loss: only their ratios matter
    epochs: Annotated[int, Range(1, 100_000)] = 40
    batch: Annotated[int, Range(2, 4096)] = 32  # over all workers
    learning_rate: Annotated[float, Range(0, 1, above=True)] = 1e-4  # of Adam
    decay: Annotated[float, Range(0, 1, above=True)] = 0.9  # of the learning rate, after each epoch
    augment: bool = True
    precision: Precision = "float32"  # of the products while learning; auto: bfloat16 where the hardware has it
    # of the answers that are called readable, on the validation images
    accuracy_target: Annotated[float, Range(0, 1)] = 0.8
    seed: Annotated[int, Range(0, 2**32 - 1)] = 0

    def agree(self) -> None:
        if len(self.class_alphas) != CLASSES:
            raise ValueError(
                f"class_alphas has {len(self.class_alphas)} numbers and there are {CLASSES} expressions; use one "
                "for each"
            )
        if not any(self.class_alphas):
            raise ValueError(
                "class_alphas are all 0, and nothing is learned; use weights of which some are more than 0"
            )
        if self.network == "arm" and self.size < SMALLEST:
            raise ValueError(f"size is {self.size}, and ARM needs {SMALLEST} or more; use that, or network: resnet18")

    def loss_of(self, logits: Tensor, target: Tensor) -> Tensor:
        """The configured loss of logits (B, 7) and labels (B,), a scalar: the mean over the batch."""
        if self.loss == "softmax":
            return softmax_focal(logits, target, gamma=self.gamma, alpha=self.class_alphas)
        return sigmoid_focal(logits, target, gamma=self.gamma, alpha=self.alpha)

    def loss_of_no_answer(self, target: Tensor) -> float:
        """The loss where every expression is as likely, gamma apart: what a network has that has learned nothing."""
        return float(
            dataclasses.replace(self, gamma=0.0).loss_of(
                torch.zeros(len(target), CLASSES, device=target.device), target
            )
        )


@dataclass
class State:
    """All that a training goes on from: the network, Adam, the epochs done and the best of them."""

    network: ResNet18 | ARM
    optimizer: torch.optim.Adam
    history: list[dict[str, float]] = field(default_factory=list)  # the metrics of each epoch
    best: dict[str, Tensor] = field(default_factory=dict)  # the state dict of the best epoch
    run_id: str = ""  # the MLflow run that knows the history
    precisions: list[str] = field(
        default_factory=list
    )  # in which the products were computed; several where the hardware changed

    def to_bytes(self) -> bytes:
        state = {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict(), "best": self.best}
        return pack({**state, "history": self.history, "run_id": self.run_id, "precisions": self.precisions})

    def load(self, saved: bytes) -> None:
        """Go on from what `to_bytes` gave. All else that is random is seeded from epochs and ids, so this is exact."""
        found = unpack(saved)
        self.network.load_state_dict(found["network"])
        self.optimizer.load_state_dict(found["optimizer"])
        self.history, self.best = found["history"], found["best"]
        self.run_id, self.precisions = found["run_id"], found["precisions"]


def best_epoch(history: list[dict[str, float]]) -> int:
    """The epoch (from 1) with the best accuracy on the validation images; of equals the one with the lowest loss."""
    return 1 + max(
        range(len(history)), key=lambda k: (history[k]["accuracy/validation"], -history[k]["loss/validation"], -k)
    )


def new_state(config: TrainConfig, device: torch.device | str = "cpu") -> State:
    """A network with weights drawn from `config.seed`, on `device`, and its Adam."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = build(config.network, config.size)
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return State(network, torch.optim.Adam(network.parameters(), config.learning_rate))


def fit(
    state: State,
    net: nn.Module,
    config: TrainConfig,
    train: Images,
    validation: Images,
    tell: Callable[[float], None] = lambda epochs: None,
) -> Iterator[dict[str, float]]:
    """Train to the last epoch, and yield each epoch's metrics when `state` holds them.

    net: `state.network`, or what wraps it for data-parallel training. train, validation: this worker's share. tell: is
    called after each batch with the epochs done. Diverged where a loss is not finite, or far beyond that of a network
    that has learned nothing. Metrics, over all workers: learning_rate; loss, accuracy (share of images) and
    balanced_accuracy, each of `train` (as augmented, while the network learns) and of `validation`.
    """
    world = dist.get_world_size() if dist.is_initialized() else 1
    check_divisible(config.batch, world)
    count = max(gather(len(train.ids)))
    if count < 2:
        raise UserError(
            f"{world} workers have {sum(gather(len(train.ids)))} training images: two for each are needed, take "
            "fewer workers."
        )
    device = next(net.parameters()).device
    half = agree_on_bfloat16(config.precision, device, state.precisions)
    for epoch in range(len(state.history) + 1, config.epochs + 1):
        rate = config.learning_rate * config.decay ** (epoch - 1)
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        order = loader.shuffled(train, count, config.batch // world, seed=config.seed, epoch=epoch)
        loss, confusion = torch.zeros((), device=device), np.zeros((CLASSES, CLASSES), np.int64)
        net.train()
        where = f"epoch {epoch} of {config.epochs}"
        batches = loader.batches(train, order, config.size, (config.seed, epoch) if config.augment else None)
        for number, (pixels, labels) in enumerate(batches, start=1):
            target = torch.from_numpy(labels).to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                logits = net(loader.normalise(pixels, device))
            logits = logits.float()
            value = config.loss_of(logits, target)
            updates = (epoch - 1) * len(order) + number - 1
            check_converging(float(value.detach()), math.inf, where, "learning_rate", rate, updates=updates)
            state.optimizer.zero_grad()
            value.backward()
            state.optimizer.step()
            loss += value.detach() * len(labels)
            np.add.at(confusion, (labels, logits.argmax(1).cpu().numpy()), 1)
            tell(epoch - 1 + number / len(order))
        learned = gather((float(loss), confusion))
        confusion = sum((c for _, c in learned), np.zeros_like(confusion))
        metrics = {"learning_rate": rate, **named("train", sum(v for v, _ in learned) / confusion.sum(), confusion)}
        found = answers(state.network, config, validation)
        metrics |= scores("validation", found, config)
        limit = config.loss_of_no_answer(torch.from_numpy(found.labels))
        for split, most in (
            ("train", limit),
            ("validation", math.inf),
        ):  # a single epoch may answer new images badly and recover
            check_converging(metrics[f"loss/{split}"], most, where, "learning_rate", rate, updates=epoch * len(order))
        state.history.append(metrics)
        if best_epoch(state.history) == epoch:
            state.best = copy.deepcopy(state.network.state_dict())
        if epoch == config.epochs:
            best = state.history[best_epoch(state.history) - 1]
            check_converging(
                best["loss/validation"], limit, "its best epoch", "learning_rate", config.learning_rate, updates=1
            )
        yield metrics


@dataclass(frozen=True)
class Answers:
    """What a network says of images, over all workers: logits float32 (N, 7), labels int64 (N,); of some of the images
    also the pooled features, float32 (M, 512), with their labels (M,).
    """

    logits: np.ndarray
    labels: np.ndarray
    features: np.ndarray
    feature_labels: np.ndarray


@torch.no_grad()
def answers(network: ResNet18 | ARM, config: TrainConfig, images: Images, *, features_of: int = 1) -> Answers:
    """Answers to all workers' images as they are, without augmentation. features_of: about how many images' features
    are kept, evenly taken.
    """
    network.eval()
    for buffer in network.buffers():  # each worker has running statistics of its own: those of the first count
        if dist.is_initialized():
            dist.broadcast(buffer, 0)
    device = next(network.parameters()).device
    logits, features = [np.zeros((0, CLASSES), np.float32)], [np.zeros((0, CHANNELS), np.float32)]
    for pixels, _ in loader.batches(images, loader.in_order(images, config.batch), config.size):
        found = network.features(loader.normalise(pixels, device))
        logits.append(network.head(found).float().cpu().numpy())
        features.append(found.mean((2, 3)).float().cpu().numpy())
    step = max(1, sum(gather(len(images.ids))) // features_of)
    mine = (np.concatenate(logits), images.labels, np.concatenate(features)[::step], images.labels[::step])
    return Answers(*(np.concatenate(parts) for parts in zip(*gather(mine), strict=True)))


def gather(mine: Any) -> list[Any]:
    """What each worker of the group holds, in the order of their ranks, on every worker; `[mine]` without a group."""
    if not dist.is_initialized():
        return [mine]
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, mine)
    return found


def confusion_of(found: Answers) -> np.ndarray:
    """int64 (7, 7): images by true (row) and answered (column) expression."""
    confusion = np.zeros((CLASSES, CLASSES), np.int64)
    np.add.at(confusion, (found.labels, found.logits.argmax(1)), 1)
    return confusion


def scores(split: str, found: Answers, config: TrainConfig) -> dict[str, float]:
    """The metrics of answers to a split, under their names everywhere."""
    loss = float(config.loss_of(torch.from_numpy(found.logits), torch.from_numpy(found.labels)))
    return named(split, loss, confusion_of(found))


def named(split: str, loss: float, confusion: np.ndarray) -> dict[str, float]:
    """loss/<split>, accuracy/<split> (the share of images answered right) and balanced_accuracy/<split> (the mean of
    the shares of the expressions that the split has).
    """
    total, right = confusion.sum(1), np.diag(confusion)
    present = total > 0
    return {
        f"loss/{split}": float(loss),
        f"accuracy/{split}": float(right.sum() / total.sum()),
        f"balanced_accuracy/{split}": float((right[present] / total[present]).mean()),
    }
