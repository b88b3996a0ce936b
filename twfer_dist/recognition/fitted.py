"""What tells how far a trained recogniser can be believed: fitted to held-out images, or taken from the training that a
refit repeats, which held some out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from twfer_dist.engine.artifact import Artifact
from twfer_dist.recognition import calibration
from twfer_dist.recognition.calibration import Novelty, Threshold
from twfer_dist.recognition.predictions import Predictions


@dataclass(frozen=True)
class Fitted:
    """training_limit: NOVELTY_PERCENTILE of the training images' own distances, below `novelty.limit`."""

    temperature: float
    threshold: Threshold
    novelty: Novelty
    training_limit: float

    def as_dict(self) -> dict[str, float]:
        """What the results say of novelty."""
        return {
            "limit": self.novelty.limit,
            "training_limit": self.training_limit,
            "percentile": calibration.NOVELTY_PERCENTILE,
        }


def fit_to(train: Predictions, held_out: Sequence[Predictions], accuracy_target: float) -> Fitted:
    """Fit to images that took no part in the training."""
    logits, labels = (np.concatenate([getattr(p, name) for p in held_out]) for name in ("logits", "labels"))
    temperature = calibration.temperature(logits, labels)
    confidence = calibration.probabilities(logits, temperature).max(1)
    threshold = calibration.threshold(confidence, logits.argmax(1) == labels, accuracy_target)
    features = np.concatenate([p.features for p in held_out])
    novelty = calibration.novelty(train.features, train.feature_labels, features)
    own = float(np.percentile(novelty.distances(train.features), calibration.NOVELTY_PERCENTILE))
    return Fitted(temperature, threshold, novelty, own)


def inherit(train: Predictions, before: Artifact) -> Fitted:
    """What a refit, which holds nothing out, takes from the training `before` it: temperature and threshold as they
    are, and the limit of novelty as far above the training images' own distances as it was there.
    """
    results = before.results
    own = calibration.novelty(train.features, train.feature_labels, train.features)
    limit = own.limit * results["novelty"]["limit"] / results["novelty"]["training_limit"]
    novelty = Novelty(own.means, own.whitening, limit)
    return Fitted(results["temperature"], Threshold(**results["threshold"]), novelty, own.limit)
