"""The figures, scenes and expressions of a rendered corpus: its plan, and every random choice, seeded from ids."""

import hashlib
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import pyarrow as pa

from twfer_dist.core.crop import crop_matrix
from twfer_dist.core.taxonomy import EXPRESSIONS, MAX_INTENSITY, NEUTRAL, POSTURES
from twfer_dist.engine.config import Range, Settings, shown
from twfer_dist.rendering import performances, wardrobe
from twfer_dist.rendering.dress import Dress
from twfer_dist.rendering.facs import free, performed, varied
from twfer_dist.rendering.material import MATERIALS

VARIED = ("changes", "units", "performances")
"""Plans with figures of all ages and proportions, clutter and any light."""

CLAY = ("terracotta", "marble", "bronze", "basalt")

POSTURE_FIGURES = {"kneeling": 18, "general": 25, "vertical": 17, "cavalry": 6, "civil": 19}
"""Figures of each posture in the paper's second corpus, 85 in all."""

POSTURE_EXPRESSIONS = {
    #            surprise, fear, disgust, happiness, sadness, anger, neutral
    "kneeling": (0.08, 0.12, 0.05, 0.10, 0.15, 0.20, 0.30),
    "general": (0.02, 0.03, 0.10, 0.10, 0.10, 0.35, 0.30),
    "vertical": (0.08, 0.08, 0.06, 0.18, 0.15, 0.15, 0.30),
    "cavalry": (0.10, 0.05, 0.05, 0.25, 0.10, 0.20, 0.25),
    "civil": (0.05, 0.03, 0.04, 0.38, 0.15, 0.05, 0.30),
}
"""Probabilities of expressions by posture. We chose them so that postures differ; they are not a finding."""

GRADES = (0.35, 0.5, 0.65, 0.8, 1.0)
"""The intensities of expressions in the plans `expressions` and `postures`, from faint to full."""

FREE_SHARE = 0.4
"""The share of expressive training images with free Action Units instead of one expression."""


@dataclass(frozen=True)
class ClayConfig(Settings):
    """A rendered corpus.

    plan: "pairs" (each scene neutral and with `states - 1` other expressions or free Action Units, to train on),
    "changes" (the same with arbitrary combinations of Action Units, old and young figures, cluttered walls and any
    light), "expressions" (each figure neutral and with the six expressions), "postures" (85 figures in five postures,
    one image each; `figures` and `states` are ignored), "units" (arbitrary combinations of Action Units before
    cluttered walls, to learn the units from) or "performances" (each scene with the seven expressions as
    `performances.perform` varies them, in the same surroundings, to learn expressions from; `states` is ignored).
    """

    plan: Literal["pairs", "changes", "expressions", "postures", "units", "performances"] = (
        "pairs"  # what is rendered, see above
    )
    figures: Annotated[int, Range(1, 100_000)] = 1000  # different people
    scenes: Annotated[int, Range(1, 100)] = 2  # of each figure
    states: Annotated[int, Range(1, 100)] = 6  # images of each scene
    size: Annotated[int, Range(16, 1024)] = 64  # pixels a side
    # a slightly misaligned face crop; the same with a margin; head and shoulders
    framing: Literal["crop", "loose", "portrait"] = "crop"
    materials: tuple[str, ...] = CLAY  # equally likely; list one twice to double its share
    yaw: Annotated[float, Range(0, 60)] = 9.0  # standard deviation in degrees; pitch has half of it, roll a quarter
    quality: Annotated[int, Range(1, 100)] = 95  # of the JPEG
    seed: Annotated[int, Range(0, 2**32 - 1)] = 0  # of the figures, their expressions and their surroundings

    def agree(self) -> None:
        if not self.materials or set(self.materials) - set(MATERIALS):
            raise ValueError(f"materials is {shown(list(self.materials))}; use some of {', '.join(MATERIALS)}")


