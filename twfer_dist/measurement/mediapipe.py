"""MediaPipe's Face Landmarker behind the same function as our network, to compare with: pip install
'twfer_dist[mediapipe]'.

Lugaresi et al. (2019), "MediaPipe: a framework for building perception pipelines". Its model comes from MediaPipe's own
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
from twfer_dist.measurement.analyzer import Face, sharpness
from twfer_dist.measurement.network import SIZE

_WIDER = 3.0
"""Its own face detector wants surroundings and pixels: it sees the framing this many times as large, with as much
around it.
"""

_POINTS = (127, 234, 93, 132, 172, 136, 150, 176, 152, 400, 379, 365, 397, 361, 323, 454, 356, 70, 63,
    105, 66, 107, 336, 296, 334, 293, 300, 168, 197, 5, 4, 98, 97, 2, 326, 327, 33, 160, 158, 133, 153,
    144, 362, 385, 387, 263, 373, 380, 61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13,
    312, 308, 317, 14, 87, )  # fmt: skip
"""The vertex of its mesh that is nearest to each of the 68 points."""

_SHAPES = {"AU01": ("browInnerUp",), "AU02": ("browOuterUpLeft", "browOuterUpRight"), "AU04":
    ("browDownLeft", "browDownRight"), "AU05": ("eyeWideLeft", "eyeWideRight"), "AU06":
    ("cheekSquintLeft", "cheekSquintRight"), "AU07": ("eyeSquintLeft", "eyeSquintRight"), "AU09":
    ("noseSneerLeft", "noseSneerRight"), "AU10": ("mouthUpperUpLeft", "mouthUpperUpRight"), "AU12":
    ("mouthSmileLeft", "mouthSmileRight"), "AU14": ("mouthDimpleLeft", "mouthDimpleRight"), "AU15":
    ("mouthFrownLeft", "mouthFrownRight"), "AU17": ("mouthShrugLower",), "AU20": ("mouthStretchLeft",
    "mouthStretchRight"), "AU23": ("mouthPressLeft", "mouthPressRight"), "AU25": ("mouthLowerDownLeft",
    "mouthLowerDownRight"), "AU26": ("jawOpen",), "AU45": ("eyeBlinkLeft", "eyeBlinkRight"), }  # fmt: skip
"""The blendshapes that move what an Action Unit moves; their mean, from 0 to 1, is the intensity from 0 to 5."""


class MediaPipeAnalyzer:
    """A `analyzer.FaceAnalyzer`. It gives no intervals and no predicted error."""

    def __init__(self, uri: str) -> None:
        try:
            import mediapipe
            from mediapipe.tasks.python import BaseOptions, vision
        except ImportError:
            raise UserError(f"{uri} needs MediaPipe, which is not here: pip install 'twfer_dist[mediapipe]'.") from None
        try:
            model = storage.read_bytes(uri)
        except FileNotFoundError:
            raise UserError(f"{uri} is not there: name MediaPipe's face_landmarker.task, or leave it out.") from None
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
            raise UserError(f"{uri} is not a Face Landmarker ({' '.join(str(error).split())[:120]}).") from None

    def measure(self, picture: np.ndarray, framings: list[np.ndarray]) -> list[Face | None]:
        """See `analyzer.FaceAnalyzer`."""
        return [self._one(picture, framing) for framing in framings]

    def _one(self, picture: np.ndarray, framing: np.ndarray) -> Face | None:
        size = round(_WIDER * SIZE)
        wide = framing * _WIDER / 1.5
        wide[:, 2] += size * (1 - 1 / 1.5) / 2
        image, kind = self._image
        found = self._landmarker.detect(
            image(image_format=kind, data=warp_crop(picture, wide.astype(np.float32), size))
        )
        if not found.face_landmarks:
            return None
        mesh = np.array([(p.x, p.y) for p in found.face_landmarks[0]], np.float32) * size - 0.5
        points = apply_affine(mesh[list(_POINTS)], cv2.invertAffineTransform(wide)).astype(np.float32)
        shapes = {shape.category_name: shape.score for shape in found.face_blendshapes[0]}
        units = [MAX_INTENSITY * float(np.mean([shapes[name] for name in _SHAPES[unit]])) for unit in ACTION_UNITS]
        turn = np.array(found.facial_transformation_matrixes[0])[:3, :3]
        ahead, right = turn[:, 2], turn[:, 0]
        pose = np.degrees(
            [np.arctan2(ahead[0], ahead[2]), np.arcsin(np.clip(ahead[1], -1, 1)), np.arctan2(right[1], right[0])]
        )
        pose[2] = (
            pose[2] + np.degrees(np.arctan2(framing[1, 0], framing[0, 0])) + 180
        ) % 360 - 180  # of the picture, not of the crop
        matrix = aligned_matrix(points, SIZE)
        crop = images.to_grey(warp_crop(picture, matrix, SIZE))
        return Face(points, matrix, 0.0, np.array(units, np.float32), None, pose.astype(np.float32), sharpness(crop))
