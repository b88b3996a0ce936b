"""The figures of a stage's progress in MLflow, which must never stop the work that they tell of."""

from pathlib import Path

import pyarrow as pa
import pytest
from engine_jobs import Config, doubled, numbers_job

from twfer_dist.engine.shards import Step
from twfer_dist.engine.stage import run_stage
from twfer_dist.engine.tracking import Tracking


def test_mlflow_gets_the_figures_of_the_line(ray_cluster: None, mlflow_uri: str, tmp_path: Path) -> None:
    tracking = Tracking(mlflow_uri, "watched")
    finished = run_stage(numbers_job(Config()), str(tmp_path / "out"), tracking=tracking)
    assert run_stage(numbers_job(Config()), str(tmp_path / "out"), tracking=tracking).build_id == finished.build_id
    (run,) = tracking.client.search_runs([tracking.experiment_id()])  # none where nothing is done
    assert run.info.status == "FINISHED" and run.info.run_name == finished.name
    assert run.data.tags["fingerprint"] == finished.manifest.fingerprint and run.data.params["add"] == "1"
    metrics = run.data.metrics
    assert (metrics["done"], metrics["seconds_left"]) == (200, 0) and metrics["per_second"] > 0
    assert metrics["without_result"] == finished.manifest.counts["numbers"]["multiple_of_seven"]


def spoiling(table: pa.Table, database: str) -> pa.Table:
    Path(database).write_bytes(b"nothing that a database would hold")
    return doubled(table)


def test_a_store_that_falls_silent_stops_no_work(
    ray_cluster: None, mlflow_uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database = mlflow_uri.removeprefix("sqlite:///")
    job = numbers_job(Config(), first=Step(spoiling, {"database": database}))
    finished = run_stage(job, str(tmp_path / "out"), tracking=Tracking(mlflow_uri, "watched"))
    assert finished.manifest.rows["numbers"] == 200
    said = capsys.readouterr().err
    assert said.count("goes on without MLflow") == 1 and "is damaged" in said and "wait in" in said
