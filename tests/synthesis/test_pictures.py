"""Strips, GIFs, and faces pasted back into their photographs."""

import io
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageSequence
from synthesis_tables import png

from twfer_dist.core.crop import warp_crop
from twfer_dist.synthesis import pictures


def test_a_strip_has_a_row_for_each_expression() -> None:
    source = np.full((32, 32, 3), 10, np.uint8)
    frames = {1: [np.full_like(source, value) for value in (50, 90, 130)], 4: [np.full_like(source, 200)]}
    picture = pictures.strip(source, frames)
    assert picture.shape == (64, 5 * 32, 3)
    assert [picture[16, 32 * column + 16, 0] for column in (1, 2, 3, 4)] == [10, 50, 90, 130]
    assert [picture[48, 32 * column + 16, 0] for column in (1, 2, 3)] == [10, 200, 255]  # one level: the rest is white


def test_a_gif_goes_to_each_expression_and_back() -> None:
    source = np.full((16, 16, 3), 10, np.uint8)
    frames = {1: [np.full_like(source, 60), np.full_like(source, 120)], 2: [np.full_like(source, 200)]}
    with Image.open(io.BytesIO(pictures.gif(source, frames))) as picture:
        shades = [int(np.asarray(frame.convert("L")).mean()) for frame in ImageSequence.Iterator(picture)]
    assert shades == [10, 60, 120, 60, 10, 200, 10]


@pytest.fixture
def photograph() -> np.ndarray:
    return np.random.default_rng(0).integers(60, 200, (300, 400, 3), np.uint8)


TURN = 0.8 * np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
MATRIX = np.column_stack([TURN, np.array([48, 48]) - TURN @ (210, 120)]).astype(np.float32)
"""To the crop of a turned, small face at (210, 120)."""


def face_in(photograph: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
    """The face as a row of FACES, and its crop."""
    crop = cv2.warpAffine(photograph, MATRIX, (96, 96))
    image = png(cv2.cvtColor(crop, cv2.COLOR_RGB2BGR))
    return {"image": image, "crop_matrix": MATRIX.ravel().tolist(), "width": 96}, crop


def test_an_unchanged_face_leaves_the_photograph_as_it_is(photograph: np.ndarray) -> None:
    face, crop = face_in(photograph)
    assert (pictures.paste(photograph, face, crop) == photograph).all()


def test_a_change_in_the_crop_arrives_at_its_position(photograph: np.ndarray) -> None:
    face, crop = face_in(photograph)
    spotted = crop.astype(int)
    spotted[30:34, 60:64] += 40
    changed = pictures.paste(photograph, face, spotted.clip(0, 255).astype(np.uint8)).astype(int) - photograph
    row, column = np.nonzero(changed.sum(2) > 30)
    x, y = cv2.invertAffineTransform(MATRIX) @ (61.5, 31.5, 1)
    assert abs(column.mean() - x) < 1 and abs(row.mean() - y) < 1 and np.ptp(row) < 12


def test_a_change_stays_within_the_face(photograph: np.ndarray) -> None:
    face, crop = face_in(photograph)
    changed = pictures.paste(photograph, face, np.full_like(crop, 255)).astype(int) - photograph
    far = np.hypot(*(np.mgrid[0:300, 0:400] - np.array([120, 210])[:, None, None])) > 90
    assert (changed[far] == 0).all() and changed[115:125, 205:215].mean() > 50


def test_a_pasted_face_has_no_seam(photograph: np.ndarray) -> None:
    face, crop = face_in(photograph)
    face |= {"image": png(np.full_like(crop, 100))}
    pasted = pictures.paste(np.full_like(photograph, 100), face, np.full_like(crop, 255))
    assert np.abs(np.diff(pasted.astype(int), axis=1)).max() < 40  # of 155: the change fades out


def test_faces_are_cut_and_pasted_far_out_in_a_panorama(photograph: np.ndarray) -> None:
    """OpenCV warps no image with a side of 32,767 pixels or more."""
    face, crop = face_in(photograph)
    panorama = np.tile(photograph, (1, 100, 1))[:200]
    face |= {"crop_matrix": (MATRIX - np.column_stack([np.zeros((2, 2)), TURN @ (39_000, -50)])).ravel().tolist()}
    changed = pictures.paste(panorama, face, np.full_like(crop, 255)).astype(int) - panorama
    assert (changed[:, :39_000] == 0).all() and changed[65:75, 39_205:39_215].mean() > 50
    far, near = (np.array([[2, 0, -2 * left], [0, 2, 0]], np.float32) for left in (39_500, 300))
    assert (warp_crop(panorama, far, 56) == warp_crop(photograph, near, 56)).all()
