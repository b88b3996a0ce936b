"""How far a recogniser's predictions can be believed: temperature, confidence threshold, novelty and confusion.

The first three are fitted on held-out images, which took no part in the training: the validation images, and with folds
the test images too. Novelty detects a face that is unlike all training images, about which a softmax may still be
confident.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.covariance import LedoitWolf

from twfer_dist.core.intervals import design_effect
from twfer_dist.core.taxonomy import EXPRESSIONS

NOVELTY_PERCENTILE = 99.0
NOVELTY_IMAGES = 5000
"""Images of a split, evenly spaced, that novelty is fitted to: more would change nothing."""

ENOUGH = 5.0
"""The least effective number of images of each expression in a confusion that shares are corrected by."""


def probabilities(logits: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(logits / temperature): (N, 7) -> (N, 7) in 0 to 1, for both losses."""
    return softmax(np.asarray(logits, np.float64) / temperature, axis=1)


def temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature (0.05 to 20) that minimises the mean of -log p_y (Guo et al., arXiv 1706.04599).

    logits (N, 7), labels (N,) 0 to 6.
    """
    logits = np.asarray(logits, np.float64)
    rows = np.arange(len(labels))

    def loss(log_t: float) -> float:
        return -float(log_softmax(logits / np.exp(log_t), axis=1)[rows, labels].mean())

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded").x))


@dataclass(frozen=True)
class Threshold:
    """A confidence threshold as met on the held-out images: `accepted` of `n` reach it, and `right` of these are
    correct.

    confidence: None where no threshold reaches the target accuracy; then no prediction is accepted.
    """

    target: float
    confidence: float | None
    n: int
    accepted: int
    right: int


def threshold(confidence: np.ndarray, right: np.ndarray, target: float) -> Threshold:
    """The lowest confidence above which the accuracy of the predictions reaches `target`.

    confidence: (N,) calibrated probabilities of the predictions. right: (N,) bool.
    """
    order = np.argsort(-confidence, kind="stable")
    values, hits = confidence[order], np.cumsum(right[order])
    counts = np.arange(1, len(values) + 1)
    last_of_equals = np.append(values[1:] != values[:-1], True)
    met = np.flatnonzero(last_of_equals & (hits >= target * counts))
    if not len(met):
        return Threshold(target, None, len(values), 0, 0)
    return Threshold(target, float(values[met[-1]]), len(values), int(counts[met[-1]]), int(hits[met[-1]]))


@dataclass(frozen=True)
class Novelty:
    """The distance of features from the training images: the least Mahalanobis distance to a class (Lee et al., arXiv
    1807.03888).

    means: float32 (K, D), one for each expression with images. whitening: float32 (D, D), W W^T = inverse of the
    covariance that the classes share. limit: the NOVELTY_PERCENTILE of the held-out images' distances; those of the
    training images are too small, because the covariance is fitted to them.
    """

    means: np.ndarray
    whitening: np.ndarray
    limit: float

    def distances(self, features: np.ndarray) -> np.ndarray:
        """float32 (N,) of features (N, D)."""
        return _distances(features, self.means, self.whitening)


def novelty(features: np.ndarray, labels: np.ndarray, held_out: np.ndarray) -> Novelty:
    """Fit novelty to training images, with Ledoit and Wolf's covariance, and its limit to held-out images.

    features float32 (N, D) and labels (N,) 0 to 6 of training images; held_out: features float32 (M, D).
    """
    classes, index = np.unique(labels, return_inverse=True)
    means = np.stack([features[labels == c].mean(0) for c in classes]).astype(np.float32)
    covariance = LedoitWolf(assume_centered=True).fit(features.astype(np.float64) - means[index]).covariance_
    # Features that never vary must not count infinitely.
    floor = 1e-6 * np.trace(covariance) / len(covariance) + 1e-12
    whitening = np.linalg.cholesky(np.linalg.inv(covariance + floor * np.eye(len(covariance)))).astype(np.float32)
    return Novelty(means, whitening, float(np.percentile(_distances(held_out, means, whitening), NOVELTY_PERCENTILE)))


def _distances(features: np.ndarray, means: np.ndarray, whitening: np.ndarray) -> np.ndarray:
    # One by one: in a matrix product, the order of summation depends on the row's place.
    white, centres = (np.stack([row @ whitening for row in rows]) for rows in (features, means))
    return np.sqrt(((white[:, None] - centres[None]) ** 2).sum(2).min(1)).astype(np.float32)


@dataclass(frozen=True)
class Confusion:
    """Counts [7, 7] of images by true (row) and predicted expression, from `figures` figures.

    design_effect: how many of these images carry the information of one independent image.
    """

    counts: np.ndarray
    design_effect: float
    figures: int

    @property
    def worth(self) -> np.ndarray:
        """The effective counts: of independent images."""
        return self.counts / self.design_effect

    @property
    def enough(self) -> bool:
        return bool((self.worth.sum(1) >= ENOUGH).all())

    def pooled(self, other: "Confusion") -> "Confusion":
        """Both together, of different figures: their effective counts add up."""
        counts = self.counts + other.counts
        return Confusion(
            counts, float(counts.sum() / (self.worth.sum() + other.worth.sum())), self.figures + other.figures
        )

    def as_dict(self) -> dict[str, Any]:
        return {
            "images": int(self.counts.sum()),
            "figures": self.figures,
            "design_effect": round(self.design_effect, 4),
            "confusion": self.counts.astype(int).tolist(),
        }


def confusion(
    truth: np.ndarray, predicted: np.ndarray, figure: np.ndarray, number: np.ndarray | None = None
) -> Confusion:
    """The confusion of images: for each row truth and prediction (0 to 6), the figure (0, 1, ...), and how many such
    images there are (1 by default).
    """
    figures = int(figure.max(initial=-1)) + 1
    counts = np.zeros((len(EXPRESSIONS), figures, len(EXPRESSIONS)), np.int64)
    np.add.at(counts, (truth, figure, predicted), 1 if number is None else number)
    return Confusion(counts.sum(1), design_effect(counts), int((counts.sum((0, 2)) > 0).sum()))


def confusion_from(saved: Mapping[str, Any]) -> Confusion:
    """The confusion that `as_dict` saved."""
    return Confusion(np.array(saved["confusion"]), saved["design_effect"], saved["figures"])
