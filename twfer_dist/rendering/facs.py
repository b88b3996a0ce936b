"""From Action Units to the head model's shapes: one frozen table; and random Action Units of faces.

The table is ours. ICT-FaceKit lists a shape for most units; AU23 and AU25 have none and are composed of their nearest
(AU23: pressed and slightly rolled lips; AU25: AU16's lower lip with a little of the upper), AU10 is `mouthUpperUp` with
a little `mouthShrugUpper` (not the latter alone, which lifts the middle only), AU26 is half of `jawOpen`. Gains above 1
carve an expression deeper than the scanned people showed it, as sculptors do.
"""

import numpy as np

from twfer_dist.core.prototypes import prototype
from twfer_dist.core.taxonomy import ACTION_UNITS, EXPRESSIONS, MAX_INTENSITY

TABLE_VERSION = 2
"""Raised with any change of the tables below; part of the fingerprint of everything rendered."""

_BOTH = ("L", "R")


def _pair(name: str, gain: float) -> dict[str, float]:
    return {f"{name}_{side}": gain for side in _BOTH}


GAINS: dict[str, dict[str, float]] = {
    "AU01": _pair("browInnerUp", 1.5),
    "AU02": _pair("browOuterUp", 1.2),
    "AU04": _pair("browDown", 1.7),
    "AU05": _pair("eyeWide", 1.6),
    "AU06": _pair("cheekSquint", 1.3),
    "AU07": _pair("eyeSquint", 1.9),
    "AU09": _pair("noseSneer", 1.1),
    "AU10": _pair("mouthUpperUp", 0.8) | {"mouthShrugUpper": 0.15},
    "AU12": _pair("mouthSmile", 1.1),
    "AU14": _pair("mouthDimple", 1.1),
    "AU15": _pair("mouthFrown", 1.6),
    "AU17": {"mouthShrugLower": 0.75, "mouthShrugUpper": 0.6},
    "AU20": _pair("mouthStretch", 1.2),
    "AU23": _pair("mouthPress", 0.7) | {"mouthRollLower": 0.28, "mouthRollUpper": 0.28},
    "AU25": _pair("mouthLowerDown", 0.9) | _pair("mouthUpperUp", 0.12),
    "AU26": {"jawOpen": 0.5},
    "AU45": _pair("eyeBlink", 1.0),
}
"""Weight of each shape at intensity 5. It is linear in the intensity (weight = gain * intensity / 5), and units add."""

_INDEX = {name: number for number, name in enumerate(ACTION_UNITS)}


def shape_weights(action_units: np.ndarray, names: np.ndarray, lean: np.ndarray | None = None) -> np.ndarray:
    """Weights (E,) float32 of the expression shapes called `names` for 17 Action Units of intensity 0 to 5.

    lean: (17,), -1 to 1, how much stronger a unit is on the subject's left than on the right; its intensity is the mean
    of both sides.
    """
    index_of = {str(name): number for number, name in enumerate(names)}
    weights = np.zeros(len(names), np.float32)
    for unit, gains in GAINS.items():
        index = _INDEX[unit]
        for shape, gain in gains.items():
            side = 0.0 if lean is None else lean[index] * (shape.endswith("_L") - float(shape.endswith("_R")))
            weights[index_of[shape]] += gain * action_units[index] * (1 + side) / MAX_INTENSITY
    return weights


def performed(expression: str, intensity: float, rng: np.random.Generator) -> np.ndarray:
    """The 17 intensities (float32, 0 to 5) of one figure's individual way to show an expression.

    intensity: 0 to 1 of the prototype. Each unit varies by about a fifth, and weak units of the prototype may be
    absent, as in people.
    """
    units = prototype(expression) * intensity * np.exp(rng.normal(0, 0.18, len(ACTION_UNITS)))
    weak = prototype(expression) < 2
    units[weak & (rng.random(len(units)) < 0.35)] = 0
    if expression == "happiness" and rng.random() < 0.35:  # a closed smile
        units[_INDEX["AU25"]] = 0
    return possible(units)


def free(rng: np.random.Generator) -> np.ndarray:
    """17 intensities (float32, 0 to 5) of a face that shows no single expression: blends and independent units."""
    if rng.random() < 0.4:
        first, second = rng.choice(len(EXPRESSIONS) - 1, 2, replace=False)
        units = performed(EXPRESSIONS[first], rng.uniform(0.2, 0.9), rng) + performed(
            EXPRESSIONS[second], rng.uniform(0.1, 0.6), rng
        )
    else:
        units = np.where(
            rng.random(len(ACTION_UNITS)) < rng.uniform(0.1, 0.4), rng.uniform(0.5, MAX_INTENSITY, len(ACTION_UNITS)), 0
        )
    return possible(units)


def varied(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Intensities (float32 (17,), 0 to 5) and asymmetries (`shape_weights`) to learn units from.

    Each unit is present in 20 to 45 % of the faces: alone, in natural combinations and in arbitrary ones. One face in
    three is asymmetric.
    """
    count = len(ACTION_UNITS)
    kind = rng.random()
    units = np.zeros(count)
    if kind < 0.15:
        pass
    elif kind < 0.30:  # one to three units alone
        units[rng.choice(count, rng.integers(1, 4), replace=False)] = rng.uniform(0.5, MAX_INTENSITY)
    elif kind < 0.50:
        units = performed(EXPRESSIONS[rng.integers(len(EXPRESSIONS) - 1)], rng.uniform(0.2, 1.1), rng)
        units += (rng.random(count) < 0.10) * rng.uniform(0.5, 4, count)
    else:
        units = (rng.random(count) < _FREQUENCY) * rng.uniform(0.5, MAX_INTENSITY, count)
    lean = rng.uniform(-0.7, 0.7, count) * (rng.random(count) < 0.5) * (rng.random() < 0.33)
    return possible(units), lean.astype(np.float32)


_FREQUENCY = np.array([0.65 if name in ("AU17", "AU23", "AU26", "AU45") else 0.42 for name in ACTION_UNITS])
"""Of each unit in the arbitrary combinations of `varied`; higher for opposed ones, which `possible` weakens."""

_OPPOSED = (
    ("AU12", "AU15"),
    ("AU05", "AU45"),
    ("AU07", "AU45"),
    ("AU23", "AU26"),
    ("AU23", "AU25"),
    ("AU17", "AU26"),
    ("AU17", "AU25"),
    ("AU06", "AU05"),
)


def possible(action_units: np.ndarray) -> np.ndarray:
    """The nearest units that one face can show, float32, 0 to 5.

    Of two opposed units the weaker is reduced by half the stronger; a dropped jaw parts the lips (AU25 is at least
    AU26's).
    """
    units = np.clip(np.asarray(action_units, np.float32), 0, MAX_INTENSITY)
    for one, other in _OPPOSED:
        a, b = _INDEX[one], _INDEX[other]
        weak, strong = (a, b) if units[a] < units[b] else (b, a)
        units[weak] = max(0.0, units[weak] - 0.5 * units[strong])
    units[_INDEX["AU25"]] = max(units[_INDEX["AU25"]], 0.8 * units[_INDEX["AU26"]])
    return units
