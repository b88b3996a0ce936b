"""Measure faces: 68 points, 17 Action Units with intervals, and pose, of any face that a detector has framed."""

from dataclasses import dataclass
from typing import Protocol

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
from twfer_dist.measurement.network import SIZE, FaceNetwork, predict_batch
from twfer_dist.training import weights

WEIGHTS = "faces.safetensors"
SHIPPED = package_path("package:weights/faces.safetensors")

LOOKS = 3
"""How often the network looks at a face: first in the detector's framing, then in a crop aligned by the points of the
look before.
"""

_FACTORS = "interval_factors"
_LEAST_DEVIATION = 4.0  # of 255: an even wall has no edges to be sharp


@dataclass(frozen=True)
class Face:
    """One measured face."""

    points: np.ndarray  # float32 (68, 2), pixels of the picture
    matrix: np.ndarray  # float32 (2, 3), picture -> the upright crop of SIZE pixels that was read
    predicted_nme: (
        float  # how far its points are expected to be off, in distances between the outer corners of the eyes
    )
    units: np.ndarray  # float32 (17,), 0 to 5
    half_width_90: np.ndarray | None  # float32 (17,): half of each unit's 90 % interval; None where it is not known
    pose: np.ndarray  # float32 (3,): yaw, pitch, roll in degrees, of the picture
    sharpness: float  # of the aligned crop, see `sharpness`


class FaceAnalyzer(Protocol):
    """Whatever measures faces."""

    @property
    def sha256(self) -> str:
        """Of the file that it was opened from."""
        ...

    def measure(self, picture: np.ndarray, framings: list[np.ndarray]) -> list[Face | None]:
        """The faces of a picture (uint8 RGB); None for one that it does not see.

        framings: of each face, a matrix (2, 3) from the picture to a first crop of SIZE pixels (`framing.crop_matrix`).
        """
        ...


def open_analyzer(uri: str) -> FaceAnalyzer:
    """The network in a file of `to_bytes`, or MediaPipe's Face Landmarker in its `.task` file."""
    if uri.endswith(".task"):
        from twfer_dist.measurement.mediapipe import MediaPipeAnalyzer

        return MediaPipeAnalyzer(uri)
    return open_network(uri)


@dataclass(frozen=True)
class NetworkAnalyzer:
    """Our network in inference mode, and by how much a unit's scale is multiplied for its 90 % interval (17,)."""

    network: FaceNetwork
    factors: np.ndarray
    sha256: str

    def measure(self, picture: np.ndarray, framings: list[np.ndarray]) -> list[Face | None]:
        """See `FaceAnalyzer`. Each face by itself: what is found does not depend on its neighbours, to the last bit."""
        return [self._one(picture, framing) for framing in framings]

    def _one(self, picture: np.ndarray, matrix: np.ndarray) -> Face:
        for number in range(LOOKS):
            crop = images.to_grey(warp_crop(picture, matrix, SIZE))
            found = predict_batch(self.network, torch.from_numpy(crop[None]))
            seen = found.points[0].numpy()
            points = apply_affine(seen, cv2.invertAffineTransform(matrix))
            if number < LOOKS - 1:
                matrix = aligned_matrix(points, SIZE)
        eyes = interocular_distance(seen)
        pose = found.pose[0].numpy().copy()
        pose[2] = (pose[2] + np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])) + 180) % 360 - 180
        return Face(
            points=points.astype(np.float32),
            matrix=matrix,
            predicted_nme=float(found.point_scales[0].mean()) * 1.5 / max(eyes, 1.0),
            units=np.clip(found.units[0].numpy(), 0, MAX_INTENSITY),
            half_width_90=self.factors * found.unit_scales[0].numpy(),
            pose=pose,
            sharpness=sharpness(crop),
        )


def to_bytes(network: nn.Module, factors: np.ndarray, *, recipe: str) -> bytes:
    """The weights as `checkpoint.to_bytes` writes them, with the intervals."""
    return checkpoint.to_bytes(network, recipe=recipe, extra={_FACTORS: torch.from_numpy(factors)})


def open_network(uri: str) -> NetworkAnalyzer:
    """The network in a file that `to_bytes` made. Problem where the file is missing, broken or of another model."""
    remedy = "name the weights of a network that measures faces, or leave it out"
    file = weights.read(uri, remedy)
    factors = file.tensors.pop(_FACTORS, torch.zeros(0)).numpy()
    network = FaceNetwork()
    ours = factors.shape == (len(ACTION_UNITS),)
    checkpoint.fill(network, file.tensors if ours else {}, uri, remedy)
    network.eval().to(memory_format=torch.channels_last)
    return NetworkAnalyzer(network, factors, file.sha256)


def sharpness(crop: np.ndarray) -> float:
    """How sharp a grey crop (uint8) is: the deviation of its Laplacian in deviations of the crop, so that neither
    contrast nor light counts (after Pech-Pacheco et al. 2000).
    """
    return float(cv2.Laplacian(crop, cv2.CV_32F).std() / (crop.std() + _LEAST_DEVIATION))