def seeded(*words: object) -> np.random.Generator:
    """A random generator that depends on `words` alone."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256("\0".join(map(str, words)).encode()).digest()[:8]))


def plan(config: ClayConfig) -> pa.Table:
    """One row per image: image_id, figure_id, scene, label (1 to 7 or null), intensity (0 to 1 or null), posture (or
    empty).
    """
    rows = []
    if config.plan == "postures":
        postures = [posture for posture in POSTURES for _ in range(POSTURE_FIGURES[posture])]
    else:
        postures = [""] * config.figures
    for number, posture in enumerate(postures):
        figure_id = f"{config.plan}{config.seed}-{number:05d}"
        for view in range(config.scenes):
            scene = f"{figure_id}-{view}"
            for state, (label, intensity) in enumerate(_states(config, scene, number, posture)):
                rows.append((f"{scene}-{state:02d}", figure_id, scene, label, intensity, posture))
    names = {"image_id": pa.string(), "figure_id": pa.string(), "scene": pa.string(), "label": pa.int8(),
        "intensity": pa.float32(), "posture": pa.string()}  # fmt: skip
    return pa.table([list(column) for column in zip(*rows, strict=True)], schema=pa.schema(list(names.items())))


def _states(config: ClayConfig, scene: str, number: int, posture: str) -> list[tuple[int | None, float | None]]:
    rng = seeded("states", config.seed, scene)
    if config.plan == "expressions":
        # Over the figures, each expression has each grade equally often.
        return [
            (label, 0.0 if label == NEUTRAL else GRADES[(number + 2 * label) % len(GRADES)])
            for label in range(1, NEUTRAL + 1)
        ]
    if config.plan == "postures":
        label = 1 + int(rng.choice(len(EXPRESSIONS), p=POSTURE_EXPRESSIONS[posture]))
        return [(label, 0.0 if label == NEUTRAL else float(rng.choice(GRADES[1:])))]
    if config.plan == "performances":
        return list(performances.states(rng))
    if config.plan == "units":
        return [(None, None)] * config.states
    expressive = [
        (None, None)
        if rng.random() < FREE_SHARE
        else (1 + int(rng.integers(len(EXPRESSIONS) - 1)), float(rng.uniform(0.2, 1)))
        for _ in range(config.states - 1)
    ]
    return [(NEUTRAL, 0.0), *expressive]


def action_units(
    config: ClayConfig, image_id: str, label: int | None, intensity: float | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """The 17 intensities (float32, 0 to 5) that the image shows, and their asymmetry (`facs.shape_weights`) if any."""
    rng = seeded("units", config.seed, image_id)
    if config.plan == "units":
        return varied(rng)
    if label is None or intensity is None:
        # A generator is never asked for asymmetry.
        return (varied(rng)[0] if config.plan == "changes" else free(rng)), None
    if config.plan == "performances":
        units, lean = performances.perform(EXPRESSIONS[label - 1], intensity, rng)
        figure_id = image_id.rpartition("-")[0].rpartition("-")[0]
        return np.maximum(units, performances.resting(seeded("resting", config.seed, figure_id))), lean
    return performed(EXPRESSIONS[label - 1], intensity, rng), None


_INCIDENTAL = {
    "eyeLook": 0.5,
    "jaw": 0.25,
    "cheekPuff": 0.5,
    "mouthPucker": 0.35,
    "mouthFunnel": 0.35,
    "mouthLeft": 0.3,
    "mouthRight": 0.3,
}


def incidental_shapes(config: ClayConfig, image_id: str, names: np.ndarray) -> np.ndarray:
    """Weights, float32 (E,), of shapes outside our Action Units: gaze, a shifted jaw, puffed cheeks. In plan "changes"
    the same in all images of a scene; zero in plans without clutter.
    """
    weights = np.zeros(len(names), np.float32)
    if config.plan in VARIED:
        rng = seeded(
            "beside", config.seed, image_id if config.plan in ("units", "performances") else image_id.rpartition("-")[0]
        )
        for number, name in enumerate(names):
            prefixes = (w for prefix, w in _INCIDENTAL.items() if str(name).startswith(prefix) and name != "jawOpen")
            weights[number] = rng.uniform(0, next(prefixes, 0.0)) * (rng.random() < 0.12)
    return weights


_RESTING = {"brow": 0.08, "eyeWide": 0.08, "eyeSquint": 0.10, "eyeBlink": 0.05, "mouth": 0.05, "jawForward": 0.1}
"""Standard deviations of the weights of shapes that a face has for good."""


def resting_shapes(config: ClayConfig, figure_id: str, names: np.ndarray) -> np.ndarray:
    """Weights, float32 (E,), positive and negative, of the shapes by which a figure's resting face differs from the
    head model's: heavy lids, low brows, thin lips. They are not Action Units, and the same in all its images. Zero in
    plans without clutter.
    """
    weights = np.zeros(len(names), np.float32)
    if config.plan in VARIED:
        rng = seeded("resting shapes", config.seed, figure_id)
        both: dict[str, float] = {}
        for number, name in enumerate(map(str, names)):
            deviation = next((value for prefix, value in _RESTING.items() if name.startswith(prefix)), 0.0)
            own = rng.normal(0, 0.3 * deviation)
            stem = name.removesuffix("_L").removesuffix("_R")
            weights[number] = own + both.setdefault(stem, rng.normal(0, deviation))
    return weights


def stylisation(config: ClayConfig, figure_id: str) -> float:
    """How far a figure's proportions leave the scanned people's, 0 to 1 (`proportions.restyle`). Zero in plans without
    clutter.
    """
    return float(seeded("style", config.seed, figure_id).uniform(0, 1)) if config.plan in VARIED else 0.0


def folds(config: ClayConfig, figure_id: str, units: np.ndarray) -> np.ndarray:
    """The depth of each unit's skin folds (17,), 0 to 1 (`material.wrinkles`): the older a figure, the deeper, and some
    stay when the face rests. Zero in plans without clutter.
    """
    if config.plan not in VARIED:
        return np.zeros(len(units), np.float32)
    rng = seeded("age", config.seed, figure_id)
    age = rng.uniform(0.1, 1) * (rng.random() < 0.75)
    lasting = age * rng.uniform(0, 0.8, len(units)) * (rng.random(len(units)) < 0.4)
    return np.clip(age * units / MAX_INTENSITY + lasting, 0, 1).astype(np.float32)


def dress(config: ClayConfig, figure_id: str, posture: str) -> Dress:
    """What a figure wears (`wardrobe.drawn`)."""
    return wardrobe.drawn(seeded("dress", config.seed, figure_id), posture)


def view(config: ClayConfig, name: str, points: np.ndarray) -> np.ndarray:
    """The matrix (2, 3) from projected model units to pixels of a scene's images.

    points: (68, 2), the projected points of the neutral face. A crop is `crop.crop_matrix` of their box, misaligned by
    a few percent as a detector's; a portrait shows about twice as much, with room above for headgear.
    """
    low, high = points.min(0), points.max(0)
    matrix = crop_matrix(np.concatenate([low, high - low]), config.size)
    rng = seeded("view", config.seed, name)
    if config.framing == "crop":
        scale, shift = np.exp(rng.normal(0, 0.03)), rng.normal(0, 0.012, 2)
    elif config.framing == "loose":
        scale, shift = rng.uniform(0.80, 0.90), rng.normal(0, 0.01, 2)
    else:
        scale, shift = rng.uniform(0.48, 0.58), rng.normal(0, 0.025, 2) + (0, 0.06)
    middle = config.size / 2
    matrix = matrix * scale
    matrix[:, 2] += middle * (1 - scale) + shift * config.size
    return matrix
