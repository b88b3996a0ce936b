"""A small head model for the tests of the renderer."""

import pytest
from tiny_head import tiny_head

from twfer_dist.rendering.figure import Workshop
from twfer_dist.rendering.head import save_head


@pytest.fixture(scope="session")
def workshop() -> Workshop:
    return Workshop(tiny_head())


@pytest.fixture(scope="session")
def head_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("head") / "head.npz"
    save_head(tiny_head(), str(path))
    return str(path)
