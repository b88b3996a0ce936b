"""What a recogniser's answers are worth: a temperature, the confidence below which a face is not readable, novelty, and
how it errs.

The first three are set on the validation images, which took no part in the gradient. Novelty tells a face that is
unlike all training images, about which a softmax may still be sure.
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
"""Images of a split, evenly taken, that novelty is learned from: more would change nothing."""

ENOUGH = 5.0
"""How many independent images of each expression a confusion must be worth before shares are corrected by it."""


def probabilities(logits: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(logits / temperature): (N, 7) -> (N, 7) in 0 to 1, for both losses."""
    return softmax(np.asarray(logits, np.float64) / temperature, axis=1)


def temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature (0.05 to 20) with the least mean of -log p_y (Guo et al., arXiv 1706.04599). logits (N, 7),
    labels (N,) 0 to 6.
    """
    logits = np.asarray(logits, np.float64)
    rows = np.arange(len(labels))

    def loss(log_t: float) -> float:
        return -float(log_softmax(logits / np.exp(log_t), axis=1)[rows, labels].mean())

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded").x))


@dataclass(frozen=True)
class Threshold:
    """The rule that was met on the validation images: of `n`, `accepted` have `confidence` or more, and `right` of
    these are right.

    confidence is None where no threshold reaches the target: then no face is readable.
    """

    target: float
    confidence: float | None
    n: int
    accepted: int
    right: int


def threshold(confidence: np.ndarray, right: np.ndarray, target: float) -> Threshold:
    """The lowest confidence at which the share of right answers among those at least so confident reaches `target`.

    confidence: (N,) calibrated probabilities of the answers. right: (N,) bool.
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
    """How far features lie from all training images: the least Mahalanobis distance to a class (Lee et al., arXiv
    1807.03888).

    means: float32 (K, D), one for each expression that has images. whitening: float32 (D, D), W W^T = inverse of the
    covariance that the classes share. limit: the NOVELTY_PERCENTILE of the validation images' distances; the training
    images' own are no measure, as the covariance is fitted to them.
    """

    means: np.ndarray
    whitening: np.ndarray
    limit: float

    def distances(self, features: np.ndarray) -> np.ndarray:
        """float32 (N,) of features (N, D)."""
        return _distances(features, self.means, self.whitening)


def novelty(features: np.ndarray, labels: np.ndarray, held_out: np.ndarray) -> Novelty:
    """Learn novelty from training images, features float32 (N, D) and labels (N,) 0 to 6, with Ledoit and Wolf's
    covariance, and its limit from validation images, features float32 (M, D).
    """
    classes, index = np.unique(labels, return_inverse=True)
    means = np.stack([features[labels == c].mean(0) for c in classes]).astype(np.float32)
    covariance = LedoitWolf(assume_centered=True).fit(features.astype(np.float64) - means[index]).covariance_
    floor = (
        1e-6 * np.trace(covariance) / len(covariance) + 1e-12
    )  # features that never vary must not count for infinity
    whitening = np.linalg.cholesky(np.linalg.inv(covariance + floor * np.eye(len(covariance)))).astype(np.float32)
    return Novelty(means, whitening, float(np.percentile(_distances(held_out, means, whitening), NOVELTY_PERCENTILE)))


def _distances(features: np.ndarray, means: np.ndarray, whitening: np.ndarray) -> np.ndarray:
    white, centres = features @ whitening, means @ whitening
    return np.sqrt(((white[:, None] - centres[None]) ** 2).sum(2).min(1)).astype(np.float32)


@dataclass(frozen=True)
class Confusion:
    """counts: [7, 7] images by true (row) and answered expression, from `figures` figures. design_effect: how many of
    them are worth one independent image.
    """

    counts: np.ndarray
    design_effect: float
    figures: int

    @property
    def worth(self) -> np.ndarray:
        """The counts as of independent images."""
        return self.counts / self.design_effect

    @property
    def enough(self) -> bool:
        return bool((self.worth.sum(1) >= ENOUGH).all())

    def pooled(self, other: "Confusion") -> "Confusion":
        """Both together, of other figures: their worth adds up."""
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
    truth: np.ndarray, answered: np.ndarray, figure: np.ndarray, number: np.ndarray | None = None
) -> Confusion:
    """The confusion of images: truth and answered (0 to 6), the figure (0, 1, ...) and how many such images, for each
    row.
    """
    figures = int(figure.max(initial=-1)) + 1
    counts = np.zeros((len(EXPRESSIONS), figures, len(EXPRESSIONS)), np.int64)
    np.add.at(counts, (truth, figure, answered), 1 if number is None else number)
    return Confusion(counts.sum(1), design_effect(counts), int((counts.sum((0, 2)) > 0).sum()))


def confusion_from(found: Mapping[str, Any]) -> Confusion:
    """The confusion that `as_dict` gave."""
    return Confusion(np.array(found["confusion"]), found["design_effect"], found["figures"])
