"""What the stage's worker measures: points, Action Units, upright crops, and faces that the gate refuses."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from face_files import TW58, find_faces, malformed, seen, true_points, truth
from PIL import Image

from twfer_dist.core import contact_sheet, schema
from twfer_dist.core.crop import crop_matrix, warp_crop
from twfer_dist.core.images import encode_jpeg
from twfer_dist.core.landmarks import BOTH_EYES, CHIN, MOUTH, OUTER_EYE_CORNERS, apply_affine, interocular_distance
from twfer_dist.core.status import LOW_QUALITY, NO_FACE, OK, TOO_SMALL
from twfer_dist.faces import detector_models

Heads = list[tuple[np.ndarray, np.ndarray]]
Row = dict

FIGURES = [f"expressions58-{figure:05d}-0-{state:02d}.jpg" for figure in (3, 11, 20) for state in (0, 3, 6)]
SIZES = (40, 48, 64, 100, 112, 300)
BOUNDS = {40: 0.4, 48: 0.3, 64: 0.2, 100: 0.15, 112: 0.15, 300: 0.15}
"""The largest mean difference of the 17 Action Units from those of the same head's aligned crop of 300 pixels."""


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Row]:
    """The faces of nine rendered heads, and of the first one turned, tiny and blurred."""
    pictures = {f"{name}.png": np.array(Image.open(TW58 / "photographs" / name)) for name in FIGURES}
    first = pictures[f"{FIGURES[0]}.png"]
    turned = Image.fromarray(first).rotate(25, Image.Resampling.BICUBIC, expand=True, fillcolor=(90, 90, 90))
    small = np.full((300, 300, 3), 90, np.uint8)
    small[120:176, 120:176] = cv2.resize(first, (56, 56), interpolation=cv2.INTER_AREA)
    pictures |= {"turned.png": np.array(turned), "small.png": small, "blurred.png": cv2.GaussianBlur(first, (0, 0), 8)}
    _, faces = find_faces(tmp_path_factory.mktemp("measured") / "few", pictures, size=112)
    return {name.removesuffix(".png"): row for name, (row,) in faces.items()}


def test_points_lie_on_the_features(measured: dict[str, Row]) -> None:
    known = truth("landmarks.csv")
    errors = []
    for name in FIGURES:
        points = true_points(known[name])
        off = np.linalg.norm(np.array(measured[name]["landmarks68"]) - points, axis=1).mean()
        errors.append(off / interocular_distance(points))
    assert np.mean(errors) < 0.05 and max(errors) < 0.1


def test_action_units_follow_the_true_ones(measured: dict[str, Row]) -> None:
    known = truth("action_units.csv")
    units = np.array([measured[name]["action_units"] for name in FIGURES])
    true = np.array([[float(value) for key, value in known[name].items() if key.endswith("_r")] for name in FIGURES])
    assert np.corrcoef(units.ravel(), true.ravel())[0, 1] > 0.7
    half_widths = np.array([measured[name]["action_units_half_width_90"] for name in FIGURES])
    assert (np.abs(units - true) <= half_widths).mean() > 0.7
    assert {measured[name]["action_units_from"] for name in FIGURES} == {"network"}


def test_a_turned_head_is_upright_in_its_crop(measured: dict[str, Row]) -> None:
    straight, turned = measured[FIGURES[0]], measured["turned"]
    assert turned["pose"][2] - straight["pose"][2] == pytest.approx(25, abs=6)
    crops = []
    for row in (straight, turned):
        eyes = np.array(row["landmarks68"])[list(OUTER_EYE_CORNERS)]
        across, down = np.diff(apply_affine(eyes, np.array(row["crop_matrix"]).reshape(2, 3)), axis=0)[0]
        assert abs(np.degrees(np.arctan2(down, across))) < 5
        crops.append(cv2.GaussianBlur(seen(row["image"]), (0, 0), 3).astype(float)[28:84, 28:84])
    assert np.corrcoef(crops[0].ravel(), crops[1].ravel())[0, 1] > 0.85


def test_refused_faces_are_kept_and_say_why(measured: dict[str, Row]) -> None:
    assert all(measured[name]["status"] == OK and measured[name]["error"] == "" for name in (*FIGURES, "turned"))
    assert measured["small"]["status"] == measured["blurred"]["status"] == LOW_QUALITY
    assert measured["small"]["error"].startswith("small.png: The face is too small: its eyes are 1")
    assert measured["blurred"]["error"].startswith("blurred.png: The face is too blurred")
    assert all(measured[name]["image"] and measured[name]["landmarks68"] for name in ("small", "blurred"))


