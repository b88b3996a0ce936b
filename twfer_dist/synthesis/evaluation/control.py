"""Does a picture show what was asked of it? Answers of a network that measures faces, compared with the request."""

import numpy as np

from twfer_dist.core.prototypes import prototype
from twfer_dist.core.taxonomy import ACTION_UNITS, EXPRESSIONS
from twfer_dist.measurement.face import FaceAnalyzer
from twfer_dist.measurement.identity import whole_crop


def measured(analyzer: FaceAnalyzer, pictures: np.ndarray) -> np.ndarray:
    """The Action Units, float32 (N, 17) from 0 to 5, of crops of faces, uint8 RGB (N, S, S, 3); NaN where the analyzer
    sees no face.
    """
    framing = whole_crop(pictures.shape[1])
    faces = [analyzer.measure(picture, [framing])[0] for picture in pictures]
    unseen = np.full(len(ACTION_UNITS), np.nan, np.float32)
    return np.stack([face.units if face else unseen for face in faces]).astype(np.float32)


def correlations(asked: np.ndarray, found: np.ndarray) -> dict[str, object]:
    """How closely the measured changes of Action Units follow the requested ones, both (N, 17): Pearson's r of each
    unit over the pictures in which a face was seen, and the mean of the units.

    0 for a unit whose measured change never varies, None, and in no mean, for one that is never asked to change.
    """
    seen = np.isfinite(found).all(axis=1)
    by_unit: dict[str, float | None] = {}
    for name, x, y in zip(ACTION_UNITS, asked[seen].T, found[seen].T, strict=True):
        varies = x.size > 1 and np.ptp(x) > 0
        by_unit[name] = (round(float(np.corrcoef(x, y)[0, 1]), 4) if np.ptp(y) > 0 else 0.0) if varies else None
    known = [r for r in by_unit.values() if r is not None]
    return {"mean": round(float(np.mean(known)), 4) if known else None, "by_au": by_unit, "n": int(seen.sum())}


def strengths(units: np.ndarray, label: int) -> np.ndarray:
    """How strongly Action Units (..., 17) show an expression (label 1 to 6): their length along its prototype
    (`facs.PROTOTYPES`).
    """
    direction = prototype(EXPRESSIONS[label - 1])
    return units @ (direction / np.linalg.norm(direction))


def rises(values: np.ndarray) -> np.ndarray:
    """bool (N,): which rows of (N, levels) rise strictly from each level to the next; a tie does not, nor does NaN."""
    return np.all(np.diff(values, axis=1) > 0, axis=1)


def choice(values: np.ndarray) -> dict[str, float | int]:
    """How much it matters which reference is copied. values (F, R): how strongly each of F faces shows the expression
    when each of R references is copied.

    lowest and highest: the means of the weakest and of the strongest reference. share_of_variance: the references'
    share of the sum of squares around the mean (the faces have the rest): 0 where all references give the same, 1 where
    nothing else counts.
    """
    values = values[np.isfinite(values).all(axis=1)]
    means = values.mean(axis=0)
    total = float(((values - values.mean()) ** 2).sum())
    of_references = float(len(values) * ((means - values.mean()) ** 2).sum())
    return {
        "references": values.shape[1],
        "lowest": round(float(means.min()), 4),
        "highest": round(float(means.max()), 4),
        "share_of_variance": round(of_references / total, 4) if total else 0.0,
    }
