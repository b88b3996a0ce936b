"""Does a picture show the requested expression? The measured Action Units, compared with the requested ones."""

from typing import Any

import numpy as np

from twfer_dist.core import intervals
from twfer_dist.core.prototypes import prototype
from twfer_dist.core.taxonomy import ACTION_UNITS, EXPRESSIONS
from twfer_dist.measurement.face import FaceAnalyzer
from twfer_dist.measurement.identity import whole_crop

_ROUNDING = 1e-9  # a smaller sum of squares per value is rounding, and has no shares
_RESAMPLES = 1000


def measure(analyzer: FaceAnalyzer, pictures: np.ndarray) -> np.ndarray:
    """The Action Units, float32 (N, 17) in 0..5, of crops, uint8 RGB (N, S, S, 3); NaN where the analyzer finds no
    face.
    """
    framing = whole_crop(pictures.shape[1])
    faces = [analyzer.measure(picture, [framing])[0] for picture in pictures]
    no_face = np.full(len(ACTION_UNITS), np.nan, np.float32)
    return np.stack([face.units if face else no_face for face in faces]).astype(np.float32)


def correlations(requested: np.ndarray, measured: np.ndarray, figures: np.ndarray) -> dict[str, Any]:
    """How closely the measured changes of Action Units follow the requested ones, both (N, 17), of `figures` (N,).

    Pearson's r for each unit over the pictures in which a face was found, and the mean over the units. A unit whose
    measured change never varies has 0; one whose requested change never varies has None and does not count in the mean.
    low, high: the 95 % interval of the mean (`intervals.of_resamples`, whole figures); None for fewer than two figures.
    """
    found = np.isfinite(measured).all(axis=1)
    moments = _moments(requested[found].astype(float), measured[found].astype(float), figures[found])
    by_unit = _pearson(moments.sum(axis=0))
    scores = {"mean": _rounded(_mean(by_unit)), "low": None, "high": None}
    if len(moments) > 1 and scores["mean"] is not None:
        count = len(moments)
        drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), _RESAMPLES)
        means = _mean(_pearson(np.tensordot(drawn, moments, axes=1)))
        low, high = intervals.of_resamples(float(_mean(by_unit)), means, count)
        scores |= {"low": _rounded(max(-1.0, low)), "high": _rounded(min(1.0, high))}
    by_au = {name: _rounded(r) for name, r in zip(ACTION_UNITS, by_unit, strict=True)}
    return scores | {"by_au": by_au, "n": int(found.sum()), "figures": len(moments)}


def _moments(x: np.ndarray, y: np.ndarray, figures: np.ndarray) -> np.ndarray:
    """Sums over the pictures of each of F figures, (F, 17, 6): of 1, x, y, x x, y y and x y. x, y: (N, 17)."""
    x, y = (values - values.mean(axis=0) if len(values) else values for values in (x, y))  # smaller sums round less
    terms = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=-1)
    names, number = np.unique(figures, return_inverse=True)
    moments = np.zeros((len(names), *terms.shape[1:]))
    np.add.at(moments, number, terms)
    return moments


def _pearson(sums: np.ndarray) -> np.ndarray:
    """Pearson's r (...) of x and y from their sums (..., 6): NaN where x does not vary, else 0 where y does not."""
    n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        of_x, of_y, both = xx - x * x / n, yy - y * y / n, xy - x * y / n
        r = np.where(of_y > _ROUNDING * n, both / np.sqrt(of_x * of_y), 0.0)
        return np.where(of_x > _ROUNDING * n, r, np.nan)


def _mean(by_unit: np.ndarray) -> np.ndarray:
    """The mean over the last axis without NaN; NaN where nothing else is there."""
    known = np.isfinite(by_unit)
    with np.errstate(invalid="ignore"):
        return np.where(known, by_unit, 0.0).sum(axis=-1) / np.where(known.any(axis=-1), known.sum(axis=-1), np.nan)


def _rounded(value: float | np.ndarray) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None


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
