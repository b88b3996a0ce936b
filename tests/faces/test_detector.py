"""Detectors: the one face of a picture, the largest of several, and the tiles of large photographs."""

import cv2
import numpy as np
import pytest
from face_files import malformed

from twfer_dist.faces import detector
from twfer_dist.faces.detector import Detector
from twfer_dist.faces.detector_models import choose


@pytest.mark.parametrize("name", ["centerface", "haar"])
def test_a_detector_finds_the_one_face(name: str) -> None:
    model = Detector(choose(name))
    picture = malformed("exif_6.jpg")
    (face,) = model(picture)
    assert face.dtype == np.float32
    x, y, width, height = model.points_box(face[:4])
    # The picture is a frontal rendering: brows about a third down, chin at five sixths, face in the middle.
    assert abs(x + width / 2 - 110) < 12 and 55 < y < 100 and 175 < y + height < 230 and 80 < width < 160
    (large,) = model(cv2.resize(picture, None, fx=3, fy=3))
    assert np.abs(large[:4] / 3 - face[:4]).max() < 12
    page = np.full((300, 700, 3), 128, np.uint8)
    page[30:270, 400:620] = picture
    (moved,) = model(page)
    assert np.abs(moved[:4] - face[:4] - (400, 30, 0, 0)).max() < 24
    assert (model(picture)[0] == face).all()  # no result depends on the previous picture
    assert len(model(np.random.default_rng(5).integers(0, 255, (400, 300, 3), np.uint8))) == 0


def test_the_largest_face_comes_first() -> None:
    face, page = malformed("cmyk.jpg"), np.full((300, 500, 3), 128, np.uint8)
    page[20:140, 20:140] = cv2.resize(face, (120, 120), interpolation=cv2.INTER_AREA)
    page[30:270, 220:460] = face
    large, small = Detector(choose("centerface"))(page)
    assert large[0] > 220 and small[0] < 140 and large[2] > 1.7 * small[2]


@pytest.mark.parametrize(("height", "width"), [(4000, 6000), (30, 20000), (9000, 9000), (700, 900), (1, 5000)])
def test_tiles_are_few_and_cover_everything(height: int, width: int) -> None:
    model = Detector(choose("centerface"))
    number = 0
    for scale in model._tile_scales(height, width):
        for length in (round(height * scale), round(width * scale)):
            starts = model._tile_starts(length)
            assert starts[0] == 0 and starts[-1] + 640 >= length
            gaps = [after - before for before, after in zip(starts, starts[1:], strict=False)]
            assert all(gap <= 640 - 78 for gap in gaps)  # a face on an edge is whole in the next tile
        number += len(model._tile_starts(round(height * scale))) * len(model._tile_starts(round(width * scale)))
    assert number < 2 * detector._MAX_TILES
    assert (number == 0) == (max(height, width) <= 1280)


def test_a_face_in_two_tiles_is_one() -> None:
    boxes = np.array(
        [[10, 10, 40, 40, 0.7], [12, 11, 40, 41, 0.9], [13, 12, 20, 20, 0.8], [100, 10, 40, 40, 0.5]], np.float32
    )
    np.testing.assert_array_equal(detector._without_duplicates(boxes), boxes[[1, 3]])
