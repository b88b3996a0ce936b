"""What an accuracy must beat."""

import numpy as np
import pyarrow as pa
import pytest
import study_tables
from scipy import stats
from study_tables import NOTHING, images_of, output
from twfer_dist.core.intervals import balanced_accuracy, effective_size, share, share_of, simultaneous, wilson
from twfer_dist.core.schema import DATASET, PREDICTIONS
from twfer_dist.core.status import OK
from twfer_dist.study import baselines, groups, metrics
from twfer_dist.study.report_data import photographs




def test_linear_model_reads_the_action_units(world):
    linear = baselines.fit(world["dataset"])
    assert linear is not None
    scores = {e.split: e for e in metrics.evaluate(baselines.on_dataset(linear, world["dataset"]))}
    assert (
        scores["test"].images.k == scores["test"].images.n == 4 * 7 * 4
    )  # the drawn faces have one Action Unit for each label
    (faces,) = metrics.evaluate(baselines.on_faces(linear, world["faces"]))
    assert faces.images.n == 60 and faces.images.k == 60


def test_no_action_units_no_linear_model(tmp_path):
    rows = [
        {"image_id": f"i{k}", "split": "train", "label": k + 1, "figure_id": "s", "corpus": "c", "origin": "photograph"}
        for k in range(3)
    ]
    assert baselines.fit(output(str(tmp_path), "dataset", {".": (DATASET, rows)})) is None


def test_majority_class_is_the_best_constant_answer(world):
    counts = metrics.count(world["predictions"][:1], photographs({**NOTHING, "faces": [world["faces"]]}))
    (evaluation,) = metrics.evaluate(counts)
    constant = baselines.always(evaluation)
    assert constant.model == "always surprise" and (constant.images.k, constant.images.n) == (9, 60)
    assert constant.mean is not None and constant.mean.value == pytest.approx(1 / 7)
