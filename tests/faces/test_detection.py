"""Faces that lie on their side, and small faces in large photographs."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from face_files import find_faces, seen

from twfer_dist.core.crop import quarter_turns
from twfer_dist.core.landmarks import apply_affine
from twfer_dist.core.status import NO_FACE, OK
from twfer_dist.faces.detector import Detector
from twfer_dist.faces.detector_models import choose

Heads = list[tuple[np.ndarray, np.ndarray]]


@pytest.mark.parametrize(("threshold", "turns"), [(None, (1, 2, 3)), (0.82, (1,))])
def test_a_face_on_its_side_is_read_upright(
    heads: Heads, tmp_path: Path, threshold: float | None, turns: tuple[int, ...]
) -> None:
    """Also where the detector finds nothing before the photograph is turned (a high threshold)."""
    picture = heads[0][0]
    height, width = picture.shape[:2]
    turned = {f"{number}.png": np.ascontiguousarray(np.rot90(picture[:, :-20], number)) for number in (0, *turns)}
    photographs, faces = find_faces(tmp_path / "turned", turned, threshold=threshold)
    (upright,) = faces["0.png"]
    for number in turns:
        (row,) = faces[f"{number}.png"]
        note = ("", "90 degrees clockwise", "180 degrees", "90 degrees counter-clockwise")[number]
        assert row["status"] == OK and note in row["note"] and photographs[f"{number}.png"]["faces"] == 1
        expected = apply_affine(np.array(upright["landmarks68"]), quarter_turns(number, width - 20, height))
        assert np.abs(np.array(row["landmarks68"]) - expected).max() < 3
        assert np.abs(np.array(row["action_units"]) - upright["action_units"]).mean() < 0.15
        assert abs((row["pose"][2] - upright["pose"][2] - 90 * number + 180) % 360 - 180) < 3
        assert np.abs(seen(row["image"]).astype(int) - seen(upright["image"])).mean() < 4
        x, y = np.array(row["box"][:2]) + np.array(row["box"][2:]) / 2 - expected.mean(0)
        assert np.hypot(x, y) < 40
    assert upright["note"] == ""


def test_small_faces_in_a_large_photograph_are_found(heads: Heads, tmp_path: Path) -> None:
    page = np.full((1400, 2100, 3), 120, np.uint8)
    corners = [(50 + 480 * (k % 4) + 31 * k, 200 + 600 * (k // 4) + 53 * k) for k in range(8)]
    for number, (x, y) in enumerate(corners):
        head = heads[number % len(heads)][0]
        page[y : y + 100, x : x + 100] = cv2.resize(head, (100, 100), interpolation=cv2.INTER_AREA)
    assert len(Detector(choose("centerface"), 224)(page)) == 0
    pictures = {"a.bmp": page, "b.bmp": np.full_like(page, 90)}
    photographs, faces = find_faces(tmp_path / "large", pictures, side=224, keep="all")
    assert photographs["a.bmp"]["faces"] == len(faces["a.bmp"]) == len(corners)
    for x, y in corners:
        boxes = [row["box"] for row in faces["a.bmp"]]
        assert sum(x < box[0] + box[2] / 2 < x + 100 and y < box[1] < y + 100 for box in boxes) == 1, (x, y)
    assert photographs["b.bmp"]["status"] == NO_FACE
    sentence = " found no face of about 36 pixels or larger in 2100 x 1400 pixels."
    assert photographs["b.bmp"]["error"].endswith(sentence)
    _, largest = find_faces(tmp_path / "large", {"a.bmp": page}, side=224)
    assert len(largest["a.bmp"]) == 1
