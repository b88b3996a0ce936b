"""A folder that not all nodes of a cluster see is found before any work."""

from pathlib import Path

import pytest

from twfer_dist.engine import shared_storage


def test_a_folder_that_all_nodes_see_is_shared(ray_cluster: None, tmp_path: Path) -> None:
    assert shared_storage.nodes_without(str(tmp_path)) == []
    assert list(tmp_path.iterdir()) == []


def test_nodes_that_see_another_folder_are_named(
    ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the node's own processes stay where it was started
    (blind,) = shared_storage.nodes_without("/proc/self/cwd")
    assert blind
