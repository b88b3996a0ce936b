"""Models with known errors: records of these errors, and answers that show them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
from study_tables import images_of, output

from twfer_dist.core.schema import PREDICTIONS
from twfer_dist.core.status import OK
from twfer_dist.recognition.calibration import Confusion, confusion
from twfer_dist.study import metrics


def rates(right: list[float]) -> np.ndarray:
    """The confusion of a model with these accuracies by expression; it takes neutral for sadness."""
    random = np.random.default_rng(42)
    found = np.stack([np.insert((1 - r) * random.dirichlet(np.full(6, 0.7)), k, r) for k, r in enumerate(right)])
    found[6] = [0, 0, 0, 0, 1 - right[6], 0, right[6]]
    return found


def held_out(of: np.ndarray, figures: int, images: int, random: np.random.Generator) -> Confusion:
    """A confusion estimated from `images` of each expression of each figure; figures differ."""
    counts = np.array(
        [[random.multinomial(images, random.dirichlet(3 * row + 1e-6)) for row in of] for _ in range(figures)]
    )
    figure, truth, answered = np.nonzero(counts)
    return confusion(truth, answered, figure, counts[figure, truth, answered])


def face_counts(
    tmp_path: Path, labelled: int, neutral_accuracy: float, answers: int = 280, status: str = OK
) -> pa.Table:
    """A count table of faces, a seventh of each expression, of which `labelled` have a label. A third have low
    confidence, the rest have `status`.
    """
    of = rates([0.85] * 6 + [neutral_accuracy])
    random = np.random.default_rng(4)
    rows = [
        {
            "image_id": f"i{k:04d}",
            "model": "m",
            "figure_id": f"s{k}",
            "corpus": "c",
            "label": k % 7 + 1 if k < labelled else None,
            "predicted": int(random.choice(7, p=of[k % 7])) + 1,
            "status": status if k % 3 else "low_confidence",
        }
        for k in range(answers)
    ]
    predictions = output(str(tmp_path), "predict", {".": (PREDICTIONS, rows)})
    return metrics.count([predictions], images_of(predictions))
