"""Faces of every size, cut off by the photograph's edge, lying on their side, small in a large photograph: found,
measured, refused.
"""

import csv
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import twfer_dist
from twfer_dist.core import schema
from twfer_dist.core.crop import compose_affine, crop_matrix, quarter_turns, warp_crop
from twfer_dist.core.landmarks import apply_affine
from twfer_dist.core.status import LOW_QUALITY, NO_FACE, OK
from twfer_dist.corpus.corpus import open_corpus
from twfer_dist.faces import detector, detector_models
from twfer_dist.faces.decode import decode
from twfer_dist.faces.detector import Detector
from twfer_dist.faces.stage import FaceFinder, FacesConfig
from twfer_dist.measurement.analyzer import SHIPPED

TW58 = Path(twfer_dist.__file__).parent / "demo" / "tw58"
HEADS = [f"expressions58-{figure:05d}-0-{state:02d}.jpg" for figure, state in ((3, 0), (11, 3), (20, 6), (35, 5))]
SIZES = (40, 48, 64, 100, 112, 300)
BOUNDS = {40: 0.4, 48: 0.3, 64: 0.2, 100: 0.15, 112: 0.15, 300: 0.15}
"""How far the 17 Action Units may be, on average, from what is measured on the same head's aligned crop of 300
pixels.
"""


@pytest.fixture(scope="module")
def heads() -> list[tuple[np.ndarray, np.ndarray]]:
    """Rendered heads, RGB, each with its true points."""
    with (TW58 / "landmarks.csv").open(encoding="utf-8") as file:
        rows = {Path(row["path"]).name: row for row in csv.DictReader(file)}
    found = []
    for name in HEADS:
        picture = np.array(Image.open(TW58 / "photographs" / name).convert("RGB"))
        found.append(
            (picture, np.array([(float(rows[name][f"x_{k}"]), float(rows[name][f"y_{k}"])) for k in range(68)]) - 0.5)
        )
    return found


def box_of(points: np.ndarray) -> np.ndarray:
    return np.concatenate([points.min(0), np.ptp(points, axis=0)])


def looked_at(
    folder: Path, pictures: dict[str, np.ndarray], *, given: list[float] | None = None, **settings: Any
) -> tuple[dict, dict]:
    """The photographs and the faces (of each photograph, in order) that the stage makes of pictures."""
    folder.mkdir(exist_ok=True)
    for name, picture in pictures.items():
        Image.fromarray(picture).save(folder / name)
    corpus = open_corpus(str(folder))
    config = FacesConfig(**settings)
    finder = FaceFinder(
        {corpus.name: corpus.root}, config, None if config.aligned else detector_models.choose("centerface"), SHIPPED
    )
    place = schema.CORPUS.get_field_index("action_units")
    field = schema.CORPUS.field(place)
    tables = finder(corpus.table.set_column(place, field, pa.array([given] * len(corpus.table), field.type)))
    faces: dict[str, list[dict]] = {}
    for row in tables["faces"].to_pylist():
        faces.setdefault(row["path"], []).append(row)
    return {row["path"]: row for row in tables["photographs"].to_pylist()}, faces


@pytest.fixture(scope="module")
def aligned(
    heads: list[tuple[np.ndarray, np.ndarray]], tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[int, int, str], dict]:
    """Two heads as aligned crops of every size, square, tall and wide; each row with how far its points are off."""
    pictures, truth = {}, {}
    for number, (picture, points) in enumerate(heads[:2]):
        for size in SIZES:
            matrix = crop_matrix(box_of(points), size)
            square, margin = warp_crop(picture, matrix, size), size // 16
            shapes = {"square": (0, 0), "tall": (margin, 0), "wide": (0, margin)}
            for shape, (x, y) in shapes.items():
                pictures[f"{number}-{size}-{shape}.png"] = np.ascontiguousarray(square[y : size - y, x : size - x])
                truth[number, size, shape] = apply_affine(points, matrix) - (x, y)
    _, faces = looked_at(tmp_path_factory.mktemp("sizes") / "aligned", pictures, aligned=True)
    found = {}
    for (number, size, shape), points in truth.items():
        (row,) = faces[f"{number}-{size}-{shape}.png"]
        span = np.linalg.norm(points[45] - points[36])
        found[number, size, shape] = row | {
            "off": np.linalg.norm(np.array(row["landmarks68"]) - points, axis=1).mean() / span
        }
    return found


@pytest.mark.parametrize("size", SIZES)
def test_an_aligned_face_measures_alike_at_every_size(aligned: dict[tuple[int, int, str], dict], size: int) -> None:
    for number in (0, 1):
        wanted = np.array(aligned[number, 300, "square"]["action_units"])
        for shape in ("square", "tall", "wide"):
            row = aligned[number, size, shape]
            assert row["off"] < 0.05 and row["landmarks_predicted_nme"] < 0.03, (number, shape)
            assert np.abs(np.array(row["action_units"]) - wanted).mean() < BOUNDS[size], (number, shape)
            assert (
                row["width"] == row["height"] == len(decode(row["image"], 10**6).pixels) == min(size, 224)
                and row["note"] == ""
            )


