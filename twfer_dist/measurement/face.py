"""A measured face, and the interface of the models that measure faces."""

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

_MIN_DEVIATION = 4.0  # grey levels: a plain wall has no edges that could be sharp

LAPLACE_90 = float(np.log(10))
"""Half of the 90 % interval of a Laplace distribution in units of its scale: P(|x| > scale * ln 10) = 0.1."""


@dataclass(frozen=True)
class Face:
    """One measured face."""

    points: np.ndarray  # float32 (68, 2), pixels of the image
    predicted_nme: float  # the expected mean error of its points, in interocular distances
    units: np.ndarray  # float32 (17,), 0 to 5
    half_width_90: np.ndarray | None  # float32 (17,): half of each unit's 90 % interval; None where unknown
    pose: np.ndarray  # float32 (3,): yaw, pitch, roll in degrees, in the image
    sharpness: float  # of the aligned crop, see `sharpness`


class FaceAnalyzer(Protocol):
    """A model that measures faces."""

    @property
    def sha256(self) -> str:
        """Of the model file."""
        ...

    def measure(self, image: np.ndarray, framings: list[np.ndarray]) -> list[Face | None]:
        """The faces of an image (uint8 RGB); None for one that the model does not find.

        framings: for each face the matrix (2, 3) from the image to a first crop of SIZE pixels (`crop.crop_matrix`).
        """
        ...


def sharpness(crop: np.ndarray) -> float:
    """The sharpness of a grey crop (uint8): the standard deviation of its Laplacian over that of the crop, which makes
    it independent of contrast and light (after Pech-Pacheco et al. 2000).
    """
    return float(cv2.Laplacian(crop, cv2.CV_32F).std() / (crop.std() + _MIN_DEVIATION))
