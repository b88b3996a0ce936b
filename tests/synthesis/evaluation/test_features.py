"""The perceptual distance."""

import torch

from twfer_dist.measurement.network import FaceNetwork
from twfer_dist.synthesis.evaluation.features import feature_distance


def test_feature_distance_is_large_where_pictures_differ(one_thread: None) -> None:
    torch.manual_seed(0)
    network = FaceNetwork().eval()
    a = torch.rand(2, 3, 96, 96) * 2 - 1
    b = a.clone()
    b[:, :, 20:40, 20:40] *= -1
    with torch.inference_mode():
        assert feature_distance(network, a, a).abs().max() < 1e-5
        distance = feature_distance(network, a, b)
    assert distance.shape == (2, 1, 96, 96)
    assert distance[:, :, 20:40, 20:40].mean() > 3 * distance[:, :, 70:, 70:].mean()
