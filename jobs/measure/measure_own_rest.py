"""What is gained by comparing a face with the same face at rest, under the same light and carving.

    twfer run jobs/own-rest.yaml
    python jobs/measure/measure_own_rest.py runs/own-rest/render-0123456789ab

Each figure has a picture at rest, whose 17 Action Units are truly 0, and others. Prints the mean correlation of the
units with the truth in single pictures and after subtracting the picture at rest, with 95 % intervals over figures, and
the correlation of the errors in two pictures of one figure: the share of an error that belongs to the face.
"""

import sys
from collections.abc import Callable

import numpy as np

from twfer_dist.core.taxonomy import ACTION_UNITS
from twfer_dist.engine import artifact, storage
from twfer_dist.measurement import augmentation, evaluate
from twfer_dist.measurement.analyzer import SHIPPED, open_analyzer

RESAMPLES = 1000


def main(output: str) -> None:
    heads = augmentation.load_heads(artifact.open_artifact(storage.absolute(output)))
    faces = evaluate.measured(open_analyzer(SHIPPED), heads.images, heads.points)
    figures, counts = np.unique(heads.figure_ids, return_counts=True)
    if any(face is None for face in faces) or len(set(counts)) > 1:
        sys.exit(f"{output} holds figures of which a picture is missing: name an output of jobs/own-rest.yaml.")
    # Rows are sorted by id, so that the first picture of a figure is the one at rest. (figures, pictures, units)
    measured = np.stack([face.units for face in faces if face]).reshape(len(figures), -1, len(ACTION_UNITS))
    truth = heads.units.reshape(measured.shape)
    if truth[:, 0].any():
        sys.exit(f"{output} does not begin each figure at rest: name an output of jobs/own-rest.yaml.")
    truth, single, change = truth[:, 1:], measured[:, 1:], measured[:, 1:] - measured[:, :1]
    error = single - truth
    print(f"{len(figures)} figures, {truth.shape[1]} pictures of each beside the one at rest")
    tell("single pictures", len(figures), lambda rows: correlation(single[rows], truth[rows]))
    tell("less the own rest", len(figures), lambda rows: correlation(change[rows], truth[rows]))
    tell(
        "gain",
        len(figures),
        lambda rows: correlation(change[rows], truth[rows]) - correlation(single[rows], truth[rows]),
    )
    tell("errors of two pictures", len(figures), lambda rows: correlation(error[rows, 0], error[rows, 1]))


def tell(name: str, figures: int, measure: Callable[[np.ndarray], float]) -> None:
    """Print what `measure` gives for all figures, and its 95 % interval by resampling them."""
    rng = np.random.default_rng(0)
    low, high = np.percentile([measure(rng.integers(figures, size=figures)) for _ in range(RESAMPLES)], [2.5, 97.5])
    print(f"{name:<24} r {measure(np.arange(figures)):.3f} ({low:.3f} to {high:.3f})")


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """The mean over units, the last axis, of Pearson's r."""
    pairs = zip(a.reshape(-1, len(ACTION_UNITS)).T, b.reshape(-1, len(ACTION_UNITS)).T, strict=True)
    return float(np.mean([np.corrcoef(x, y)[0, 1] for x, y in pairs]))


if __name__ == "__main__":
    main(sys.argv[1])
