"""Does a picture show the requested expression? The measured Action Units, compared with the requested ones."""

import numpy as np

from twfer_dist.core.prototypes import prototype
from twfer_dist.core.taxonomy import ACTION_UNITS, EXPRESSIONS
from twfer_dist.measurement.face import FaceAnalyzer
from twfer_dist.measurement.identity import whole_crop

_ROUNDING = 1e-9  # a smaller sum of squares per value is rounding, and has no shares


def measure(analyzer: FaceAnalyzer, pictures: np.ndarray) -> np.ndarray:
    """The Action Units, float32 (N, 17) in 0..5, of crops, uint8 RGB (N, S, S, 3); NaN where the analyzer finds no
    face.
    """
    framing = whole_crop(pictures.shape[1])
    faces = [analyzer.measure(picture, [framing])[0] for picture in pictures]
    no_face = np.full(len(ACTION_UNITS), np.nan, np.float32)
    return np.stack([face.units if face else no_face for face in faces]).astype(np.float32)


def correlations(requested: np.ndarray, measured: np.ndarray) -> dict[str, object]:
    """How closely the measured changes of Action Units follow the requested ones, both (N, 17).

    Pearson's r for each unit over the pictures in which a face was found, and the mean over the units. A unit whose
    measured change never varies has 0; one whose requested change never varies has None and does not count in the mean.
    """
    found = np.isfinite(measured).all(axis=1)
    by_unit: dict[str, float | None] = {}
    for name, x, y in zip(ACTION_UNITS, requested[found].T, measured[found].T, strict=True):
        varies = x.size > 1 and np.ptp(x) > 0
        by_unit[name] = (round(float(np.corrcoef(x, y)[0, 1]), 4) if np.ptp(y) > 0 else 0.0) if varies else None
    known = [r for r in by_unit.values() if r is not None]
    return {"mean": round(float(np.mean(known)), 4) if known else None, "by_au": by_unit, "n": int(found.sum())}


def strengths(units: np.ndarray, label: int) -> np.ndarray:
    """How strongly Action Units (..., 17) show an expression (label 1 to 6): their length along its prototype
    (`core.prototypes`).
    """
    direction = prototype(EXPRESSIONS[label - 1])
    return units @ (direction / np.linalg.norm(direction))


def rises(values: np.ndarray) -> np.ndarray:
    """bool (N,): which rows of (N, levels) rise strictly from each level to the next. A tie or a NaN does not rise."""
    return np.all(np.diff(values, axis=1) > 0, axis=1)


def reference_effect(values: np.ndarray) -> dict[str, float | int]:
    """How much the choice of the reference matters.

    values (F, R): how strongly each of F faces shows the expression copied from each of R references. lowest, highest:
    the means for the weakest and the strongest reference. share_of_variance: the references' share of the sum of
    squares around the mean, 0 where all references give the same and 1 where nothing else varies.
    """
    values = values[np.isfinite(values).all(axis=1)]
    means = values.mean(axis=0)
    total = float(((values - values.mean()) ** 2).sum())
    of_references = float(len(values) * ((means - values.mean()) ** 2).sum())
    return {
        "references": values.shape[1],
        "lowest": round(float(means.min()), 4),
        "highest": round(float(means.max()), 4),
        "share_of_variance": round(of_references / total, 4) if total > _ROUNDING * values.size else 0.0,
    }
