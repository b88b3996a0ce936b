"""Rendered heads, and a network trained on them, that the tests of the measurement room share."""

import shutil
from pathlib import Path

import pytest
from tiny_head import rendered as render

from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.stage import run_stage
from twfer_dist.engine.tracking import Tracking
from twfer_dist.measurement.train_stage import face_network_spec
from twfer_dist.measurement.training import MeasuringConfig
from twfer_dist.rendering.plan import ClayConfig


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """48 heads of 12 figures with arbitrary Action Units, each in two scenes and two states."""
    config = ClayConfig(
        plan="units", figures=12, scenes=2, states=2, size=64, framing="loose", materials=("terracotta", "skin")
    )
    return render(str(tmp_path_factory.mktemp("heads")), config)


@pytest.fixture(scope="session")
def trained(rendered: Artifact, migrated_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A network that measures faces, trained for six steps; its test heads are the training heads."""
    out = tmp_path_factory.mktemp("trained")
    shutil.copy(migrated_database, out / "mlflow.db")
    tracking = Tracking(f"sqlite:///{out}/mlflow.db", "faces")
    config = MeasuringConfig(steps=6, batch=8, held_out=0.3)
    return run_stage(face_network_spec([rendered], config, tracking, tests=[rendered]), str(out), quiet=True)
