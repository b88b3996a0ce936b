"""One small study that many tests look at, and its report."""

import pytest
import report_pages
import study_tables
from study_tables import World

from twfer_dist.engine.artifact import Artifact


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return study_tables.make_world(str(tmp_path_factory.mktemp("world")))


@pytest.fixture(scope="session")
def report(world: World, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The report on everything in `world`."""
    return report_pages.write_report(world, str(tmp_path_factory.mktemp("report")))
