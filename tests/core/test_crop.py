"""Crops: where their matrices put every pixel, and faces that are brought upright."""

import cv2
import numpy as np
import pytest
from tiny_head import mean_points, turned

from twfer_dist.core.crop import (
    SPAN,
    aligned_matrix,
    compose_affine,
    crop_matrix,
    full_frame_matrix,
    quarter_turns,
    warp_crop,
)
from twfer_dist.core.landmarks import OUTER_EYE_CORNERS, apply_affine


def test_a_crop_is_where_its_matrix_says() -> None:
    row, column = np.mgrid[0:200, 0:240]
    ramps = np.stack([row, column, np.full_like(row, 7)], 2).astype(np.uint8)
    for scale, right, down in ((1.0, -20, -30), (0.31, -12.4, -9.7), (2.3, -100, -120.5), (0.5, 3, 5)):
        matrix = np.array([[scale, 0, right], [0, scale, down]], np.float32)
        crop = warp_crop(ramps, matrix, 56).astype(float)
        for value, shift, most in ((crop[:, 20, 0], down, 199), (crop[20, :, 1], right, 239)):
            expected = np.clip((np.arange(56) - shift) / scale, 0, most)
            near_edge = (expected < 4 / scale) | (expected > most - 4 / scale)
            assert np.abs(value - expected)[~near_edge].max() <= 1
            assert np.abs(value - expected).max() <= 3 / scale


@pytest.mark.parametrize("scale", [1.0, 0.2])
def test_a_turned_crop_is_where_its_matrix_says(scale: float) -> None:
    """Also where the photograph is much larger than the crop, which is averaged over areas first."""
    row, column = np.mgrid[0:600, 0:800].astype(np.float32)
    ramps = np.stack([row / 4, column / 4, np.full_like(row, 7)], 2).astype(np.uint8)
    angle = np.radians(25)
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = np.column_stack([linear, np.array([40, 40]) - linear @ (400, 300)])
    crop = warp_crop(ramps, matrix, 80)
    for position in ((40, 40), (20, 30), (60, 15)):
        x, y = apply_affine(np.array(position, float), cv2.invertAffineTransform(matrix))
        np.testing.assert_allclose(crop[position[1], position[0], :2], [y / 4, x / 4], atol=1.5)


def test_reducing_averages() -> None:
    chess = np.repeat((np.indices((400, 400)).sum(0) % 2 * 255)[..., None], 3, 2).astype(np.uint8)
    crop = warp_crop(chess, np.array([[0.2, 0, 0], [0, 0.2, 0]], np.float32), 80)
    assert np.abs(crop[2:-2, 2:-2].astype(int) - 127).max() <= 3


def test_a_crop_of_a_box_has_the_framing() -> None:
    photograph = np.zeros((500, 400, 3), np.uint8)
    photograph[200:300, 120:200] = 255
    crop = warp_crop(photograph, crop_matrix(np.array([120, 200, 80, 100]), 224), 224)[..., 0] > 127
    rows, columns = np.flatnonzero(crop.any(1)), np.flatnonzero(crop.any(0))
    assert abs(len(rows) - SPAN * 224) < 2 and abs(len(columns) - SPAN * 224 * 0.8) < 2
    assert abs(rows.mean() - 111.5) < 2 and abs(columns.mean() - 111.5) < 2


def test_an_aligned_photograph_is_its_own_crop() -> None:
    noise = np.random.default_rng(0).normal(0, 1, (240, 240, 3)).astype(np.float32)
    picture = np.clip(128 + 600 * cv2.GaussianBlur(noise, (0, 0), 5), 0, 255).astype(np.uint8)
    assert (warp_crop(picture, full_frame_matrix(picture, 240), 240) == picture).all()
    for size, interpolation in ((60, cv2.INTER_AREA), (480, cv2.INTER_CUBIC)):
        crop = warp_crop(picture, full_frame_matrix(picture, size), size).astype(int)
        assert np.abs(crop - cv2.resize(picture, (size, size), interpolation=interpolation))[2:-2, 2:-2].mean() < 3
    narrow = picture[:, 40:200]
    matrix = full_frame_matrix(narrow, 224)
    assert abs(matrix[0, 2] - (224 - 160 * 224 / 240) / 2) < 1
    filled = warp_crop(narrow, matrix, 224)
    assert (np.abs(filled[:, :30].astype(int) - filled[:, 29:30]) <= 1).all()  # the edge, repeated


def test_alignment_undoes_any_similarity_and_ignores_the_jaw() -> None:
    points = mean_points()
    straight = apply_affine(points, aligned_matrix(points, 224))
    dropped = points.copy()
    dropped[[*range(4, 13), *range(55, 60)], 1] += 4
    for moved in (turned(points, 30, 7.5, (400, 90)), turned(dropped, -20, 0.4, (-3, 8))):
        np.testing.assert_allclose(apply_affine(moved, aligned_matrix(moved, 224))[17:48], straight[17:48], atol=1e-3)
    assert np.ptp(straight, axis=0).max() / 224 == pytest.approx(SPAN, rel=0.1)
    across, down = np.diff(straight[list(OUTER_EYE_CORNERS)], axis=0)[0]
    assert abs(down / across) < 0.02  # the eyes are level


def test_quarter_turns_are_those_of_the_pixels() -> None:
    picture = np.zeros((5, 7), np.uint8)
    picture[1, 4] = 255
    for number in range(4):
        x, y = apply_affine(np.array([4.0, 1.0]), quarter_turns(number, 7, 5))
        assert np.rot90(picture, number)[round(y), round(x)] == 255
    np.testing.assert_array_equal(compose_affine(quarter_turns(3, 5, 7), quarter_turns(1, 7, 5)), np.eye(2, 3))