def test_a_detected_face_measures_as_the_aligned_one(
    heads: list[tuple[np.ndarray, np.ndarray]], aligned: dict[tuple[int, int, str], dict], tmp_path: Path
) -> None:
    picture, points = heads[0]
    sizes = (40, 64, 112, 300)
    shrunk = {}
    for size in sizes:  # the face as large as in the aligned crop of that size
        scale = size * 0.8 / box_of(points)[2:].max()
        interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        shrunk[f"{size}.png"] = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=interpolation)
    _, faces = looked_at(tmp_path / "detected", shrunk)
    wanted = np.array(aligned[0, 300, "square"]["action_units"])
    for size in sizes:
        (row,) = faces[f"{size}.png"]
        assert row["status"] == OK
        assert np.abs(np.array(row["action_units"]) - wanted).mean() < BOUNDS[size], size


def test_an_aligned_picture_without_sure_points_has_no_numbers(
    heads: list[tuple[np.ndarray, np.ndarray]], tmp_path: Path
) -> None:
    noise = np.random.default_rng(3).integers(0, 255, (100, 100, 3), np.uint8)
    picture, points = heads[0]
    lower = picture[int(points[36:48, 1].max()) + 4 :]  # below the eyes
    pictures = {"noise.png": noise, "lower.png": np.ascontiguousarray(lower)}
    _, faces = looked_at(tmp_path / "a", pictures, aligned=True)
    for name, words in (
        ("noise.png", "No Action Units are given. The face's points are uncertain"),
        ("lower.png", "cuts off the brows and the eyes"),
    ):
        (row,) = faces[name]
        assert row["status"] == OK and row["error"] == "" and row["image"] and words in row["note"]
        assert (row["action_units"], row["action_units_from"], row["action_units_half_width_90"]) == (None, None, None)
        assert len(row["landmarks68"]) == 68
    _, taken = looked_at(tmp_path / "a", {"noise.png": noise}, aligned=True, gate=None)
    assert taken["noise.png"][0]["action_units"] and taken["noise.png"][0]["note"] == ""
    _, known = looked_at(tmp_path / "a", {"noise.png": noise}, aligned=True, given=[1.0] * 17)
    assert known["noise.png"][0]["action_units"] == [1.0] * 17 and known["noise.png"][0]["note"] == ""


def test_a_face_that_the_edge_cuts_off_is_refused(heads: list[tuple[np.ndarray, np.ndarray]], tmp_path: Path) -> None:
    picture, points = heads[0]
    eyes, mouth = int(points[36:48, 1].max()) + 4, int(points[48:68, 1].min()) - 4
    pieces = {
        "whole.png": picture,
        "chin at the edge.png": picture[: int(points[8, 1]) + 4],
        "no eyes.png": picture[eyes:],
        "no mouth.png": picture[:mouth],
        "half.png": picture[:, int(points[30, 0]) :],
    }
    _, faces = looked_at(tmp_path / "cut", {name: np.ascontiguousarray(piece) for name, piece in pieces.items()})
    rows = {name: row for name, (row,) in faces.items()}
    assert [rows[name]["status"] for name in pieces] == [OK, OK, LOW_QUALITY, LOW_QUALITY, LOW_QUALITY]
    for name, missing in (
        ("no eyes.png", "the brows and the eyes"),
        ("no mouth.png", "the mouth and the chin"),
        ("half.png", "one eye"),
    ):
        words = rows[name]["error"]
        assert (
            words.startswith(f"{name}: The photograph cuts off ")
            and missing in words
            and words.endswith(" of the points lie outside it.")
        )


@pytest.mark.parametrize(("threshold", "turns"), [(None, (1, 2, 3)), (0.82, (1,))])
def test_a_face_on_its_side_is_read_upright(
    heads: list[tuple[np.ndarray, np.ndarray]], tmp_path: Path, threshold: float | None, turns: tuple[int, ...]
) -> None:
    """Also where the detector finds nothing at all before the photograph is turned (a high threshold)."""
    picture = heads[0][0]
    height, width = picture.shape[:2]
    turned = {f"{number}.png": np.ascontiguousarray(np.rot90(picture[:, :-20], number)) for number in (0, *turns)}
    photographs, faces = looked_at(tmp_path / "turned", turned, threshold=threshold)
    (upright,) = faces["0.png"]
    for number in turns:
        (row,) = faces[f"{number}.png"]
        words = ("", "90 degrees clockwise", "180 degrees", "90 degrees counter-clockwise")[number]
        assert row["status"] == OK and words in row["note"] and photographs[f"{number}.png"]["faces"] == 1
        there = apply_affine(np.array(upright["landmarks68"]), quarter_turns(number, width - 20, height))
        assert np.abs(np.array(row["landmarks68"]) - there).max() < 3
        assert np.abs(np.array(row["action_units"]) - upright["action_units"]).mean() < 0.15
        roll = (row["pose"][2] - upright["pose"][2] - 90 * number + 180) % 360 - 180
        assert abs(roll) < 3
        assert (
            np.abs(decode(row["image"], 10**6).pixels.astype(int) - decode(upright["image"], 10**6).pixels).mean() < 4
        )
        x, y = np.array(row["box"][:2]) + np.array(row["box"][2:]) / 2 - there.mean(0)
        assert np.hypot(x, y) < 40
    assert upright["note"] == ""


