"""Training the reader: from measured heads to a file that reads."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dataset_tables import faces_of
from study_tables import output

from twfer_dist.core.errors import UserError
from twfer_dist.core.prototypes import prototype
from twfer_dist.core.schema import MEASURED, photo_id
from twfer_dist.core.taxonomy import EXPRESSIONS, NEUTRAL
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.stage import run_stage
from twfer_dist.engine.tracking import Tracking
from twfer_dist.reading.reader import open_reader
from twfer_dist.reading.train_stage import reader_spec
from twfer_dist.reading.training import ReaderConfig, calibration_error, laplace_draws


def measured_heads(out: Path, figures: int) -> Artifact:
    """Heads that show each expression as its prototype, measured with some noise."""
    rng, rows = np.random.default_rng(0), []
    for figure in range(figures):
        for label, name in enumerate(EXPRESSIONS, 1):
            strength = 0.0 if label == NEUTRAL else float(rng.uniform(0.6, 1))
            units = np.clip(strength * prototype(name) + rng.normal(0, 0.3, 17), 0, 5)
            row: dict[str, Any] = {"image_id": f"f{figure:03d}-0-{label:02d}", "figure_id": f"f{figure:03d}"}
            row |= {"label": label, "intensity": strength, "status": "ok", "error": ""}
            rows.append(row | {"action_units": units.tolist(), "action_units_half_width_90": [0.5] * 17})
    return output(str(out), "measure", {".": (MEASURED, rows)})


def people(out: Path, label: int) -> Artifact:
    photo = photo_id("people", "0.jpg")
    row = {"photo_id": photo, "face_id": f"{photo}-0", "rank": 0, "corpus": "people", "path": "0.jpg", "figure_id": "a"}
    return faces_of(out, "people", [row | {"label": label, "status": "ok", "action_units": [0.4] * 17}])


def test_a_trained_reader_reads_and_knows_its_errors(mlflow_uri: str, tmp_path: Path) -> None:
    heads, resting = measured_heads(tmp_path, 40), people(tmp_path, NEUTRAL)
    config = ReaderConfig(steps=150, members=2, draws=16, held_out=0.25, accuracy_target=0.5)
    spec = reader_spec(heads, resting, config, Tracking(mlflow_uri, "reader"))
    trained = run_stage(spec, str(tmp_path), quiet=True)
    reader = open_reader(trained.path("reader.safetensors"))
    clear = [name for name in EXPRESSIONS if name != "fear"]  # which takes longer to learn
    answers = [int(reader.read(prototype(name), np.full(17, 0.5)).probabilities.argmax()) for name in clear]
    assert [EXPRESSIONS[answer] for answer in answers] == clear
    scores = trained.results["scores"]
    assert (
        scores["as_measured"]["n"] == 70 and scores["as_measured"]["accuracy"] > scores["disturbed"]["accuracy"] > 0.3
    )
    assert np.array(reader.held_out["confusion"]).sum() == 70 and reader.held_out["figures"] == 10
    assert reader.threshold == pytest.approx(trained.results["threshold"]["confidence"])
    again = run_stage(spec, str(tmp_path / "again"), quiet=True)
    assert again.results["scores"] == scores  # from the seed alone


def test_a_reader_needs_people_at_rest(mlflow_uri: str, tmp_path: Path) -> None:
    heads, smiling = measured_heads(tmp_path, 3), people(tmp_path, 4)
    with pytest.raises(UserError, match="holds no measured face with the label neutral"):
        run_stage(
            reader_spec(heads, smiling, ReaderConfig(), Tracking(mlflow_uri, "reader")), str(tmp_path), quiet=True
        )


def test_draws_are_of_a_laplace_distribution() -> None:
    draws = np.abs(laplace_draws(1024))
    assert np.quantile(draws, 0.9) == pytest.approx(np.log(10), abs=0.05) and draws.mean() == pytest.approx(1, abs=0.02)


def test_calibration_error_is_the_gap_of_confidence() -> None:
    sure = np.tile([0.8, 0.2, 0, 0, 0, 0, 0], (10, 1))
    assert calibration_error(sure, np.array([0] * 8 + [1] * 2)) == pytest.approx(0)
    assert calibration_error(sure, np.array([0] * 5 + [1] * 5)) == pytest.approx(0.3)
