"""The progress of a stage in MLflow, which must never stop the work."""

from pathlib import Path

import pyarrow as pa
import pytest
from engine_stages import Config, doubled, numbers_spec

from twfer_dist.engine import log
from twfer_dist.engine.shards import Step
from twfer_dist.engine.stage import run_stage
from twfer_dist.engine.tracking import Tracking


def test_mlflow_gets_the_figures_of_the_progress_line(ray_cluster: None, mlflow_uri: str, tmp_path: Path) -> None:
    tracking = Tracking(mlflow_uri, "tracked")
    output = run_stage(numbers_spec(Config()), str(tmp_path / "out"), tracking=tracking)
    assert run_stage(numbers_spec(Config()), str(tmp_path / "out"), tracking=tracking).build_id == output.build_id
    (run,) = tracking.client.search_runs([tracking.experiment_id()])  # the second start has no run
    assert run.info.status == "FINISHED" and run.info.run_name == output.name
    assert run.data.tags["fingerprint"] == output.manifest.fingerprint and run.data.params["add"] == "1"
    metrics = run.data.metrics
    assert (metrics["done"], metrics["seconds_left"]) == (200, 0) and metrics["per_second"] > 0
    assert metrics["without_result"] == output.manifest.counts["numbers"]["multiple_of_seven"]


def spoil_database(table: pa.Table, database: str) -> pa.Table:
    Path(database).write_bytes(b"nothing that a database would hold")
    return doubled(table)


def test_a_store_that_breaks_during_the_work_stops_nothing(
    ray_cluster: None, mlflow_uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log.configure()
    database = mlflow_uri.removeprefix("sqlite:///")
    spec = numbers_spec(Config(), first=Step(spoil_database, {"database": database}))
    output = run_stage(spec, str(tmp_path / "out"), tracking=Tracking(mlflow_uri, "tracked"))
    assert output.manifest.rows["numbers"] == 200
    lines = capsys.readouterr().err
    assert lines.count("continues without MLflow") == 1 and "is damaged" in lines and "are kept in" in lines
