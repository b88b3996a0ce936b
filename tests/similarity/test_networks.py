"""The networks that embed faces: what they are given, and what they refuse."""

from pathlib import Path

import numpy as np
import pytest
import tiny_onnx
import torch
from similarity_tables import picture

from twfer_dist.core.crop import _STILL_MEAN, SPAN, STILL
from twfer_dist.core.errors import UserError
from twfer_dist.core.landmarks import apply_affine
from twfer_dist.measurement import checkpoint, identity
from twfer_dist.similarity.networks import SHIPPED, NetworkFile, five_points, unit


@pytest.fixture(scope="module")
def onnx(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("onnx") / "face_recognition_tiny.onnx"
    path.write_bytes(tiny_onnx.colour_means())
    return str(path)


def points(side: int) -> np.ndarray:
    """68 points in a crop of `side` pixels, of which the five that matter are where faces have them."""
    spread = np.random.default_rng(0).uniform(0.2, 0.8, (68, 2))
    spread[36:42], spread[42:48] = (0.32, 0.27), (0.69, 0.27)
    spread[30], spread[48], spread[54] = (0.5, 0.45), (0.36, 0.64), (0.65, 0.64)
    return (side * spread).astype(np.float32)


def test_opencv_aligns_by_the_points(onnx: str) -> None:
    network = NetworkFile(onnx).open()
    assert network.name.startswith("face_recognition_tiny ")
    crop, where = picture(1), points(96)
    usual, measured = network.embed(crop, None), network.embed(crop, where)
    assert usual.shape == (48,) and usual.dtype == np.float32
    np.testing.assert_allclose(usual, measured, atol=3)
    turned, back = np.ascontiguousarray(np.rot90(crop)), np.array([[0, 1, 0], [-1, 0, 95]], np.float32)
    upright = network.embed(turned, apply_affine(where, back).astype(np.float32))
    np.testing.assert_allclose(upright, measured, atol=2)
    assert np.abs(network.embed(turned, None) - measured).mean() > 5


def test_five_points_are_eyes_nose_and_mouth() -> None:
    np.testing.assert_allclose(five_points(points(100)), [(32, 27), (69, 27), (50, 45), (36, 64), (65, 64)], atol=1e-4)


def test_the_identity_network_sees_the_aligned_face(tmp_path: Path) -> None:
    torch.manual_seed(0)
    file = tmp_path / "identity.safetensors"
    file.write_bytes(checkpoint.to_bytes(identity.IdentityNetwork(), recipe="none"))
    network = NetworkFile(str(file)).open()
    where, crop = points(96), picture(2)
    where[list(STILL)] = 96 * (0.5 + SPAN * _STILL_MEAN)
    small = np.ascontiguousarray(crop[4:92, 4:92])  # the same face, less of its surroundings
    whole = unit(network.embed(crop, where))
    aligned, framed = (float(whole @ unit(network.embed(small, points))) for points in (where - 4, None))
    assert aligned > 0.9 and aligned > framed
    assert network.name.startswith("identity network ")


def test_the_network_that_ships_embeds_a_face() -> None:
    vector = NetworkFile(SHIPPED).open().embed(picture(3), None)
    assert vector.shape == (128,) and np.linalg.norm(vector) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("broken.onnx", b"not a network", "is not a face-recognition network that OpenCV can run"),
        ("missing.onnx", None, "does not exist: name the weights"),
    ],
)
def test_a_wrong_file_is_one_sentence(name: str, data: bytes | None, words: str, tmp_path: Path) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=words):
        NetworkFile(str(tmp_path / name)).open()


def test_no_features_stay_none() -> None:
    assert not unit(np.zeros(3, np.float32)).any()
    assert np.linalg.norm(unit(np.array([3, 4], np.float32))) == pytest.approx(1)
