"""Our network and MediaPipe's as analyzers of faces."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_head import mean_points, turned

from twfer_dist.core.crop import aligned_matrix
from twfer_dist.core.errors import UserError
from twfer_dist.core.landmarks import MIRRORED, apply_affine
from twfer_dist.measurement.analyzer import NetworkAnalyzer, open_analyzer
from twfer_dist.measurement.network import SIZE, FaceNetwork, predict_batch


def test_a_face_and_its_mirror_image_measure_alike() -> None:
    torch.manual_seed(0)
    network = FaceNetwork().eval()
    crops = torch.randint(0, 256, (3, SIZE, SIZE), dtype=torch.uint8)
    straight, mirror = predict_batch(network, crops), predict_batch(network, crops.flip(2))
    for name, value in vars(mirror.mirrored()).items():
        torch.testing.assert_close(value, getattr(straight, name), atol=2e-4, rtol=1e-4)
    assert (mirror.points - straight.points).abs().max() > 0.01


def test_points_are_in_pixels_of_the_photograph() -> None:
    """A network that always predicts the mean face: its points come back to the framing it was given, and the crop
    turns with them.
    """
    network = FaceNetwork().eval()
    mean = mean_points()
    even = (mean + (mean * (-1, 1))[list(MIRRORED)]) / 2  # a face is measured together with its mirror image
    with torch.no_grad():
        for parameter in (network.points.weight, network.points.bias):
            parameter.zero_()
        upright = apply_affine(even, aligned_matrix(even, SIZE))
        network.points.bias.copy_(torch.from_numpy((upright - SIZE / 2) / 10).flatten())
    analyzer = NetworkAnalyzer(network, np.ones(17, np.float32), "")
    picture = np.random.default_rng(0).integers(0, 255, (500, 400, 3), np.uint8)
    truth = turned(even, 15, 11, (210, 240))
    (face,) = analyzer.measure(picture, [aligned_matrix(truth, SIZE)])
    assert face is not None and face.half_width_90 is not None
    # Each pass may be off by half a pixel of the crop: the mean face is not exactly centred.
    np.testing.assert_allclose(face.points, truth, atol=3)
    assert face.pose[2] - network.pose.bias[2].item() * 20 == pytest.approx(-15, abs=15)
    assert (face.units >= 0).all() and (face.units <= 5).all() and (face.half_width_90 > 0).all()


def test_mediapipe_may_be_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    sentence = r"face_landmarker.task needs MediaPipe, .*: pip install 'twfer_dist\[mediapipe\]'"
    with pytest.raises(UserError, match=sentence):
        open_analyzer(str(tmp_path / "face_landmarker.task"))
