"""The head model's file, and its conversion from ICT-FaceKit."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from tiny_head import tiny_head

from twfer_dist.core.errors import UserError
from twfer_dist.rendering.head import EXPRESSION_SHAPES, LANDMARKS_68, PARTS, load_head, make_head


def test_a_head_file_is_read_as_it_was_written(head_file: str) -> None:
    head, read = tiny_head(), load_head(head_file)
    for field in dataclasses.fields(head):
        np.testing.assert_array_equal(getattr(read, field.name), getattr(head, field.name))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"neutral_vertices": np.zeros((5, 3), np.float32)}, "has shape"),
        ({"landmarks_68": np.full(68, 10**6, np.int32)}, "indices outside"),
        ({"landmarks_68": np.full(67, 1, np.int32)}, r"expected \(68,\)"),
        ({"identity_deltas": None}, "array 'identity_deltas' is missing"),
    ],
)
def test_a_wrong_head_file_is_one_sentence(tmp_path: Path, change: dict, sentence: str) -> None:
    arrays = {f.name: getattr(tiny_head(), f.name) for f in dataclasses.fields(tiny_head())} | change
    np.savez(tmp_path / "head.npz", **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(UserError, match=sentence):
        load_head(str(tmp_path / "head.npz"))


def test_another_file_and_a_missing_one_are_refused(tmp_path: Path) -> None:
    (tmp_path / "head.npz").write_text("not an archive")
    with pytest.raises(UserError, match="is not a head model"):
        load_head(str(tmp_path / "head.npz"))
    with pytest.raises(UserError, match="does not exist"):
        load_head(str(tmp_path / "nothing.npz"))


def _write_distribution(folder: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A mesh of ICT-FaceKit's counts in its file format, one moved vertex a shape; its vertices and each shape's."""
    count, polygons = list(PARTS.values())[-1]
    rng = np.random.default_rng(0)
    neutral = rng.uniform(-10, 10, (count, 3)).round(3).astype(np.float32)
    corners = rng.integers(0, count, (polygons, 4))
    text = [
        "mtllib ICTFaceModelMaterial.mtl",
        *(f"v {x:.9f} {y:.9f} {z:.9f}" for x, y, z in neutral),
        "vt 0.25 0.5",
        "vt 1.5 0.75",
    ]
    for number, polygon in enumerate(corners):
        text.append(
            "f " + " ".join(f"{v + 1}/{1 + k % 2}/1" for k, v in enumerate(polygon[: 3 if number % 7 == 0 else 4]))
        )
    folder.mkdir()
    (folder / "generic_neutral_mesh.obj").write_text("\n".join(text))
    shapes = {}
    lines = text[1 : count + 1]
    for number, name in enumerate([*EXPRESSION_SHAPES, "identity000", "identity001"]):
        moved = neutral.copy()
        moved[number] += (1, 2, 3)
        changed = lines.copy()
        changed[number] = "v " + " ".join(f"{value:.9f}" for value in moved[number])
        (folder / f"{name}.obj").write_text("\n".join(changed))
        shapes[name] = moved
    return neutral, shapes


def test_the_public_distribution_becomes_a_head_file(tmp_path: Path) -> None:
    neutral, shapes = _write_distribution(tmp_path / "FaceXModel")
    make_head(str(tmp_path), str(tmp_path / "out" / "head.npz"))
    head = load_head(str(tmp_path / "out" / "head.npz"))
    np.testing.assert_array_equal(head.neutral_vertices, neutral)
    polygons = list(PARTS.values())[-1][1]
    triangles = len(range(0, polygons, 7))
    assert len(head.faces) == triangles + 2 * (polygons - triangles)
    assert head.identity_names.tolist() == ["identity000", "identity001"]
    for row, name in enumerate(EXPRESSION_SHAPES):
        np.testing.assert_allclose(neutral + head.expression_deltas[row], shapes[name], atol=2e-3)
    assert [str(head.part_names[head.vertex_part[v]]) for v in (0, 9409, 26718)] == [
        "face",
        "head_and_neck",
        "eyelashes_right",
    ]
    assert tuple(head.landmarks_68) == LANDMARKS_68
    (tmp_path / "FaceXModel" / "jawOpen.obj").unlink()
    with pytest.raises(UserError, match=r"jawOpen\.obj does not exist"):
        make_head(str(tmp_path), str(tmp_path / "again.npz"))


def test_another_mesh_is_refused(tmp_path: Path) -> None:
    (tmp_path / "generic_neutral_mesh.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nf 1/1 2/1 3/1\n")
    with pytest.raises(UserError, match="has 3 vertices and 1 polygons"):
        make_head(str(tmp_path), str(tmp_path / "head.npz"))


def test_a_file_without_a_template_refers_to_itself(tmp_path: Path) -> None:
    arrays = {f.name: getattr(tiny_head(), f.name) for f in dataclasses.fields(tiny_head())}
    del arrays["template_vertices"]
    np.savez(tmp_path / "head.npz", **arrays)
    np.testing.assert_array_equal(load_head(str(tmp_path / "head.npz")).template_vertices, arrays["neutral_vertices"])
