"""The head model, Action Units, the renderer, and rendered corpora."""

import csv
import dataclasses
from collections import Counter
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_head import tiny_head

from twfer_dist.core import schema
from twfer_dist.core.crop import SPAN
from twfer_dist.core.errors import UserError
from twfer_dist.core.prototypes import prototype
from twfer_dist.core.status import OK
from twfer_dist.core.taxonomy import ACTION_UNITS, EXPRESSIONS, NEUTRAL
from twfer_dist.corpus.corpus import open_corpus
from twfer_dist.corpus.votes import label_from_votes, parse_votes
from twfer_dist.engine import artifact
from twfer_dist.engine.stage import run_stage
from twfer_dist.rendering import plan
from twfer_dist.rendering.annotators import ANNOTATORS, evidence, votes
from twfer_dist.rendering.dress import EYES, FACIAL_HAIR, HEADGEAR, Dress
from twfer_dist.rendering.facs import GAINS, free, performed, possible, shape_weights
from twfer_dist.rendering.figure import Workshop
from twfer_dist.rendering.head import EXPRESSION_SHAPES, LANDMARKS_68, PARTS, load_head, make_head, save_head
from twfer_dist.rendering.material import MATERIALS
from twfer_dist.rendering.plan import ClayConfig
from twfer_dist.rendering.raster import rasterise
from twfer_dist.rendering.render import draw, project
from twfer_dist.rendering.stage import Studio, make_corpora, rendered_job

NO_FOLDS = np.zeros(17, np.float32)
DEMO = Path(str(resources.files("twfer_dist") / "demo"))


@pytest.fixture(scope="module")
def workshop() -> Workshop:
    return Workshop(tiny_head())


@pytest.fixture(scope="module")
def head_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    place = tmp_path_factory.mktemp("head") / "head.npz"
    save_head(tiny_head(), str(place))
    return str(place)


# Head model


