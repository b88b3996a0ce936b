"""The seven expressions as Action Units at full strength."""

import numpy as np

from twfer_dist.core.taxonomy import ACTION_UNITS

PROTOTYPES: dict[str, dict[str, float]] = {
    "surprise": {"AU01": 4.2, "AU02": 4.5, "AU05": 4.0, "AU25": 3.5, "AU26": 4.2},
    "fear": {"AU01": 4.2, "AU02": 2.2, "AU04": 3.4, "AU05": 4.2, "AU07": 1.2, "AU20": 4.2, "AU25": 3.2, "AU26": 1.6},
    "disgust": {"AU04": 1.8, "AU06": 1.2, "AU07": 1.5, "AU09": 4.5, "AU10": 3.8, "AU15": 2.0, "AU17": 1.4, "AU25": 1.2},
    "happiness": {"AU06": 4.0, "AU07": 0.8, "AU12": 4.6, "AU25": 2.8},
    "sadness": {"AU01": 4.5, "AU04": 2.4, "AU07": 0.8, "AU15": 4.2, "AU17": 2.8},
    "anger": {"AU04": 4.8, "AU05": 2.4, "AU07": 3.6, "AU09": 0.8, "AU17": 1.4, "AU23": 4.2},
    "neutral": {},
}
"""Intensities, 0 to 5, after EMFACS (Ekman, Friesen and Hager 2002)."""


def prototype(expression: str) -> np.ndarray:
    """The expression's 17 intensities: float32, 0 to 5."""
    units = np.zeros(len(ACTION_UNITS), np.float32)
    for unit, intensity in PROTOTYPES[expression].items():
        units[ACTION_UNITS.index(unit)] = intensity
    return units
