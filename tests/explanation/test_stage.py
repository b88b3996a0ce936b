"""The stage that explains answers: what it plans, and the rows that it leaves."""

from pathlib import Path

import pytest
from engine_stages import make_artifact
from study_roads import make_road
from study_tables import make_faces, make_predictions

from twfer_dist.core.errors import UserError
from twfer_dist.engine.stage import run_stage
from twfer_dist.explanation.stage import ExplainConfig, explain_spec
from twfer_dist.explanation.tables import EXPLANATIONS
from twfer_dist.reading.reader import NAME as READER

HAPPINESS = 4


def test_the_first_answers_by_id_are_explained(ray_cluster: None, tmp_path: Path) -> None:
    """Of twelve faces nine were read; five of them are explained."""
    faces = make_faces(str(tmp_path), figures=12)
    read = make_road(str(tmp_path), faces, READER, dict.fromkeys(range(9), (HAPPINESS, 0.9)))
    found = run_stage(explain_spec(read, [faces], ExplainConfig(shown=5)), str(tmp_path), quiet=True)
    rows = found.table(".", EXPLANATIONS).to_pylist()
    assert len(rows) == 5 and found.results["summary"] == ["5 answers explained"]
    for row in rows:
        assert (row["model"], row["explained"], row["shown"], row["status"]) == (READER, HAPPINESS, True, "ok")
        assert len(row["contributions"]) == 17 and row["map"] is None and row["rendered"] is None


def test_every_training_behind_the_answers_must_be_named(tmp_path: Path) -> None:
    faces = make_faces(str(tmp_path), figures=12)
    predictions = make_predictions(str(tmp_path), [faces], "ARM", 0.8)
    with pytest.raises(UserError, match="list them under 'models'"):
        explain_spec(predictions, [faces], ExplainConfig())


def test_models_are_refused_where_the_reader_answered(tmp_path: Path) -> None:
    faces = make_faces(str(tmp_path), figures=12)
    read = make_road(str(tmp_path), faces, READER, {0: (HAPPINESS, 0.9)})
    with pytest.raises(UserError, match="was made by the reader, not by a training: leave out 'models'"):
        explain_spec(read, [faces], ExplainConfig(), models=[make_artifact(str(tmp_path / "train-0"))])
