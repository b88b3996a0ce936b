"""Face detectors, one shape: a picture in, boxes and scores out.

A detector sees every picture fitted into one square of its own size. So faces are judged at the size at which the
detectors were measured, and no answer can depend on the picture before: OpenCV 4.14 keeps buffers of the first size
that a network with fixed axes saw, and finds hundreds of faces in the next picture of another size. In a photograph
much larger than the square a small face would be lost: it is looked at again in tiles.
"""

from collections.abc import Callable

import cv2
import numpy as np

from twfer_dist.core import images
from twfer_dist.core.errors import UserError
from twfer_dist.faces.detector_models import Choice

MOST_ENLARGED = 2.0
"""How much a small photograph is enlarged before detection, at most."""

_OVERLAP = 0.3  # intersection over union from which two boxes are one face
_WITHIN = 0.6  # share of the smaller box within the larger from which two boxes of different tiles are one face

_REDUCED = 0.5  # a photograph that is reduced further than this is looked at in tiles too
_MOST_TILES = 16  # of one size; all sizes together have less than twice as many
_SHARED = 0.125  # of a tile's side, which the next tile shows too: a larger face is found in larger tiles
_CUT = 2.0  # pixels: a box that comes so near to a tile's edge is of a face that the edge may cut


class YuNet:
    """Wu, Peng and Yu (2023), "YuNet: a tiny millisecond-level face detector"; through cv2.FaceDetectorYN."""

    side, threshold = 800, 0.5
    least = 20
    points = (1.010, 0.215, 0.797)

    def __init__(self, model: bytes, side: int, threshold: float) -> None:
        nothing = np.empty(0, np.uint8)
        self._net = cv2.FaceDetectorYN.create(
            "onnx", np.frombuffer(model, np.uint8), nothing, (side, side), threshold, _OVERLAP
        )

    def __call__(self, square: np.ndarray) -> np.ndarray:
        found = self._net.detect(cv2.cvtColor(square, cv2.COLOR_RGB2BGR))[1]
        return np.empty((0, 5), np.float32) if found is None else found[:, [0, 1, 2, 3, 14]]


class CenterFace:
    """Xu et al. (2019), "CenterFace: joint face detection and alignment using face as point"; by cv2.dnn.

    For each cell of 4x4 pixels the network gives: 537, how likely a face is centred there; 538, the logarithm of its
    height and width in cells; 539, the centre's offset down and right in cells.
    """

    side, threshold = 640, 0.35
    least = 14
    points = (1.054, 0.193, 0.858)

    def __init__(self, model: bytes, side: int, threshold: float) -> None:
        self._net = cv2.dnn.readNetFromONNX(np.frombuffer(model, np.uint8))
        self._threshold = threshold

    def __call__(self, square: np.ndarray) -> np.ndarray:
        self._net.setInput(cv2.dnn.blobFromImage(square))
        likely, sizes, offsets = self._net.forward(["537", "538", "539"])
        row, column = np.nonzero(likely[0, 0] >= self._threshold)
        score = likely[0, 0, row, column]
        height, width = 4 * np.exp(sizes[0][:, row, column])
        y = 4 * (row + offsets[0, 0, row, column] + 0.5) - height / 2
        x = 4 * (column + offsets[0, 1, row, column] + 0.5) - width / 2
        boxes = np.stack([x, y, width, height], 1)
        kept = cv2.dnn.NMSBoxes(boxes.tolist(), score.tolist(), self._threshold, _OVERLAP)
        return np.column_stack([boxes, score])[np.asarray(kept, int)]


class Haar:
    """Viola and Jones (2001), the cascade frontalface_alt inside opencv-python below 5. The score is the last stage's
    sum.
    """

    side, threshold = 640, 0.0
    least = 40
    points = (0.792, 0.248, 0.820)

    def __init__(self, model: bytes, side: int, threshold: float) -> None:
        storage = cv2.FileStorage(model.decode(), cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)
        self._cascade = cv2.CascadeClassifier()
        self._cascade.read(storage.getFirstTopLevelNode())
        self._threshold = threshold

    def __call__(self, square: np.ndarray) -> np.ndarray:
        grey = images.to_grey(square)
        boxes, _, scores = self._cascade.detectMultiScale3(grey, 1.1, 3, minSize=(32, 32), outputRejectLevels=True)
        found = np.column_stack([np.reshape(boxes, (-1, 4)), np.reshape(scores, -1)])
        return found[found[:, 4] >= self._threshold]


_KINDS: dict[str, type[YuNet] | type[CenterFace] | type[Haar]] = {
    "yunet": YuNet,
    "centerface": CenterFace,
    "haar": Haar,
}


