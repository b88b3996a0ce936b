"""Models with known errors, and records of them."""

import numpy as np
import pyarrow as pa
import pytest
import study_tables
from study_tables import images_of, make_faces, make_training, output
from twfer_dist.core.intervals import design_effect, effective_size, share, simultaneous
from twfer_dist.core.schema import PREDICTIONS
from twfer_dist.core.status import OK
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.engine import storage
from twfer_dist.engine.stage import run_stage
from twfer_dist.recognition import train_stage
from twfer_dist.recognition.calibration import Confusion, confusion, confusion_from
from twfer_dist.recognition.training import Answers, TrainConfig
from twfer_dist.study import correction, groups, metrics
from twfer_dist.study.report import ReportConfig, report_job
from twfer_dist.study.shares import agreement, corrected, solve




def rates(right: list[float]) -> np.ndarray:
    """A model that is so often right, with errors of its own for each expression: neutral is often taken for
    sadness.
    """
    random = np.random.default_rng(42)
    found = np.stack([np.insert((1 - r) * random.dirichlet(np.full(6, 0.7)), k, r) for k, r in enumerate(right)])
    found[6] = [0, 0, 0, 0, 1 - right[6], 0, right[6]]
    return found


def held_out(of: np.ndarray, figures: int, images: int, random: np.random.Generator) -> Confusion:
    """A confusion estimated from `images` of each expression of each figure, where figures differ."""
    counts = np.array(
        [[random.multinomial(images, random.dirichlet(3 * row + 1e-6)) for row in of] for _ in range(figures)]
    )
    figure, truth, answered = np.nonzero(counts)
    return confusion(truth, answered, figure, counts[figure, truth, answered])
