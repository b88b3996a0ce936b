"""The faces of a photograph, and their orientation: in the whole image, turned by quarters, and in tiles."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

from twfer_dist.core.crop import compose_affine, crop_matrix, quarter_turns
from twfer_dist.core.landmarks import apply_affine
from twfer_dist.faces.detector import Detector
from twfer_dist.measurement.face import Face, FaceAnalyzer
from twfer_dist.measurement.network import SIZE

_UNSURE_NME = 0.04
"""From this predicted error on, a face is also read turned: rendered heads have 0.02 or less upright, and 0.06 or more
on their side.
"""

_CLEAR_GAIN = 0.5  # a turn is taken where it leaves less than this share of the predicted error

_NOTES = (
    "",
    "The face lies on its side: it was read after a turn of 90 degrees counter-clockwise.",
    "The face is upside down: it was read after a turn of 180 degrees.",
    "The face lies on its side: it was read after a turn of 90 degrees clockwise.",
)


@dataclass(frozen=True)
class Detection:
    """A face that a detector found."""

    box: np.ndarray  # float32 (4,): x, y, width, height in pixels of the photograph
    score: float
    quarters: int  # how many counter-clockwise quarter turns of the photograph make the face upright

    def framing(self, detector: Detector, width: int, height: int, size: int) -> np.ndarray:
        """The matrix (2, 3) from the photograph (`width` x `height` pixels) to the upright crop of `size` pixels around
        the face.
        """
        turn = quarter_turns(self.quarters, width, height)
        return compose_affine(crop_matrix(detector.points_box(_turned(self.box, turn)), size), turn).astype(np.float32)

    @property
    def note(self) -> str:
        return _NOTES[self.quarters]


def detections(detector: Detector, image: np.ndarray, smallest: int, *, every: bool) -> Iterator[list[Detection]]:
    """The faces in `image` (uint8 RGB), largest first, by one search after another; each next search is meant for
    images in which no face was accepted so far.

    First the image as it is, with its tiles where `every` face is wanted; then turned; then in tiles. smallest: the
    least shorter side of a box.
    """
    faces = detector(image)
    yield _large(detector.add_tiles(image, faces) if every else faces, smallest)
    yield _lying(detector, image, smallest)
    if not every:
        yield _large(detector.add_tiles(image, faces), smallest)


def measure_upright(
    analyzer: FaceAnalyzer, detector: Detector, image: np.ndarray, detection: Detection
) -> tuple[Detection, Face | None]:
    """A detected face with its measurement, turned where it proves to lie on its side or upside down.

    Detectors find such faces too, but do not report their orientation.
    """
    height, width = image.shape[:2]

    def measure(turned: Detection) -> Face | None:
        (face,) = analyzer.measure(image, [turned.framing(detector, width, height, SIZE)])
        return face

    face = measure(detection)
    if face is not None and face.predicted_nme < _UNSURE_NME:
        return detection, face
    turns = [replace(detection, quarters=(detection.quarters + number) % 4) for number in (1, 2, 3)]
    others = [(other.predicted_nme, turn.quarters, turn, other) for turn in turns if (other := measure(turn))]
    if others:
        predicted_nme, _, turn, other = min(others, key=lambda candidate: candidate[:2])
        if face is None or predicted_nme < _CLEAR_GAIN * face.predicted_nme:
            return turn, other
    return detection, face


def _lying(detector: Detector, image: np.ndarray, smallest: int) -> list[Detection]:
    """The faces of the image turned by one, two or three quarters, whichever gives the best score."""
    height, width = image.shape[:2]
    best: list[Detection] = []
    for quarters in (1, 2, 3):
        faces = _large(detector(image, quarters), smallest, quarters)
        if faces and (not best or max(face.score for face in faces) > max(face.score for face in best)):
            best = faces
    return [
        replace(face, box=_turned(face.box, cv2.invertAffineTransform(quarter_turns(face.quarters, width, height))))
        for face in best
    ]


def _large(faces: np.ndarray, smallest: int, quarters: int = 0) -> list[Detection]:
    return [Detection(row[:4], float(row[4]), quarters) for row in faces if row[2:4].min() >= smallest]


def _turned(box: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """The box (x, y, width, height) after quarter turns."""
    one, other = apply_affine(box[:2], turn), apply_affine(box[:2] + box[2:], turn)
    low = np.minimum(one, other)
    return np.concatenate([low, np.maximum(one, other) - low]).astype(np.float32)