class Detector:
    """A chosen detector with its model loaded, for pictures of any size.

    side: of the square that a picture is fitted into, in pixels; threshold: the least score. Where None, the detector's
    own, which were measured on photographs of sculpture. Problem where the model's file is not one of this detector.
    """

    def __init__(self, choice: Choice, side: int | None = None, threshold: float | None = None) -> None:
        kind = _KINDS[choice.name]
        self._side = side or kind.side
        self._least = kind.least
        self._points = kind.points
        try:
            self._find: Callable[[np.ndarray], np.ndarray] = kind(
                choice.model, self._side, kind.threshold if threshold is None else threshold
            )
            self._find(np.zeros((self._side, self._side, 3), np.uint8))  # another network's file is noticed only in use
        except cv2.error:
            raise UserError(
                f"{choice.describe()}, and it is no {choice.name} model that OpenCV {cv2.__version__} can run: name "
                "another file."
            ) from None

    def __call__(self, picture: np.ndarray, quarters: int = 0) -> np.ndarray:
        """The faces in `picture` (uint8 RGB), largest first: float32 (n, 5) of x, y, width, height in its pixels, and
        score.

        quarters: how often it is turned by 90 degrees against the clock before; pixels are then those of the turned
        picture.
        """
        square, scale = _fitted(picture, self._side, quarters)
        found = np.asarray(self._find(square), np.float32).reshape(-1, 5)
        found[:, :4] /= scale
        return _largest_first(found)

    def closely(self, picture: np.ndarray, found: np.ndarray) -> np.ndarray:
        """`found` in `picture`, and what is found in its tiles, in the same shape; `found` alone where the picture is
        small.
        """
        height, width = picture.shape[:2]
        boxes = [found]
        for scale in self._closer(height, width):
            near = np.asarray(
                cv2.resize(
                    picture, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=cv2.INTER_AREA
                )
            )
            boxes += [
                self._in_tile(near, y, x, scale)
                for y in self._starts(near.shape[0])
                for x in self._starts(near.shape[1])
            ]
        return found if len(boxes) == 1 else _largest_first(_once(np.concatenate(boxes)))

    def smallest(self, height: int, width: int) -> float:
        """The shorter side of the smallest face, in pixels of a picture of this size, that `closely` finds almost
        always.

        `least` is that side in the square: 9 of 10 rendered heads and more are found from there on.
        """
        return self._least / ([_scale(height, width, self._side), *self._closer(height, width)][-1])

    def _closer(self, height: int, width: int) -> list[float]:
        """To which scales a picture is reduced to be looked at in tiles, the smallest first."""
        scale, scales = _scale(height, width, self._side), []
        along = 1
        while scale < _REDUCED:
            along *= 2  # tiles along the longer side
            scale = min(1.0, self._side * (along - (along - 1) * _SHARED) / max(height, width))
            if len(self._starts(round(height * scale))) * len(self._starts(round(width * scale))) > _MOST_TILES:
                break
            scales.append(scale)
        return scales

    def _starts(self, length: int) -> list[int]:
        """Where tiles begin along a side of `length` pixels: as few as overlap enough, spread evenly."""
        beyond = max(0, length - self._side)
        count = 1 + -(-beyond // round(self._side * (1 - _SHARED)))
        return [round(place) for place in np.linspace(0, beyond, count)]

    def _in_tile(self, near: np.ndarray, y: int, x: int, scale: float) -> np.ndarray:
        """The faces in one tile of a reduced picture, in pixels of the photograph, without those that an inner edge may
        cut.
        """
        tile = near[y : y + self._side, x : x + self._side]
        square = np.zeros((self._side, self._side, 3), np.uint8)
        square[: tile.shape[0], : tile.shape[1]] = tile
        found = np.asarray(self._find(square), np.float32).reshape(-1, 5)
        low = np.where(np.array([x, y]) > 0, _CUT, -np.inf)
        inner = np.array([x + self._side < near.shape[1], y + self._side < near.shape[0]])
        high = np.where(inner, self._side - _CUT, np.inf)
        found = found[((found[:, :2] >= low) & (found[:, :2] + found[:, 2:4] <= high)).all(1)]
        found[:, :2] += (x, y)
        found[:, :4] /= scale
        return found

    def points_box(self, box: np.ndarray) -> np.ndarray:
        """x, y, width, height of the box around the 68 points of the face with this detector's `box`.

        `points` are the median of points width / box width, (points top - box top) / box height and points height / box
        height on 160 rendered heads (40 figures, 4 expressions, head and shoulders at 420 px); their standard
        deviations are 0.01 to 0.05. Sideways the two boxes share their middle.
        """
        x, y, width, height = (float(v) for v in box)
        across, top, down = self._points
        return np.array([x + width * (1 - across) / 2, y + height * top, width * across, height * down], np.float32)


def _largest_first(found: np.ndarray) -> np.ndarray:
    x, y, width, height, score = found.T
    return found[np.lexsort((y, x, -score, -width * height))]


def _once(found: np.ndarray) -> np.ndarray:
    """Boxes (n, 5) of several tiles, of each face the one with the best score."""
    x, y, width, height, score = found.T
    left = found[np.lexsort((y, x, -width * height, -score))]
    kept = []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        low, high = np.maximum(best[:2], left[:, :2]), np.minimum(best[:2] + best[2:4], left[:, :2] + left[:, 2:4])
        shared = (high - low).clip(0).prod(1)
        area, areas = best[2:4].prod(), left[:, 2:4].prod(1)
        left = left[(shared <= _OVERLAP * (area + areas - shared)) & (shared <= _WITHIN * np.minimum(area, areas))]
    return np.array(kept, np.float32).reshape(-1, 5)


def _scale(height: int, width: int, side: int) -> float:
    """By how much a picture is reduced, or a little enlarged, to fit into a square."""
    return min(side / max(height, width), MOST_ENLARGED)


def _fitted(picture: np.ndarray, side: int, quarters: int) -> tuple[np.ndarray, float]:
    """The picture, turned, in the upper left of a black square; and its scale."""
    height, width = picture.shape[:2]
    scale = _scale(height, width, side)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    near = np.rot90(
        cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR), quarters
    )
    square = np.zeros((side, side, 3), np.uint8)
    square[: near.shape[0], : near.shape[1]] = near
    return square, scale
