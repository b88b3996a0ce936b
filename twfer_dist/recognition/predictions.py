"""A network's predictions for the images of a part, over all workers, and their scores."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from twfer_dist.dataset import loader
from twfer_dist.dataset.loader import Decoding
from twfer_dist.dataset.stream import Encoded
from twfer_dist.recognition.recogniser import Network
from twfer_dist.recognition.train_config import CLASSES, TrainConfig
from twfer_dist.training.distributed import gather


@dataclass(frozen=True)
class Predictions:
    """A network's predictions for images, over all workers, in the order of their ids: logits float32 (N, 7), labels
    int64 (N,); and for some of the images the trunk's features, averaged over places, float32 (M, channels), with their
    labels (M,).
    """

    logits: np.ndarray
    labels: np.ndarray
    features: np.ndarray
    feature_labels: np.ndarray


@torch.no_grad()
def predict(
    network: Network, config: TrainConfig, images: Iterable[Encoded], *, first: int = 0, stride: int = 1 << 62
) -> Predictions:
    """Predictions for all workers' images, without augmentation.

    images: this worker's, of which the first is number `first` of all. The features of every `stride`-th are kept.
    """
    network.eval()
    device = next(network.parameters()).device
    logits, labels = [np.zeros((0, CLASSES), np.float32)], [np.zeros(0, np.int64)]
    features, feature_labels = [np.zeros((0, network.channels), np.float32)], [np.zeros(0, np.int64)]
    for batch in loader.batches(iter(images), Decoding(config.size), pinned=device.type == "cuda"):
        maps = network.features(loader.normalise(batch.pixels, device))
        logits.append(network.head(maps).float().cpu().numpy())
        labels.append(batch.labels.numpy())
        kept = np.arange(first, first + len(batch.labels)) % stride == 0
        features.append(maps.mean((2, 3)).float().cpu().numpy()[kept])
        feature_labels.append(labels[-1][kept])
        first += len(batch.labels)
    own = tuple(np.concatenate(parts) for parts in (logits, labels, features, feature_labels))
    return Predictions(*(np.concatenate(parts) for parts in zip(*gather(own), strict=True)))


def confusion_of(predictions: Predictions) -> np.ndarray:
    """int64 (7, 7): images by true (row) and predicted (column) expression."""
    confusion = np.zeros((CLASSES, CLASSES), np.int64)
    np.add.at(confusion, (predictions.labels, predictions.logits.argmax(1)), 1)
    return confusion


def scores(split: str, predictions: Predictions, config: TrainConfig) -> dict[str, float]:
    """The metrics of the predictions for a split, see `named`."""
    losses = config.losses_of(torch.from_numpy(predictions.logits), torch.from_numpy(predictions.labels))
    return named(split, float(losses.mean()), confusion_of(predictions))


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
