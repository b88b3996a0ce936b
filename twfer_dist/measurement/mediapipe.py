"""MediaPipe's Face Landmarker behind the interface of our network, for comparison: pip install
'twfer_dist[mediapipe]'.

Lugaresi et al. (2019), "MediaPipe: a framework for building perception pipelines". The model file is on MediaPipe's
site.
"""

import cv2
import numpy as np

from twfer_dist.core import images
from twfer_dist.core.crop import aligned_matrix, warp_crop
from twfer_dist.core.errors import UserError
from twfer_dist.core.landmarks import apply_affine
from twfer_dist.core.taxonomy import ACTION_UNITS, MAX_INTENSITY
from twfer_dist.engine import storage
from twfer_dist.measurement.face import Face, sharpness
from twfer_dist.measurement.network import SIZE

_ENLARGEMENT, _CONTEXT = 3.0, 1.5
"""Its own face detector needs surroundings and pixels: it sees `_CONTEXT` times the framing, `_ENLARGEMENT` times as
many pixels a side.
"""

_POINTS = (127, 234, 93, 132, 172, 136, 150, 176, 152, 400, 379, 365, 397, 361, 323, 454, 356, 70, 63,
    105, 66, 107, 336, 296, 334, 293, 300, 168, 197, 5, 4, 98, 97, 2, 326, 327, 33, 160, 158, 133, 153,
    144, 362, 385, 387, 263, 373, 380, 61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13,
    312, 308, 317, 14, 87, )  # fmt: skip
"""The vertex of its mesh nearest to each of the 68 points."""

_SHAPES = {"AU01": ("browInnerUp",), "AU02": ("browOuterUpLeft", "browOuterUpRight"), "AU04":
    ("browDownLeft", "browDownRight"), "AU05": ("eyeWideLeft", "eyeWideRight"), "AU06":
    ("cheekSquintLeft", "cheekSquintRight"), "AU07": ("eyeSquintLeft", "eyeSquintRight"), "AU09":
    ("noseSneerLeft", "noseSneerRight"), "AU10": ("mouthUpperUpLeft", "mouthUpperUpRight"), "AU12":
    ("mouthSmileLeft", "mouthSmileRight"), "AU14": ("mouthDimpleLeft", "mouthDimpleRight"), "AU15":
    ("mouthFrownLeft", "mouthFrownRight"), "AU17": ("mouthShrugLower",), "AU20": ("mouthStretchLeft",
    "mouthStretchRight"), "AU23": ("mouthPressLeft", "mouthPressRight"), "AU25": ("mouthLowerDownLeft",
    "mouthLowerDownRight"), "AU26": ("jawOpen",), "AU45": ("eyeBlinkLeft", "eyeBlinkRight"), }  # fmt: skip
"""The blendshapes that correspond to each Action Unit; their mean, 0 to 1, becomes the intensity, 0 to 5."""


class MediaPipeAnalyzer:
    """A `FaceAnalyzer` without intervals; its predicted error is 0."""

    def __init__(self, uri: str) -> None:
        try:
            import mediapipe
            from mediapipe.tasks.python import BaseOptions, vision
        except ImportError:
            raise UserError(
                f"{uri} needs MediaPipe, which is not installed: pip install 'twfer_dist[mediapipe]'."
            ) from None
        try:
            model = storage.read_bytes(uri)
        except FileNotFoundError:
            raise UserError(f"{uri} does not exist: name MediaPipe's face_landmarker.task, or omit it.") from None
        self.sha256 = storage.sha256(model)
        self._image = mediapipe.Image, mediapipe.ImageFormat.SRGB
        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_buffer=model),
            output_face_blendshapes=True,
            output_facial_transformation_matrixes=True,
        )
        try:
            self._landmarker = vision.FaceLandmarker.create_from_options(options)
        except (RuntimeError, ValueError) as error:
            raise UserError(
                f"{uri} is not a Face Landmarker ({' '.join(str(error).split())[:120]}): download it again."
            ) from None

    def measure(self, image: np.ndarray, framings: list[np.ndarray]) -> list[Face | None]:
        """See `FaceAnalyzer`."""
        return [self._measure_one(image, framing) for framing in framings]

    def _measure_one(self, image: np.ndarray, framing: np.ndarray) -> Face | None:
        size = round(_ENLARGEMENT * SIZE)
        wide = framing * _ENLARGEMENT / _CONTEXT
        wide[:, 2] += size * (1 - 1 / _CONTEXT) / 2
        make_image, kind = self._image
        result = self._landmarker.detect(
            make_image(image_format=kind, data=warp_crop(image, wide.astype(np.float32), size))
        )
        if not result.face_landmarks:
            return None
        mesh = np.array([(p.x, p.y) for p in result.face_landmarks[0]], np.float32) * size - 0.5
        points = apply_affine(mesh[list(_POINTS)], cv2.invertAffineTransform(wide)).astype(np.float32)
        shapes = {shape.category_name: shape.score for shape in result.face_blendshapes[0]}
        units = [MAX_INTENSITY * float(np.mean([shapes[name] for name in _SHAPES[unit]])) for unit in ACTION_UNITS]
        rotation = np.array(result.facial_transformation_matrixes[0])[:3, :3]
        ahead, right = rotation[:, 2], rotation[:, 0]
        pose = np.degrees(
            [np.arctan2(ahead[0], ahead[2]), np.arcsin(np.clip(ahead[1], -1, 1)), np.arctan2(right[1], right[0])]
        )
        # From the roll in the crop to the roll in the image.
        pose[2] = (pose[2] + np.degrees(np.arctan2(framing[1, 0], framing[0, 0])) + 180) % 360 - 180
        matrix = aligned_matrix(points, SIZE)
        crop = images.to_grey(warp_crop(image, matrix, SIZE))
        return Face(points, 0.0, np.array(units, np.float32), None, pose.astype(np.float32), sharpness(crop))
