"""Calibration: temperature, threshold, novelty."""

import numpy as np
import pytest

from twfer_dist.recognition import calibration


def test_the_temperature_is_found() -> None:
    random = np.random.default_rng(0)
    logits = 2 * random.normal(size=(20000, 7))
    p = calibration.probabilities(logits, 1)
    labels = (p.cumsum(1) > random.random((20000, 1))).argmax(1)
    assert calibration.temperature(3 * logits, labels) == pytest.approx(3, rel=0.05)


def test_the_threshold_follows_its_rule() -> None:
    confidence = np.array([0.95, 0.9, 0.8, 0.7, 0.6, 0.6, 0.3])
    right = np.array([True, True, False, True, True, False, False])
    threshold = calibration.threshold(confidence, right, 0.75)  # down to 0.7: 3 of 4; down to 0.6: 4 of 6
    assert (threshold.confidence, threshold.accepted, threshold.right, threshold.n) == (0.7, 4, 3, 7)
    assert calibration.threshold(confidence, right, 0.5).confidence == 0.3
    assert calibration.threshold(confidence, np.zeros(7, bool), 0.5).confidence is None


def test_novelty_separates_strangers_from_relatives() -> None:
    random = np.random.default_rng(0)
    labels = np.arange(700) % 7
    mix = random.normal(size=(300, 300))

    def relatives() -> np.ndarray:
        return ((random.normal(size=(700, 300)) + 4 * np.eye(7, 300)[labels]) @ mix).astype(np.float32)

    novelty = calibration.novelty(relatives(), labels, relatives())
    # 700 relatives hardly span the 300 dimensions, so those it was fitted to seem nearer than new ones.
    assert (novelty.distances(relatives()) > novelty.limit).mean() == pytest.approx(0.01, abs=0.01)
    strangers = ((random.normal(size=(100, 300)) + 12 * np.eye(300)[9]) @ mix).astype(np.float32)
    assert (novelty.distances(strangers) > novelty.limit).mean() > 0.9