def test_a_head_file_is_read_as_it_was_written(head_file: str) -> None:
    head, read = tiny_head(), load_head(head_file)
    for field in dataclasses.fields(head):
        np.testing.assert_array_equal(getattr(read, field.name), getattr(head, field.name))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"neutral_vertices": np.zeros((5, 3), np.float32)}, "has shape"),
        ({"landmarks_68": np.full(68, 10**6, np.int32)}, "points outside"),
        ({"landmarks_68": np.full(67, 1, np.int32)}, r"expected \(68,\)"),
        ({"identity_deltas": None}, "no array 'identity_deltas'"),
    ],
)
def test_a_wrong_head_file_is_one_sentence(tmp_path: Path, change: dict, sentence: str) -> None:
    arrays = {f.name: getattr(tiny_head(), f.name) for f in dataclasses.fields(tiny_head())} | change
    np.savez(tmp_path / "head.npz", **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(UserError, match=sentence):
        load_head(str(tmp_path / "head.npz"))


def test_a_file_that_is_no_head_and_a_missing_one(tmp_path: Path) -> None:
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


# Action Units


def test_every_unit_moves_shapes_in_proportion() -> None:
    names = np.array(EXPRESSION_SHAPES)
    assert tuple(GAINS) == ACTION_UNITS
    for index in range(len(ACTION_UNITS)):
        units = np.zeros(17, np.float32)
        units[index] = 5
        full = shape_weights(units, names)
        assert full.max() > 0.2
        np.testing.assert_allclose(shape_weights(units * 0.4, names), full * 0.4, rtol=1e-5)


def test_units_are_possible_together() -> None:
    for seed in range(200):
        units = free(np.random.default_rng(seed))
        assert units.dtype == np.float32 and units.min() >= 0 and units.max() <= 5
        assert units[ACTION_UNITS.index("AU25")] >= 0.8 * units[ACTION_UNITS.index("AU26")] - 1e-6
    both = np.zeros(17)
    both[[ACTION_UNITS.index("AU05"), ACTION_UNITS.index("AU45")]] = 4, 3
    assert possible(both)[ACTION_UNITS.index("AU45")] == 1


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_is_nearest_to_its_own_prototype(expression: str) -> None:
    assert EXPRESSIONS[int(evidence(prototype(expression)).argmax())] == expression
    rng = np.random.default_rng(1)
    assert not performed(expression, 0, rng).any()
    assert (
        sum(EXPRESSIONS[int(evidence(performed(expression, 1, rng)).argmax())] == expression for _ in range(50)) >= 45
    )


def test_annotators_agree_on_strong_expressions_and_not_on_weak_ones() -> None:
    def agreement(intensity: float) -> float:
        rng = np.random.default_rng(2)
        shares = []
        for expression in EXPRESSIONS[:-1]:
            for _ in range(20):
                said = [one.split("+") for one in votes(performed(expression, intensity, rng), rng).split(";")]
                assert len(said) == ANNOTATORS and all(1 <= len(one) <= 3 and len(set(one)) == len(one) for one in said)
                shares.append(sum(expression in one for one in said) / ANNOTATORS)
        return float(np.mean(shares))

    assert agreement(1.0) > 0.9 > 0.65 > agreement(0.35) > 0.2


# Renderer


def test_the_nearer_triangle_is_seen_and_one_that_faces_away_is_not() -> None:
    far = [(0, 0, 1), (0, 8, 1), (8, 0, 1)]  # counter-clockwise with y up, as y points down here
    near = [(0, 0, 2), (0, 4, 2), (4, 0, 2)]
    points = np.array([*far, *near], np.float32)
    seen, which, weights = rasterise(points, np.array([[0, 1, 2], [3, 4, 5]], np.int32), 8)
    at = dict(zip(seen.tolist(), which.tolist(), strict=True))
    assert at[0] == 1 and at[6] == 0 and 63 not in at
    corners = points[np.array([[0, 1, 2], [3, 4, 5]])[which]]
    centres = np.einsum("pc,pcn->pn", weights, corners)[:, :2]
    np.testing.assert_allclose(centres, np.stack([seen % 8 + 0.5, seen // 8 + 0.5], 1), atol=1e-4)
    assert len(rasterise(points, np.array([[0, 2, 1]], np.int32), 8)[0]) == 0


def test_no_gap_between_neighbouring_triangles() -> None:
    rng = np.random.default_rng(3)
    inner = rng.uniform(3, 29, (1, 2)).astype(np.float32)
    square = np.array([(0, 0), (0, 32), (32, 32), (32, 0)], np.float32)
    points = np.column_stack([np.concatenate([square, inner]), np.zeros(5, np.float32)])
    fan = np.array([[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]], np.int32)
    assert len(rasterise(points, fan, 32)[0]) == 32 * 32


@pytest.mark.parametrize("headgear", HEADGEAR)
def test_every_headgear_and_material_can_be_drawn(workshop: Workshop, headgear: str) -> None:
    means = {}
    for number, material in enumerate(MATERIALS):
        config = ClayConfig(size=48, framing="portrait", materials=(material,))
        dress = Dress(headgear, ("armour", "robe", "bare")[number % 3], FACIAL_HAIR[number % 4], EYES[number % 3], True)
        figure = workshop.figure(dress, np.random.default_rng(4))
        scene = dataclasses.replace(plan.scene(config, "a"), ground=((0, 0, 0), (0, 0, 0)), noise=0.0)
        view = plan.view(config, "a", project(figure.vertices, scene.pose)[1][figure.landmarks])
        picture = draw(figure, figure.vertices, NO_FOLDS, scene, view, 48)
        assert picture.shape == (48, 48, 3) and picture.dtype == np.uint8
        assert picture[:2, :2].max() <= 1 and 0.12 < (picture.max(2) > 4).mean() < 0.9
        means[material] = picture[picture.max(2) > 4].mean()
    assert means["marble"] > means["terracotta"] > means["basalt"]


def test_a_crop_is_framed_by_the_neutral_face_and_points_follow_the_units(workshop: Workshop) -> None:
    config = ClayConfig(size=64)
    figure = workshop.figure(Dress("bald", "bare", "none", "blank", False), np.random.default_rng(5))
    scene = plan.scene(config, "b")
    neutral = project(figure.vertices, scene.pose)[1][figure.landmarks]
    view = plan.view(config, "b", neutral)

    def points(vertices: np.ndarray) -> np.ndarray:
        return project(vertices[figure.landmarks], scene.pose)[1] @ view[:, :2].T + view[:, 2]

    still = points(figure.vertices)
    assert np.ptp(still, axis=0).max() / 64 == pytest.approx(SPAN, rel=0.12)
    units = np.zeros(17, np.float32)
    units[ACTION_UNITS.index("AU26")] = 5
    dropped = points(workshop.posed(figure, shape_weights(units, workshop.head.expression_names)))
    assert dropped[66, 1] - still[66, 1] > 3 and abs(dropped[62, 1] - still[62, 1]) < 1
    units[:] = 0
    units[ACTION_UNITS.index("AU12")] = 5
    smile = points(workshop.posed(figure, shape_weights(units, workshop.head.expression_names)))
    assert smile[48, 1] < still[48, 1] - 0.5 and smile[54, 1] < still[54, 1] - 0.5
    changed = np.abs(
        draw(
            figure,
            workshop.posed(figure, shape_weights(units, workshop.head.expression_names)),
            NO_FOLDS,
            scene,
            view,
            64,
        ).astype(int)
        - draw(figure, figure.vertices, NO_FOLDS, scene, view, 64)
    )
    assert changed[36:58].max() > 8 and changed[:16].max() == 0  # nothing but the mouth has moved


# Plans


def test_plans_have_the_paper_s_shapes() -> None:
    expressions = plan.plan(ClayConfig(plan="expressions", figures=58, scenes=1)).to_pylist()
    assert len(expressions) == 58 * 7 and {
        Counter(r["label"] for r in expressions)[label] for label in range(1, 8)
    } == {58}
    assert {r["intensity"] for r in expressions if r["label"] == NEUTRAL} == {0}
    assert len({r["intensity"] for r in expressions if r["label"] == 1}) == len(plan.GRADES)
    postures = plan.plan(ClayConfig(plan="postures", scenes=1)).to_pylist()
    assert (
        Counter(r["posture"] for r in postures) == plan.POSTURE_FIGURES
        and len({r["figure_id"] for r in postures}) == 85
    )
    for shares in plan.POSTURE_EXPRESSIONS.values():
        assert sum(shares) == pytest.approx(1)


def test_the_pictures_of_a_scene_of_changes_differ_in_action_units_alone(workshop: Workshop) -> None:
    config = ClayConfig(plan="changes", figures=3, scenes=2, states=4)
    rows, names = plan.plan(config).to_pylist(), workshop.head.expression_names
    scenes = [rows[k : k + 4] for k in range(0, len(rows), 4)]
    for scene in scenes:
        assert len({row["scene"] for row in scene}) == 1 and scene[0]["label"] == NEUTRAL
        units, leans = zip(
            *(plan.action_units(config, r["image_id"], r["label"], r["intensity"]) for r in scene), strict=True
        )
        assert not units[0].any() and all(u.any() for u in units[1:]) and leans == (None,) * 4
        looks = [plan.incidental_shapes(config, row["image_id"], names) for row in scene]
        assert all((look == looks[0]).all() for look in looks)
    assert any(plan.incidental_shapes(config, scene[0]["image_id"], names).any() for scene in scenes)
    assert len({plan.scene(config, scene[0]["scene"]).clutter for scene in scenes}) > 1


def test_a_plan_does_not_depend_on_how_many_are_asked() -> None:
    few, many = (plan.plan(ClayConfig(figures=n)).to_pylist() for n in (2, 5))
    assert few == many[: len(few)]


@pytest.mark.parametrize(
    "wrong", [{"plan": "none"}, {"framing": "wide"}, {"materials": ("jade",)}, {"figures": 0}, {"size": 8}]
)
def test_a_config_that_cannot_be_rendered_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is"):
        ClayConfig(**wrong)


# The stage


def test_the_stage_renders_what_the_studio_renders(ray_cluster: None, head_file: str, tmp_path: Path) -> None:
    config = ClayConfig(figures=22, scenes=2, states=3, size=32)
    finished = run_stage(rendered_job(head_file, config), str(tmp_path), quiet=True)
    table = finished.table(".", schema.RENDERED)
    assert len(table) == 132 and set(table["status"].to_pylist()) == {OK}
    alone = Studio(head_file, config)(
        plan.plan(config).slice(117, 6)
    )  # across the border of two parts, from the middle of a scene on
    assert table.slice(117, 6).to_pylist() == alone.to_pylist()
    for first, second, third in zip(*(table.to_pylist()[k::3] for k in range(3)), strict=True):
        assert first["scene"] == second["scene"] == third["scene"] and first["pose"] == third["pose"]
        assert not any(first["action_units"]) and any(second["action_units"]) and first["label"] == NEUTRAL
        assert first["votes"] == ""
    assert len({row["image"] for row in table.to_pylist()[::3]}) == 44  # no two scenes look the same
    assert run_stage(rendered_job(head_file, config), str(tmp_path), quiet=True).build_id == finished.build_id


def test_another_head_or_another_seed_is_another_output(head_file: str, tmp_path: Path) -> None:
    other = str(tmp_path / "other.npz")
    save_head(dataclasses.replace(tiny_head(), uv=np.ones((1, 2), np.float32)), other)
    job = rendered_job(head_file, ClayConfig())
    assert (
        len(
            {
                job.fingerprint,
                rendered_job(other, ClayConfig()).fingerprint,
                rendered_job(head_file, ClayConfig(seed=1)).fingerprint,
            }
        )
        == 3
    )


def test_a_recipe_becomes_corpora_that_can_be_read(ray_cluster: None, head_file: str, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "corpora:\n  little: {plan: expressions, figures: 4, scenes: 1, size: 40, framing: portrait, materials: "
        "[marble]}\n"
    )
    (folder,) = make_corpora(str(recipe), head_file, str(tmp_path / "out"))
    corpus = open_corpus(folder)
    assert corpus.notes["photographs"] == 28 and corpus.notes["missing"] == 0 and corpus.notes["figures"] == 4
    rendered = {f"photographs/{row['image_id']}.jpg": row for row in _rendered(tmp_path / "out" / "rendered")}
    with (Path(folder) / "rendered.csv").open() as file:
        said = {row["path"]: row["expression"] for row in csv.DictReader(file)}
    with (Path(folder) / "action_units.csv").open() as file:
        units = {row.pop("path"): [float(value) for value in row.values()] for row in csv.DictReader(file)}
    for row in corpus.table.to_pylist():
        truth = rendered[row["path"]]
        np.testing.assert_allclose(units[row["path"]], truth["action_units"], atol=0.006)
        assert row["action_units"] is None  # the truth is no measurement: the faces stage measures
        assert (row["label"], row["label_rule"]) == label_from_votes(parse_votes(truth["votes"]))
        assert said[row["path"]] == EXPRESSIONS[truth["label"] - 1]
    points = list(csv.DictReader((Path(folder) / "landmarks.csv").open()))
    assert [float(points[0][f"y_{k}"]) for k in (0, 67)] == pytest.approx(
        [rendered[points[0]["path"]]["landmarks68"][k] for k in (1, 135)], abs=0.06
    )
    sheet = cv2.imread(str(tmp_path / "out" / "little.jpg"))
    assert sheet is not None and sheet.shape == (2 * 96, 14 * 96, 3)


def _rendered(folder: Path) -> list[dict]:
    (output,) = folder.iterdir()
    return artifact.open_artifact(str(output)).table(".", schema.RENDERED).to_pylist()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("corpora: []", "names no corpora"),
        ("corpora: {a: {sizes: 3}}", "'sizes' is not a setting"),
        ("corpora: {../a: {}}", "cannot be the name"),
        ("corpora: {a: {size: big}}", 'size is "big"; use a whole number, 16 to 1024'),
        ("corpora: {a: {plan: statues}}", 'plan is "statues".*Use pairs, changes'),
        ("corpora: {a: [", "is not YAML"),
    ],
)
def test_a_wrong_recipe_is_one_sentence(head_file: str, tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(UserError, match=sentence):
        make_corpora(str(tmp_path / "recipe.yaml"), head_file, str(tmp_path / "out"))


# What ships


def test_the_shipped_corpora_are_whole() -> None:
    tw58, postures = open_corpus(str(DEMO / "tw58")), open_corpus(str(DEMO / "postures"))
    assert (
        tw58.notes["photographs"],
        tw58.notes["figures"],
        tw58.notes["missing"],
        tw58.notes["images_not_named"],
    ) == (406, 58, 0, 0)
    assert tw58.notes["action_units"] == 0 and 0 < tw58.notes["ties_without_label"] < 25
    groups = [dict(row) for row in postures.table["groups"].to_pylist()]
    assert Counter(g["posture"] for g in groups) == plan.POSTURE_FIGURES
    assert postures.notes["missing"] == 0 and postures.notes["action_units"] == 0
    assert Counter(tw58.table["label"].to_pylist()).keys() >= set(range(1, 8))
    assert sum(file.stat().st_size for file in DEMO.rglob("*") if file.is_file()) < 10_000_000
    assert "USC Institute for Creative Technologies" in (DEMO / "LICENSE.ict-facekit").read_text()


@pytest.mark.parametrize("name", ["tw58", "postures"])
def test_the_points_of_the_shipped_corpora_lie_on_the_face(name: str) -> None:
    for row in csv.DictReader((DEMO / name / "landmarks.csv").open()):
        points = np.array([[float(row[f"x_{k}"]), float(row[f"y_{k}"])] for k in range(68)])
        assert points.min() > 0 and points.max() < 288
        assert points[36:48, 1].max() < points[48:, 1].min()  # eyes above mouth
