"""How faces show the seven expressions: whole and partial prototypes, their published variants, and what else a face
does.

The variants are those of EMFACS and of the FACS Investigator's Guide (Ekman, Friesen and Hager 2002, table 10-1), in
the 17 units that are measured here: AU11 and AU16 are left out, AU24 counts as AU23 and AU27 as a strong AU26.
"""

from dataclasses import dataclass, field

import numpy as np

from twfer_dist.core.taxonomy import ACTION_UNITS, EXPRESSIONS, MAX_INTENSITY
from twfer_dist.rendering.facs import possible

_INDEX = {name: number for number, name in enumerate(ACTION_UNITS)}


@dataclass(frozen=True)
class Variant:
    """One way to show an expression: intensities (0 to 5) of the units at full strength."""

    weight: float  # how often it is chosen, relative to the expression's other variants
    units: dict[str, float]
    optional: dict[str, float] = field(default_factory=dict)  # each of them present in half of the performances


VARIANTS: dict[str, tuple[Variant, ...]] = {
    "surprise": (
        Variant(3, {"AU01": 4.2, "AU02": 4.5, "AU05": 4.0, "AU25": 3.5, "AU26": 4.2}),
        Variant(1.5, {"AU01": 4.0, "AU02": 4.3, "AU05": 3.8}, {"AU25": 1.2}),
        Variant(1.5, {"AU01": 4.0, "AU02": 4.3, "AU25": 3.5, "AU26": 4.2}),
        Variant(1, {"AU05": 4.0, "AU25": 3.5, "AU26": 4.2}, {"AU01": 2.0, "AU02": 2.0}),
    ),
    "fear": (
        Variant(
            3,
            {"AU01": 4.2, "AU02": 2.5, "AU04": 3.4, "AU05": 4.2, "AU20": 4.0, "AU25": 3.2},
            {"AU07": 1.5, "AU26": 2.5},
        ),
        Variant(1.5, {"AU01": 4.2, "AU02": 2.5, "AU04": 3.4, "AU05": 4.2}, {"AU25": 2.5, "AU26": 2.5}),
        Variant(1, {"AU05": 4.3, "AU20": 4.2}, {"AU01": 2.0, "AU04": 2.0, "AU25": 3.0, "AU26": 2.5}),
        Variant(1, {"AU01": 4.0, "AU02": 3.5, "AU05": 4.2, "AU20": 3.8, "AU25": 3.0}, {"AU26": 2.0}),
        Variant(1, {"AU01": 4.2, "AU04": 3.2, "AU05": 3.6, "AU25": 2.8}, {"AU20": 2.5, "AU26": 2.5}),
    ),
    "disgust": (
        Variant(
            2,
            {"AU09": 4.3, "AU10": 3.6},
            {"AU04": 2.0, "AU06": 1.5, "AU07": 2.0, "AU15": 2.0, "AU17": 1.5, "AU25": 1.5},
        ),
        Variant(1.5, {"AU09": 4.5}, {"AU04": 2.5, "AU07": 2.0, "AU17": 2.5}),
        Variant(1.5, {"AU10": 4.3}, {"AU07": 1.5, "AU15": 2.0, "AU17": 2.5, "AU25": 2.0}),
        Variant(1, {"AU10": 4.0, "AU25": 3.0}, {"AU04": 1.5, "AU09": 2.0, "AU26": 2.0}),
        Variant(1, {"AU09": 4.2, "AU25": 3.0}, {"AU04": 2.0, "AU06": 2.0, "AU26": 2.0}),
    ),
    "happiness": (
        Variant(3, {"AU06": 4.0, "AU12": 4.5, "AU25": 3.2}, {"AU07": 1.5, "AU26": 1.5}),
        Variant(2, {"AU06": 3.6, "AU12": 4.3}, {"AU07": 1.5, "AU14": 1.0}),  # Duchenne, mouth closed
        Variant(1.5, {"AU12": 4.2, "AU25": 3.0}, {"AU26": 1.5}),  # of the mouth alone
        Variant(1.5, {"AU12": 3.6}, {"AU14": 1.2}),
        Variant(0.7, {"AU06": 4.0, "AU07": 2.0, "AU12": 4.5, "AU25": 4.0, "AU26": 3.5}),  # laughing
    ),
    "sadness": (
        Variant(2, {"AU01": 4.3, "AU04": 2.6, "AU15": 4.0, "AU17": 2.6}, {"AU07": 1.5, "AU25": 1.0}),
        Variant(1.5, {"AU01": 4.3, "AU04": 2.6, "AU15": 3.6}, {"AU25": 1.2}),
        Variant(1, {"AU01": 4.5, "AU04": 3.0}, {"AU17": 1.2}),  # of the brows alone
        Variant(1.3, {"AU15": 4.0, "AU17": 2.8}, {"AU01": 1.5, "AU04": 1.0}),  # of the lip corners alone
        Variant(0.8, {"AU06": 2.6, "AU15": 3.6}, {"AU01": 2.0, "AU17": 2.0}),
        # crying
        Variant(
            0.7,
            {"AU01": 4.0, "AU04": 3.2, "AU06": 3.0, "AU20": 2.0, "AU25": 3.0},
            {"AU07": 2.5, "AU15": 2.5, "AU26": 2.0},
        ),
    ),
    "anger": (
        Variant(2, {"AU04": 4.6, "AU05": 2.6, "AU07": 3.4, "AU23": 4.0}, {"AU10": 1.2, "AU17": 2.0}),
        Variant(
            1.5,
            {"AU04": 4.6, "AU05": 2.6, "AU07": 3.2, "AU10": 2.2, "AU25": 3.2},
            {"AU09": 1.0, "AU23": 1.5, "AU26": 2.6},
        ),
        Variant(1.5, {"AU04": 4.6, "AU07": 3.2, "AU23": 3.6}, {"AU17": 2.2}),
        Variant(1, {"AU04": 4.6, "AU05": 2.6, "AU23": 3.6}, {"AU17": 2.0}),
        Variant(1, {"AU04": 4.6, "AU07": 3.0}, {"AU17": 1.5}),  # of the brows alone
        Variant(0.7, {"AU07": 2.6, "AU17": 2.2, "AU23": 4.0}, {"AU04": 1.8}),  # controlled
    ),
    "neutral": (Variant(1, {}),),
}  # fmt: skip

