"""Measure faces: 68 points, 17 Action Units with intervals, and pose of any face that a detector has framed."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import nn

from twfer_dist.core import images
from twfer_dist.core.crop import aligned_matrix, warp_crop
from twfer_dist.core.landmarks import apply_affine, interocular_distance
from twfer_dist.core.taxonomy import ACTION_UNITS, MAX_INTENSITY
from twfer_dist.engine.config import package_path
from twfer_dist.measurement import checkpoint
from twfer_dist.measurement.face import Face, FaceAnalyzer, sharpness
from twfer_dist.measurement.network import SIZE, FaceNetwork, predict_batch
from twfer_dist.training import weights

WEIGHTS = "faces.safetensors"
SHIPPED = package_path("package:weights/faces.safetensors")

PASSES = 3
"""Of the network over a face: first in the detector's framing, then in crops aligned by the points of the last pass."""

_FACTORS = "interval_factors"


def open_analyzer(uri: str) -> FaceAnalyzer:
    """The model in a weights file of ours (`open_network`), or MediaPipe's Face Landmarker in its `.task` file."""
    if uri.endswith(".task"):
        from twfer_dist.measurement.mediapipe import MediaPipeAnalyzer

        return MediaPipeAnalyzer(uri)
    return open_network(uri)


@dataclass(frozen=True)
class NetworkAnalyzer:
    """Our network in inference mode, and the factors (17,) from a unit's scale to half of its 90 % interval."""

    network: FaceNetwork
    factors: np.ndarray
    sha256: str

    def measure(self, image: np.ndarray, framings: list[np.ndarray]) -> list[Face | None]:
        """See `FaceAnalyzer`. Faces are measured one at a time, so that no result depends on its neighbours."""
        return [self._measure_one(image, framing) for framing in framings]

    def _measure_one(self, image: np.ndarray, matrix: np.ndarray) -> Face:
        for number in range(PASSES):
            crop = images.to_grey(warp_crop(image, matrix, SIZE))
            prediction = predict_batch(self.network, torch.from_numpy(crop[None]))
            crop_points = prediction.points[0].numpy()
            points = apply_affine(crop_points, cv2.invertAffineTransform(matrix))
            if number < PASSES - 1:
                matrix = aligned_matrix(points, SIZE)
        eyes = interocular_distance(crop_points)
        pose = prediction.pose[0].numpy().copy()
        pose[2] = (pose[2] + np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])) + 180) % 360 - 180
        return Face(
            points=points.astype(np.float32),
            predicted_nme=float(prediction.point_scales[0].mean()) * 1.5 / max(eyes, 1.0),
            units=np.clip(prediction.units[0].numpy(), 0, MAX_INTENSITY),
            half_width_90=self.factors * prediction.unit_scales[0].numpy(),
            pose=pose,
            sharpness=sharpness(crop),
        )


def to_bytes(network: nn.Module, factors: np.ndarray, *, recipe: str) -> bytes:
    """The weights as `checkpoint.to_bytes` writes them, with the interval factors."""
    return checkpoint.to_bytes(network, recipe=recipe, extra={_FACTORS: torch.from_numpy(factors)})


def open_network(uri: str) -> NetworkAnalyzer:
    """The network in a file of `to_bytes`. UserError where the file is missing, damaged or of another model."""
    remedy = "name the weights of a network that measures faces, or leave it out"
    file = weights.read(uri, remedy)
    factors = file.tensors.pop(_FACTORS, torch.zeros(0)).numpy()
    network = FaceNetwork()
    has_factors = factors.shape == (len(ACTION_UNITS),)
    checkpoint.fill(network, file.tensors if has_factors else {}, uri, remedy)
    network.eval().to(memory_format=torch.channels_last)
    return NetworkAnalyzer(network, factors, file.sha256)
