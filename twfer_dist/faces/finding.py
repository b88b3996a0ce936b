"""Where a photograph shows faces, and which way up: in the whole of it, in tiles of a large one, and with it turned."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

from twfer_dist.core.crop import compose_affine, crop_matrix, quarter_turns
from twfer_dist.core.landmarks import apply_affine
from twfer_dist.faces.detector import Detector
from twfer_dist.measurement.analyzer import Face, FaceAnalyzer
from twfer_dist.measurement.network import SIZE

_UNSURE = 0.04
"""From this predicted error on a face is also read turned: rendered heads are read upright with 0.02 or less, on their
side with 0.06 or more.
"""

_SURER = 0.5  # of that predicted error, at most, is left where a turn is right

_NOTES = (
    "",
    "The photograph shows the face on its side: it was read after a turn of 90 degrees counter-clockwise.",
    "The photograph shows the face upside down: it was read after a turn of 180 degrees.",
    "The photograph shows the face on its side: it was read after a turn of 90 degrees clockwise.",
)


@dataclass(frozen=True)
class Found:
    """A face that a detector found."""

    box: np.ndarray  # float32 (4,): x, y, width, height in pixels of the photograph
    score: float
    quarters: int  # how often the photograph is turned by 90 degrees against the clock before the face is upright

    def framing(self, detector: Detector, width: int, height: int, size: int) -> np.ndarray:
        """The matrix (2, 3) from the photograph (`width` x `height` pixels) to the upright crop of `size` pixels around
        the face.
        """
        turn = quarter_turns(self.quarters, width, height)
        return compose_affine(crop_matrix(detector.points_box(_turned(self.box, turn)), size), turn).astype(np.float32)

    @property
    def note(self) -> str:
        return _NOTES[self.quarters]


def finds(detector: Detector, picture: np.ndarray, smallest: int, *, every: bool) -> Iterator[list[Found]]:
    """What each way of looking at a picture (uint8 RGB) finds, largest first; the next one is for pictures in which no
    face was kept.

    The picture as it is, with its tiles where `every` face is wanted; turned; in tiles. smallest: least shorter side of
    a box.
    """
    found = detector(picture)
    yield _large(detector.closely(picture, found) if every else found, smallest)
    yield _lying(detector, picture, smallest)
    if not every:
        yield _large(detector.closely(picture, found), smallest)


def measure(analyzer: FaceAnalyzer, detector: Detector, picture: np.ndarray, found: Found) -> tuple[Found, Face | None]:
    """A found face, measured; turned where it proves to lie on its side or to be upside down, which detectors do not
    tell.
    """
    height, width = picture.shape[:2]

    def look(seen: Found) -> Face | None:
        (face,) = analyzer.measure(picture, [seen.framing(detector, width, height, SIZE)])
        return face

    face = look(found)
    if face is not None and face.predicted_nme < _UNSURE:
        return found, face
    turned = [replace(found, quarters=(found.quarters + number) % 4) for number in (1, 2, 3)]
    others = [(other.predicted_nme, seen.quarters, seen, other) for seen in turned if (other := look(seen)) is not None]
    if others:
        predicted_nme, _, seen, other = min(others, key=lambda one: one[:2])
        if face is None or predicted_nme < _SURER * face.predicted_nme:
            return seen, other
    return found, face


def _lying(detector: Detector, picture: np.ndarray, smallest: int) -> list[Found]:
    """The faces of the picture turned by one, two or three quarters: by as many as give the best score."""
    height, width = picture.shape[:2]
    best: list[Found] = []
    for quarters in (1, 2, 3):
        found = _large(detector(picture, quarters), smallest, quarters)
        if found and (not best or max(one.score for one in found) > max(one.score for one in best)):
            best = found
    return [
        replace(one, box=_turned(one.box, cv2.invertAffineTransform(quarter_turns(one.quarters, width, height))))
        for one in best
    ]


def _large(found: np.ndarray, smallest: int, quarters: int = 0) -> list[Found]:
    return [Found(row[:4], float(row[4]), quarters) for row in found if row[2:4].min() >= smallest]


def _turned(box: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """The box (x, y, width, height) after quarter turns."""
    one, other = apply_affine(box[:2], turn), apply_affine(box[:2] + box[2:], turn)
    low = np.minimum(one, other)
    return np.concatenate([low, np.maximum(one, other) - low]).astype(np.float32)