_RESTING = ("AU01", "AU04", "AU05", "AU06", "AU07", "AU12", "AU14", "AU15", "AU17", "AU20", "AU23")


def perform(expression: str, intensity: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Intensities (float32 (17,), 0 to 5) and asymmetries (`facs.shape_weights`) of one performance of an expression.

    intensity: 0 to 1 of the variant that is chosen. Each unit varies by a quarter; now and then a unit that belongs to
    no expression joins in, the mouth speaks, the eyes are shut, or one side is stronger than the other.
    """
    count = len(ACTION_UNITS)
    variants = VARIANTS[expression]
    weights = np.array([variant.weight for variant in variants])
    variant = variants[rng.choice(len(variants), p=weights / weights.sum())]
    units = np.zeros(count)
    for name, value in variant.units.items():
        units[_INDEX[name]] = value
    for name, value in variant.optional.items():
        units[_INDEX[name]] = value * (rng.random() < 0.5)
    units *= intensity * np.exp(rng.normal(0, 0.25, count))
    units = np.maximum(units, (rng.random(count) < 0.05) * rng.uniform(0.3, 1.6, count))
    if rng.random() < (0.25 if expression == "neutral" else 0.08):
        units = np.maximum(units, _speech(rng))
    if expression not in ("surprise", "fear") and rng.random() < 0.06:
        units[_INDEX["AU45"]] = rng.uniform(2, MAX_INTENSITY)
    lean = rng.uniform(-0.7, 0.7, count) * (rng.random(count) < 0.5) * (rng.random() < 0.25)
    return possible(units), lean.astype(np.float32)


def resting(rng: np.random.Generator) -> np.ndarray:
    """The 17 intensities (0 to 5) that a figure's face has at rest: most faces carry some weak units for good."""
    units = np.zeros(len(ACTION_UNITS), np.float32)
    for name in _RESTING:
        units[_INDEX[name]] = rng.uniform(0, 1.5) * (rng.random() < 0.3)
    return units


def _speech(rng: np.random.Generator) -> np.ndarray:
    """Units of a mouth that forms a sound."""
    units = np.zeros(len(ACTION_UNITS))
    opening = rng.uniform(0.5, 3)
    for name, most in (
        ("AU25", opening),
        ("AU26", 0.9 * opening),
        ("AU10", 1.0),
        ("AU17", 1.2),
        ("AU20", 1.0),
        ("AU23", 1.2),
    ):
        units[_INDEX[name]] = rng.uniform(0, most) * (name in ("AU25", "AU26") or rng.random() < 0.3)
    return units


def states(rng: np.random.Generator) -> list[tuple[int, float]]:
    """Label (1 to 7) and intensity (0 to 1) of a scene's images: each expression once, at any strength."""
    return [
        (label, 0.0 if name == "neutral" else float(rng.uniform(0.25, 1))) for label, name in enumerate(EXPRESSIONS, 1)
    ]
