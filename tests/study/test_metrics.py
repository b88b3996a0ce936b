"""Accuracy tables and confusion matrices."""

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




def test_accuracy_and_confusion_are_those_of_the_rows(world):
    images = world["dataset"].table(".", DATASET, columns=["image_id", "split"])
    found = {(e.model, e.split): e for e in metrics.evaluate(metrics.count(world["predictions"], images))}
    assert list(found) == [(m, s) for m in ("ARM", "ResNet-18") for s in ("train", "validation", "test")]
    for (model, split), evaluation in found.items():
        rows = [row for p in world["predictions"] for row in p.table(".", PREDICTIONS).to_pylist()]
        rows = [r for r in rows if (r["model"], r["split"]) == (model, split)]
        assert evaluation.images.n == len(rows) and evaluation.images.k == sum(
            r["label"] == r["predicted"] for r in rows
        )
        assert evaluation.images.figures == len({r["figure_id"] for r in rows})
        for truth in range(7):
            own = [r for r in rows if r["label"] == truth + 1]
            assert evaluation.classes[truth].k == sum(r["predicted"] == truth + 1 for r in own)
            assert evaluation.confusion[truth].tolist() == [sum(r["predicted"] == p + 1 for r in own) for p in range(7)]
        assert evaluation.mean is not None and evaluation.mean.value == pytest.approx(
            np.mean([c.value for c in evaluation.classes])
        )


def test_images_without_an_answer_are_counted_apart(tmp_path):
    rows = [
        {
            "image_id": f"i{k}",
            "model": "m",
            "figure_id": f"s{k}",
            "corpus": "c",
            "split": "test",
            "label": 1,
            "predicted": p,
            "status": s,
        }
        for k, (p, s) in enumerate([(1, OK), (2, "low_confidence"), (None, "unreadable")])
    ]
    finished = output(str(tmp_path), "predictions", {".": (PREDICTIONS, rows)})
    (found,) = metrics.evaluate(metrics.count([finished], images_of(finished)))
    assert (found.images.k, found.images.n, found.unanswered) == (1, 2, 1)
    assert (found.accepted_right, found.accepted) == (1, 1)


def test_no_predictions_give_no_tables():
    counts = metrics.count([], images_of())
    assert metrics.evaluate(counts) == [] and len(counts) == 0
