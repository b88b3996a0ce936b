"""Accuracy tables and confusion matrices."""

from pathlib import Path

import numpy as np
import pytest
from study_tables import World, images_of, output

from twfer_dist.core.schema import DATASET, PREDICTIONS
from twfer_dist.core.status import OK
from twfer_dist.study import metrics


def test_accuracy_and_confusion_are_those_of_the_rows(world: World) -> None:
    images = world.dataset.table(".", DATASET, columns=["image_id", "split"])
    found = {(e.model, e.split): e for e in metrics.evaluate(metrics.count(world.predictions, images))}
    assert list(found) == [(m, s) for m in ("ARM", "ResNet-18") for s in ("train", "validation", "test")]
    for (model, split), evaluation in found.items():
        rows = [row for p in world.predictions for row in p.table(".", PREDICTIONS).to_pylist()]
        rows = [r for r in rows if (r["model"], r["split"]) == (model, split)]
        assert evaluation.accuracy.n == len(rows) and evaluation.accuracy.k == sum(
            r["label"] == r["predicted"] for r in rows
        )
        assert evaluation.accuracy.figures == len({r["figure_id"] for r in rows})
        for truth in range(7):
            own = [r for r in rows if r["label"] == truth + 1]
            assert evaluation.by_expression[truth].k == sum(r["predicted"] == truth + 1 for r in own)
            assert evaluation.confusion[truth].tolist() == [sum(r["predicted"] == p + 1 for r in own) for p in range(7)]
        assert evaluation.balanced_accuracy is not None and evaluation.balanced_accuracy.value == pytest.approx(
            np.mean([c.value for c in evaluation.by_expression])
        )


def test_images_without_an_answer_are_counted_apart(tmp_path: Path) -> None:
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
    predictions = output(str(tmp_path), "predict", {".": (PREDICTIONS, rows)})
    (found,) = metrics.evaluate(metrics.count([predictions], images_of(predictions)))
    assert (found.accuracy.k, found.accuracy.n, found.unanswered) == (1, 2, 1)
    assert (found.accepted_right, found.accepted) == (1, 1)


def test_no_predictions_give_no_tables() -> None:
    counts = metrics.count([], images_of())
    assert metrics.evaluate(counts) == [] and len(counts) == 0
