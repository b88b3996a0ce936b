"""The networks that turn a face into features whose cosine says how alike two faces are.

Three are understood: the identity network, a trained recogniser, and a face-recognition network that the user brings as
an ONNX file for OpenCV (SFace, Zhong et al. 2021, "SFace: Sigmoid-Constrained Hypersphere Loss").
"""

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from twfer_dist.core.crop import aligned_matrix, warp_crop
from twfer_dist.core.errors import UserError
from twfer_dist.core.landmarks import LEFT_EYE, MOUTH, RIGHT_EYE
from twfer_dist.dataset.loader import fit
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.config import package_path
from twfer_dist.measurement.identity import Identity, open_identity, whole_crop
from twfer_dist.measurement.network import SIZE
from twfer_dist.recognition.recogniser import Recogniser, open_recogniser

SHIPPED = package_path("package:weights/identity.safetensors")

IDENTITY_NAME = "identity network"
_NOSE_TIP, _MOUTH_CORNERS = 30, (MOUTH.start, MOUTH.start + 6)
_USUAL = np.array([(0.32, 0.27), (0.69, 0.27), (0.5, 0.45), (0.36, 0.64), (0.65, 0.64)], np.float32)
"""Where the eyes, the tip of the nose and the corners of the mouth are in a crop, as shares of its side: the mean of
205 measured faces. For crops whose points nobody measured.
"""


class Embedder(Protocol):
    """A network in inference mode."""

    @property
    def name(self) -> str:
        """As tables show it."""

    def embed(self, crop: np.ndarray, points: np.ndarray | None) -> np.ndarray:
        """The features, float32 (D,), of a crop, uint8 RGB (S, S, 3), whose 68 points are (68, 2) in its pixels or
        unknown. They are not divided by their length. A face is embedded by itself: nothing depends on its neighbours.
        """


@dataclass(frozen=True)
class IdentityEmbedder:
    """The 128 features of the network that tells rendered figures apart."""

    name: str
    identity: Identity

    def embed(self, crop: np.ndarray, points: np.ndarray | None) -> np.ndarray:
        matrix = whole_crop(len(crop)) if points is None else aligned_matrix(points, SIZE)
        return self.identity.embed(warp_crop(crop, matrix, SIZE)[None])[0]


@dataclass(frozen=True)
class RecogniserEmbedder:
    """The features from which a trained recogniser reads the expression: its trunk's output, averaged over places.

    None is negative, so that all cosines are above 0.
    """

    name: str
    recogniser: Recogniser

    def embed(self, crop: np.ndarray, points: np.ndarray | None) -> np.ndarray:
        return self.recogniser.embed(fit(crop, self.recogniser.size)[None])[0]


class OpenCVEmbedder:
    """The features of an ONNX file that cv2.FaceRecognizerSF runs, which aligns the face by five points."""

    def __init__(self, name: str, path: str) -> None:
        self.name = name
        try:
            self._network = cv2.FaceRecognizerSF.create(path, "")
            self.embed(np.zeros((SIZE, SIZE, 3), np.uint8), None)
        except cv2.error as error:
            words = " ".join(str(error).split())[:200]
            raise UserError(
                f"{path} is not a face-recognition network that OpenCV can run ({words}): name SFace's .onnx file."
            ) from None

    def embed(self, crop: np.ndarray, points: np.ndarray | None) -> np.ndarray:
        five = _USUAL * len(crop) if points is None else five_points(points)
        box = np.concatenate([[0, 0, len(crop), len(crop)], five.ravel(), [1]]).astype(np.float32)
        aligned = self._network.alignCrop(cv2.cvtColor(crop, cv2.COLOR_RGB2BGR), box[None])
        return self._network.feature(aligned).astype(np.float32).ravel().copy()


def five_points(points: np.ndarray) -> np.ndarray:
    """The subject's right and left eye, the tip of the nose, and the right and left corner of the mouth, (5, 2), of 68
    points (68, 2): what OpenCV aligns a face by.
    """
    right, left = _MOUTH_CORNERS
    return np.stack(
        [points[RIGHT_EYE].mean(0), points[LEFT_EYE].mean(0), points[_NOSE_TIP], points[right], points[left]]
    )


@dataclass(frozen=True)
class NetworkFile:
    """Which network embeds: that of a training, or of a file (.safetensors of an identity network, or .onnx)."""

    uri: str
    training: Artifact | None = None

    @property
    def digest(self) -> str:
        """The sha256 of the file, or the digest of the training. UserError where the file is missing."""
        if self.training:
            return self.training.digest
        try:
            return storage.sha256_file(self.uri)
        except FileNotFoundError:
            raise UserError(
                f"{self.uri} does not exist: name the weights of an identity network or a face-recognition network."
            ) from None

    def open(self) -> Embedder:
        """The network. UserError where the file holds none."""
        if self.training:
            recogniser = open_recogniser(self.training)
            return RecogniserEmbedder(recogniser.name, recogniser)
        if not self.uri.lower().endswith(".onnx"):
            identity = open_identity(self.uri)
            return IdentityEmbedder(f"{IDENTITY_NAME} {identity.sha256[:6]}", identity)
        name = storage.name_of(self.uri).rpartition(".")[0]
        return OpenCVEmbedder(f"{name} {self.digest[:6]}", self.uri)


def unit(vector: np.ndarray) -> np.ndarray:
    """A vector, float32 (D,), divided by its length. A vector of zeros stays one."""
    length = float(np.linalg.norm(vector.astype(np.float64)))
    return (vector / length).astype(np.float32) if length else vector.astype(np.float32)
