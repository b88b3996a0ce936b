"""How far light and view alone change an Action Unit."""

import json
from pathlib import Path

import numpy as np
import pytest
from measured_faces import face, faces_output, units

from twfer_dist.core.taxonomy import ACTION_UNITS
from twfer_dist.measurement.analyzer import SHIPPED
from twfer_dist.study import repeatability
from twfer_dist.study.measured import read_measured
from twfer_dist.study.repeatability import Repeatability, deviations, repeatability_of


def test_deviations_are_those_that_made_the_pictures() -> None:
    random = np.random.default_rng(0)
    head, condition = (k.ravel() for k in np.meshgrid(np.arange(150), np.arange(120)))
    kept = random.random(len(head)) < 0.1  # most cells are missing
    head, condition = head[kept], condition[kept]
    values = random.normal(0, 0.7, 150)[head] + random.normal(0, 0.3, 120)[condition]
    values += random.normal(0, 0.5, len(head))
    found = deviations(values[:, None], head, condition)
    assert found["between"][0] == pytest.approx(0.7, abs=0.1)
    assert found["shared"][0] == pytest.approx(0.3, abs=0.06)
    assert found["single"][0] == pytest.approx(0.5, abs=0.03)


def test_the_limit_falls_to_what_all_faces_share() -> None:
    known = Repeatability("", 9, 81, {"AU12": 0.3}, {"AU12": 0.4}, {"AU12": 0.7})
    assert known.coefficient("AU12") == pytest.approx(1.96 * np.sqrt(2) * 0.5, rel=1e-4)
    assert known.limit("AU12", 10**6, 10**6) == pytest.approx(1.96 * np.sqrt(2) * 0.3, rel=1e-3)
    assert known.limit("AU12", 1, 10**6) > known.limit("AU12", 10, 10**6)


def test_it_is_known_for_the_network_that_ships_alone(tmp_path: Path) -> None:
    """After a change of the network, measure again with jobs/measure/measure_repeatability.py."""
    record = json.loads(Path(repeatability.FILE).read_text())
    assert record["network"] == json.loads(Path(SHIPPED).with_suffix(".json").read_text())["sha256"]

    def known(**changed: object) -> Repeatability | None:
        half_width = changed.pop("half_width", 0.2)
        outputs = [faces_output(tmp_path, [face("a", units(), half_width=half_width)], **changed)]  # type: ignore[arg-type]
        return repeatability_of(outputs, read_measured(outputs).sources)

    found = known()
    assert found and set(found.shared) == set(ACTION_UNITS)
    assert known(network="another") is None and known(half_width=None) is None
