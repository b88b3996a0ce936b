"""The stage that measures rendered heads."""

import numpy as np
import pytest

from twfer_dist.core.schema import MEASURED, RENDERED
from twfer_dist.core.status import OK
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.stage import run_stage
from twfer_dist.measurement.analyzer import SHIPPED
from twfer_dist.measurement.stage import HeadMeasurer, MeasureConfig, measure_spec


@pytest.fixture(scope="module")
def measured(ray_cluster: None, rendered: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    spec = measure_spec(rendered, MeasureConfig(), actors=2)
    return run_stage(spec, str(tmp_path_factory.mktemp("measured")), quiet=True)


def test_every_head_is_measured_beside_its_truth(rendered: Artifact, measured: Artifact) -> None:
    heads = {row["image_id"]: row for row in rendered.table(".", RENDERED).to_pylist()}
    rows = measured.table(".", MEASURED).to_pylist()
    assert [row["image_id"] for row in rows] == sorted(heads)
    for row in rows:
        assert row["status"] == OK and row["action_units_rendered"] == heads[row["image_id"]]["action_units"]
        assert len(row["action_units"]) == len(row["action_units_half_width_90"]) == 17
        assert 0 <= min(row["action_units"]) and max(row["action_units"]) <= 5


def test_a_measurement_does_not_depend_on_its_neighbours(
    one_thread: None, rendered: Artifact, measured: Artifact
) -> None:
    heads = rendered.table(".", RENDERED).slice(7, 2)
    alone = HeadMeasurer(SHIPPED, MeasureConfig())(heads).to_pylist()
    assert alone == measured.table(".", MEASURED).slice(7, 2).to_pylist()


def test_another_seed_is_another_photograph(rendered: Artifact, measured: Artifact) -> None:
    heads = rendered.table(".", RENDERED).slice(0, 4)
    others = HeadMeasurer(SHIPPED, MeasureConfig(seed=1))(heads)
    one, other = (np.array(t["action_units"].to_pylist()) for t in (measured.table(".", MEASURED).slice(0, 4), others))
    assert np.abs(one - other).max() > 0.1
    assert measure_spec(rendered, MeasureConfig(seed=1)).fingerprint != measured.manifest.fingerprint