def test_the_sheet_shows_every_face_and_frames_the_refused(measured: dict[str, Row]) -> None:
    import pyarrow as pa

    rows = list(measured.values())
    data = contact_sheet.sheet([pa.Table.from_pylist(rows, schema=schema.FACES)])
    assert data is not None and contact_sheet.sheet([]) is None
    sheet, tile = seen(data), contact_sheet.TILE
    assert sheet.shape == (tile + contact_sheet.CAPTION, contact_sheet.COLUMNS * tile, 3)
    for number, row in enumerate(rows):
        edge = sheet[1, number * tile + 20 : (number + 1) * tile - 20].mean(0)
        assert (edge[0] > edge[1] + 60) == (row["status"] == LOW_QUALITY), row["path"]


def test_what_the_corpus_knows_belongs_to_the_largest_face(heads: Heads, tmp_path: Path) -> None:
    page = np.concatenate(
        [heads[0][0], np.ascontiguousarray(heads[1][0][::2, ::2].repeat(2, 0)[: len(heads[0][0])])], 1
    )
    known = [float(k % 6) for k in range(17)]
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "manifest.csv").write_text("path,label\ntwo.png,anger\n")
    photographs, faces = find_faces(tmp_path / "two", {"two.png": page}, units=known, keep="all")
    large, small = faces["two.png"]
    assert photographs["two.png"]["faces"] == 2 and (large["rank"], small["rank"]) == (0, 1)
    assert (large["label"], small["label"]) == (6, None)
    assert (large["action_units"], large["action_units_from"]) == (known, "openface")
    assert large["action_units_half_width_90"] is None and len(large["landmarks68"]) == 68
    assert small["action_units_from"] == "network" and len(small["action_units_half_width_90"]) == 17


def test_measuring_and_the_gate_can_be_turned_off(heads: Heads, tmp_path: Path) -> None:
    blurred = {"a.png": cv2.GaussianBlur(heads[0][0], (0, 0), 8)}
    _, plain = find_faces(tmp_path / "a", blurred, measure=False)
    columns = ("landmarks68", "action_units", "pose", "landmarks_predicted_nme", "sharpness")
    _, accepted = find_faces(tmp_path / "a", blurred, gate=None)
    assert accepted["a.png"][0]["status"] == OK and accepted["a.png"][0]["landmarks68"]
    assert plain["a.png"][0]["status"] == OK and {plain["a.png"][0][key] for key in columns} == {None}


# Aligned photographs


@pytest.fixture(scope="module")
def aligned(heads: Heads, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, int, str], Row]:
    """Two heads as aligned crops of every size, square, tall and wide; each row with the error of its points."""
    pictures, points_of = {}, {}
    for number, (picture, points) in enumerate(heads[:2]):
        for size in SIZES:
            matrix = crop_matrix(np.concatenate([points.min(0), np.ptp(points, axis=0)]), size)
            square, margin = warp_crop(picture, matrix, size), size // 16
            for shape, (x, y) in {"square": (0, 0), "tall": (margin, 0), "wide": (0, margin)}.items():
                pictures[f"{number}-{size}-{shape}.png"] = np.ascontiguousarray(square[y : size - y, x : size - x])
                points_of[number, size, shape] = apply_affine(points, matrix) - (x, y)
    _, faces = find_faces(tmp_path_factory.mktemp("sizes") / "aligned", pictures, aligned=True)
    rows = {}
    for (number, size, shape), points in points_of.items():
        (row,) = faces[f"{number}-{size}-{shape}.png"]
        off = np.linalg.norm(np.array(row["landmarks68"]) - points, axis=1).mean()
        rows[number, size, shape] = row | {"off": off / interocular_distance(points)}
    return rows


@pytest.mark.parametrize("size", SIZES)
def test_an_aligned_face_measures_alike_at_every_size(aligned: dict[tuple[int, int, str], Row], size: int) -> None:
    for number in (0, 1):
        expected = np.array(aligned[number, 300, "square"]["action_units"])
        for shape in ("square", "tall", "wide"):
            row = aligned[number, size, shape]
            assert row["off"] < 0.05 and row["landmarks_predicted_nme"] < 0.03, (number, shape)
            assert np.abs(np.array(row["action_units"]) - expected).mean() < BOUNDS[size], (number, shape)
            assert row["width"] == row["height"] == len(seen(row["image"])) == min(size, 224) and row["note"] == ""


def test_a_detected_face_measures_as_the_aligned_one(
    heads: Heads, aligned: dict[tuple[int, int, str], Row], tmp_path: Path
) -> None:
    picture, points = heads[0]
    sizes, shrunk = (40, 64, 112, 300), {}
    for size in sizes:  # the face as large as in the aligned crop of that size
        scale = size * 0.8 / np.ptp(points, axis=0).max()
        interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        shrunk[f"{size}.png"] = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=interpolation)
    _, faces = find_faces(tmp_path / "detected", shrunk)
    expected = np.array(aligned[0, 300, "square"]["action_units"])
    for size in sizes:
        (row,) = faces[f"{size}.png"]
        assert row["status"] == OK
        assert np.abs(np.array(row["action_units"]) - expected).mean() < BOUNDS[size], size