def test_quarter_turns_are_those_of_the_pixels() -> None:
    picture = np.zeros((5, 7), np.uint8)
    picture[1, 4] = 255
    for number in range(4):
        x, y = apply_affine(np.array([4.0, 1.0]), quarter_turns(number, 7, 5))
        assert np.rot90(picture, number)[round(y), round(x)] == 255
    twice = compose_affine(quarter_turns(3, 5, 7), quarter_turns(1, 7, 5))
    np.testing.assert_array_equal(twice, np.eye(2, 3))


def crowd(heads: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """A photograph of 2100 x 1400 pixels with eight heads of 100 pixels, and where each begins."""
    page = np.full((1400, 2100, 3), 120, np.uint8)
    places = [(50 + 480 * (k % 4) + 31 * k, 200 + 600 * (k // 4) + 53 * k) for k in range(8)]
    for number, (x, y) in enumerate(places):
        page[y : y + 100, x : x + 100] = cv2.resize(
            heads[number % len(heads)][0], (100, 100), interpolation=cv2.INTER_AREA
        )
    return page, places


def test_small_faces_in_a_large_photograph_are_found(
    heads: list[tuple[np.ndarray, np.ndarray]], tmp_path: Path
) -> None:
    page, places = crowd(heads)
    sought = Detector(detector_models.choose("centerface"), 224)
    assert len(sought(page)) == 0
    photographs, faces = looked_at(
        tmp_path / "large", {"a.bmp": page, "b.bmp": np.full_like(page, 90)}, side=224, keep="all"
    )
    assert photographs["a.bmp"]["faces"] == len(faces["a.bmp"]) == len(places)
    for x, y in places:
        inside = [
            row
            for row in faces["a.bmp"]
            if x < row["box"][0] + row["box"][2] / 2 < x + 100 and y < row["box"][1] < y + 100
        ]
        assert len(inside) == 1, (x, y)
    assert photographs["b.bmp"]["status"] == NO_FACE
    assert photographs["b.bmp"]["error"].endswith(
        " finds no face of about 36 pixels or more in this photograph of 2100 x 1400 pixels."
    )
    _, largest = looked_at(tmp_path / "large", {"a.bmp": page}, side=224)
    assert len(largest["a.bmp"]) == 1


@pytest.mark.parametrize(("height", "width"), [(4000, 6000), (30, 20000), (9000, 9000), (700, 900), (1, 5000)])
def test_tiles_show_every_place_whole_and_are_few(height: int, width: int) -> None:
    sought = Detector(detector_models.choose("centerface"))
    number = 0
    for scale in sought._closer(height, width):
        for length in (round(height * scale), round(width * scale)):
            starts = sought._starts(length)
            assert starts[0] == 0 and starts[-1] + 640 >= length
            assert all(
                after - before <= 640 - 78 for before, after in zip(starts, starts[1:], strict=False)
            )  # what lies between is whole
        number += len(sought._starts(round(height * scale))) * len(sought._starts(round(width * scale)))
    assert number < 2 * detector._MOST_TILES
    assert (number == 0) == (max(height, width) <= 1280)


def test_a_face_in_two_tiles_is_one() -> None:
    boxes = np.array(
        [[10, 10, 40, 40, 0.7], [12, 11, 40, 41, 0.9], [13, 12, 20, 20, 0.8], [100, 10, 40, 40, 0.5]], np.float32
    )
    np.testing.assert_array_equal(detector._once(boxes), boxes[[1, 3]])


def test_pictures_of_odd_shapes_are_rows(tmp_path: Path) -> None:
    shapes = {"line.png": (1, 300), "column.png": (3000, 2), "strip.png": (20, 6000), "dot.png": (1, 1)}
    pictures = {
        name: np.random.default_rng(1).integers(0, 255, (*shape, 3), np.uint8) for name, shape in shapes.items()
    }
    photographs, _ = looked_at(tmp_path / "odd", pictures, smallest=1, side=64)
    assert {row["status"] for row in photographs.values()} <= {NO_FACE, OK}
    photographs, faces = looked_at(tmp_path / "odd", pictures, smallest=1, aligned=True)
    assert {row["status"] for row in photographs.values()} == {OK}
    for name, (row,) in faces.items():
        assert row["width"] == min(224, max(shapes[name])) and row["action_units"] is None, name
