"""What an accuracy must beat."""

from pathlib import Path

import pytest
from study_tables import World, output

from twfer_dist.core.schema import DATASET
from twfer_dist.study import baselines, metrics
from twfer_dist.study.inputs import ReportInputs, photograph_splits


def test_linear_model_reads_the_action_units(world: World) -> None:
    linear = baselines.fit(world.dataset)
    assert linear is not None
    scores = {e.split: e for e in metrics.evaluate(baselines.on_dataset(linear, world.dataset))}
    assert (
        scores["test"].accuracy.k == scores["test"].accuracy.n == 4 * 7 * 4
    )  # the drawn faces have one Action Unit for each label
    (faces,) = metrics.evaluate(baselines.on_faces(linear, world.faces))
    assert faces.accuracy.n == 60 and faces.accuracy.k == 60


def test_no_action_units_no_linear_model(tmp_path: Path) -> None:
    rows = [
        {"image_id": f"i{k}", "split": "train", "label": k + 1, "figure_id": "s", "corpus": "c", "origin": "photograph"}
        for k in range(3)
    ]
    assert baselines.fit(output(str(tmp_path), "dataset", {".": (DATASET, rows)})) is None


def test_majority_class_is_the_best_constant_answer(world: World) -> None:
    counts = metrics.count(world.predictions[:1], photograph_splits(ReportInputs(faces=[world.faces])))
    (evaluation,) = metrics.evaluate(counts)
    constant = baselines.majority(evaluation)
    assert constant.model == "always surprise" and (constant.accuracy.k, constant.accuracy.n) == (9, 60)
    assert constant.balanced_accuracy is not None and constant.balanced_accuracy.value == pytest.approx(1 / 7)