def test_uncertain_points_of_an_aligned_face_give_no_units(heads: Heads, tmp_path: Path) -> None:
    noise = np.random.default_rng(3).integers(0, 255, (100, 100, 3), np.uint8)  # no detector finds a face here
    picture, points = heads[0]
    below_the_eyes = np.ascontiguousarray(picture[int(points[BOTH_EYES, 1].max()) + 4 :])
    pictures = {"noise.png": noise, "lower.png": below_the_eyes, "strip.png": noise[:10]}
    photographs, faces = find_faces(tmp_path / "a", pictures, aligned=True)
    for name, sentence in (
        ("noise.png", "No Action Units are given. The face's points are uncertain"),
        ("lower.png", "cuts off the brows and the eyes"),
    ):
        (row,) = faces[name]
        assert row["status"] == OK and row["error"] == "" and sentence in row["note"]
        assert (row["action_units"], row["action_units_from"], row["action_units_half_width_90"]) == (None, None, None)
        assert len(row["landmarks68"]) == 68
    (face,) = faces["noise.png"]
    assert (face["detector"], face["score"], face["width"], face["height"]) == ("aligned", None, 100, 100)
    assert face["box"] == [0, 0, 100, 100] and face["image"] == encode_jpeg(noise)
    assert photographs["strip.png"]["status"] == TOO_SMALL and "strip.png" not in faces
    _, ungated = find_faces(tmp_path / "a", {"noise.png": noise}, aligned=True, gate=None)
    assert ungated["noise.png"][0]["action_units"] and ungated["noise.png"][0]["note"] == ""
    _, known = find_faces(tmp_path / "a", {"noise.png": noise}, aligned=True, units=[1.0] * 17)
    assert known["noise.png"][0]["action_units"] == [1.0] * 17 and known["noise.png"][0]["note"] == ""


# Faces that are cut off, pictures of odd shapes, hidden faces


def test_a_face_cut_off_by_the_edge_is_refused(heads: Heads, tmp_path: Path) -> None:
    picture, points = heads[0]
    eyes, mouth = int(points[BOTH_EYES, 1].max()) + 4, int(points[MOUTH, 1].min()) - 4
    pieces = {
        "whole.png": picture,
        "chin at the edge.png": picture[: int(points[CHIN, 1]) + 4],
        "no eyes.png": picture[eyes:],
        "no mouth.png": picture[:mouth],
        "half.png": picture[:, int(points[30, 0]) :],
    }
    _, faces = find_faces(tmp_path / "cut", {name: np.ascontiguousarray(piece) for name, piece in pieces.items()})
    rows = {name: row for name, (row,) in faces.items()}
    assert [rows[name]["status"] for name in pieces] == [OK, OK, LOW_QUALITY, LOW_QUALITY, LOW_QUALITY]
    for name, missing in (
        ("no eyes.png", "the brows and the eyes"),
        ("no mouth.png", "the mouth and the chin"),
        ("half.png", "one eye"),
    ):
        error = rows[name]["error"]
        assert error.startswith(f"{name}: The photograph cuts off ") and missing in error
        assert error.endswith(" of the points lie outside it.")


def test_pictures_of_odd_shapes_are_rows(tmp_path: Path) -> None:
    shapes = {"line.png": (1, 300), "column.png": (3000, 2), "strip.png": (20, 6000), "dot.png": (1, 1)}
    random = np.random.default_rng(1)
    pictures = {name: random.integers(0, 255, (*shape, 3), np.uint8) for name, shape in shapes.items()}
    photographs, _ = find_faces(tmp_path / "odd", pictures, smallest=1, side=64)
    assert {row["status"] for row in photographs.values()} <= {NO_FACE, OK}
    photographs, faces = find_faces(tmp_path / "odd", pictures, smallest=1, aligned=True)
    assert {row["status"] for row in photographs.values()} == {OK}
    for name, (row,) in faces.items():
        assert row["width"] == min(224, max(shapes[name])) and row["action_units"] is None, name


def test_a_face_behind_a_transparency_mask_is_found(tmp_path: Path) -> None:
    hidden = np.dstack([malformed("cmyk.jpg"), np.zeros((240, 240), np.uint8)])
    _, faces = find_faces(tmp_path / "hidden", {"hidden.png": hidden})
    assert faces["hidden.png"][0]["detector"] == detector_models.choose("centerface").identity
