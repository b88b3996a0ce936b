"""Face detectors behind one interface: an image in, boxes and scores out.

Every image is fitted into one square of the detector's size. Faces are then judged at the size at which the detectors
were measured, and no result can depend on the previous image: OpenCV 4.14 keeps buffers of the first size that a
network with fixed axes saw, and finds hundreds of faces in the next image of another size. A photograph much larger
than the square is searched again in tiles, since its small faces would be lost.
"""

from collections.abc import Callable

import cv2
import numpy as np

from twfer_dist.core import images
from twfer_dist.core.errors import UserError
from twfer_dist.faces.detector_models import Choice

MAX_ENLARGEMENT = 2.0
"""Of a small photograph before detection."""

_SAME_FACE_IOU = 0.3  # intersection over union from which two boxes are one face
_SAME_FACE_INSIDE = 0.6  # share of the smaller box inside the larger from which boxes of two tiles are one face

_TILED_BELOW = 0.5  # a photograph that is reduced further than this is searched in tiles too
_MAX_TILES = 16  # of one scale; all scales together have less than twice as many
_TILE_OVERLAP = 0.125  # of a tile's side: larger faces are found in larger tiles
_EDGE = 2.0  # pixels: a box this close to a tile's inner edge may be of a face that the edge cuts


class YuNet:
    """Wu, Peng and Yu (2023), "YuNet: a tiny millisecond-level face detector"; through cv2.FaceDetectorYN."""

    side, threshold = 800, 0.5
    min_face = 20
    points = (1.010, 0.215, 0.797)

    def __init__(self, model: bytes, side: int, threshold: float) -> None:
        nothing = np.empty(0, np.uint8)
        self._net = cv2.FaceDetectorYN.create(
            "onnx", np.frombuffer(model, np.uint8), nothing, (side, side), threshold, _SAME_FACE_IOU
        )

    def __call__(self, square: np.ndarray) -> np.ndarray:
        faces = self._net.detect(cv2.cvtColor(square, cv2.COLOR_RGB2BGR))[1]
        return np.empty((0, 5), np.float32) if faces is None else faces[:, [0, 1, 2, 3, 14]]


class CenterFace:
    """Xu et al. (2019), "CenterFace: joint face detection and alignment using face as point"; by cv2.dnn.

    For each cell of 4x4 pixels the network outputs: 537, the probability that a face is centred there; 538, the
    logarithm of its height and width in cells; 539, the offset of its centre down and right in cells.
    """

    side, threshold = 640, 0.35
    min_face = 14
    points = (1.054, 0.193, 0.858)

    def __init__(self, model: bytes, side: int, threshold: float) -> None:
        self._net = cv2.dnn.readNetFromONNX(np.frombuffer(model, np.uint8))
        self._threshold = threshold

    def __call__(self, square: np.ndarray) -> np.ndarray:
        self._net.setInput(cv2.dnn.blobFromImage(square))
        heat, sizes, offsets = self._net.forward(["537", "538", "539"])
        row, column = np.nonzero(heat[0, 0] >= self._threshold)
        score = heat[0, 0, row, column]
        height, width = 4 * np.exp(sizes[0][:, row, column])
        y = 4 * (row + offsets[0, 0, row, column] + 0.5) - height / 2
        x = 4 * (column + offsets[0, 1, row, column] + 0.5) - width / 2
        boxes = np.stack([x, y, width, height], 1)
        kept = cv2.dnn.NMSBoxes(boxes.tolist(), score.tolist(), self._threshold, _SAME_FACE_IOU)
        return np.column_stack([boxes, score])[np.asarray(kept, int)]


class Haar:
    """Viola and Jones (2001), the cascade frontalface_alt in opencv-python below 5; the score is the last stage's
    sum.
    """

    side, threshold = 640, 0.0
    min_face = 40
    points = (0.792, 0.248, 0.820)

    def __init__(self, model: bytes, side: int, threshold: float) -> None:
        storage = cv2.FileStorage(model.decode(), cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)
        self._cascade = cv2.CascadeClassifier()
        self._cascade.read(storage.getFirstTopLevelNode())
        self._threshold = threshold

    def __call__(self, square: np.ndarray) -> np.ndarray:
        grey = images.to_grey(square)
        boxes, _, scores = self._cascade.detectMultiScale3(grey, 1.1, 3, minSize=(32, 32), outputRejectLevels=True)
        faces = np.column_stack([np.reshape(boxes, (-1, 4)), np.reshape(scores, -1)])
        return faces[faces[:, 4] >= self._threshold]


_KINDS: dict[str, type[YuNet] | type[CenterFace] | type[Haar]] = {
    "yunet": YuNet,
    "centerface": CenterFace,
    "haar": Haar,
}


class Detector:
    """A chosen detector with its model loaded, for images (uint8 RGB) of any size.

    side: of the square that an image is fitted into, in pixels; threshold: the least score. None means the detector's
    default, measured on photographs of sculpture. UserError where the model file is not one of this detector.
    """

    def __init__(self, choice: Choice, side: int | None = None, threshold: float | None = None) -> None:
        kind = _KINDS[choice.name]
        self._side = side or kind.side
        self._min_face = kind.min_face
        self._points = kind.points
        try:
            self._detect: Callable[[np.ndarray], np.ndarray] = kind(
                choice.model, self._side, kind.threshold if threshold is None else threshold
            )
            # A file of another network fails only when it runs.
            self._detect(np.zeros((self._side, self._side, 3), np.uint8))
        except cv2.error:
            raise UserError(
                f"{choice.describe()} is not a {choice.name} model that OpenCV {cv2.__version__} can run: name another "
                "file."
            ) from None

    def __call__(self, image: np.ndarray, quarters: int = 0) -> np.ndarray:
        """The faces in `image`, largest first: float32 (n, 5) of x, y, width, height in its pixels, and score.

        quarters: how many times the image is turned counter-clockwise by 90 degrees first; the boxes are then in
        pixels of the turned image.
        """
        square, scale = _fitted(image, self._side, quarters)
        faces = np.asarray(self._detect(square), np.float32).reshape(-1, 5)
        faces[:, :4] /= scale
        return _largest_first(faces)

    def add_tiles(self, image: np.ndarray, faces: np.ndarray) -> np.ndarray:
        """`faces` of the whole image with those of its tiles added, in the same shape; unchanged for a small image."""
        height, width = image.shape[:2]
        boxes = [faces]
        for scale in self._tile_scales(height, width):
            size = max(1, round(width * scale)), max(1, round(height * scale))
            reduced = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
            rows, columns = (self._tile_starts(length) for length in reduced.shape[:2])
            boxes += [self._in_tile(reduced, y, x, scale) for y in rows for x in columns]
        return faces if len(boxes) == 1 else _largest_first(_without_duplicates(np.concatenate(boxes)))

    def min_face(self, height: int, width: int) -> float:
        """The shorter side, in pixels of an image of this size, from which `add_tiles` finds at least 9 of 10 rendered
        heads.
        """
        return self._min_face / ([_scale(height, width, self._side), *self._tile_scales(height, width)][-1])

    def _tile_scales(self, height: int, width: int) -> list[float]:
        """The scales at which an image is searched in tiles, the smallest first."""
        scale, scales = _scale(height, width, self._side), []
        along = 1
        while scale < _TILED_BELOW:
            along *= 2  # tiles along the longer side
            scale = min(1.0, self._side * (along - (along - 1) * _TILE_OVERLAP) / max(height, width))
            tiles = len(self._tile_starts(round(height * scale))) * len(self._tile_starts(round(width * scale)))
            if tiles > _MAX_TILES:
                break
            scales.append(scale)
        return scales

    def _tile_starts(self, length: int) -> list[int]:
        """Where tiles start along a side of `length` pixels: as few as overlap enough, spread evenly."""
        beyond = max(0, length - self._side)
        count = 1 + -(-beyond // round(self._side * (1 - _TILE_OVERLAP)))
        return [round(start) for start in np.linspace(0, beyond, count)]

    def _in_tile(self, reduced: np.ndarray, y: int, x: int, scale: float) -> np.ndarray:
        """The faces in one tile of a reduced image, in pixels of the image, except those that an inner edge may cut."""
        tile = reduced[y : y + self._side, x : x + self._side]
        square = np.zeros((self._side, self._side, 3), np.uint8)
        square[: tile.shape[0], : tile.shape[1]] = tile
        faces = np.asarray(self._detect(square), np.float32).reshape(-1, 5)
        low = np.where(np.array([x, y]) > 0, _EDGE, -np.inf)
        inner = np.array([x + self._side < reduced.shape[1], y + self._side < reduced.shape[0]])
        high = np.where(inner, self._side - _EDGE, np.inf)
        faces = faces[((faces[:, :2] >= low) & (faces[:, :2] + faces[:, 2:4] <= high)).all(1)]
        faces[:, :2] += (x, y)
        faces[:, :4] /= scale
        return faces

    def points_box(self, box: np.ndarray) -> np.ndarray:
        """x, y, width, height of the box around the 68 points, predicted from this detector's `box`.

        `points` are the medians of points width / box width, (points top - box top) / box height and points height /
        box height on 160 rendered heads (40 figures, 4 expressions, head and shoulders at 420 px), with standard
        deviations of 0.01 to 0.05. The two boxes share their vertical axis.
        """
        x, y, width, height = (float(v) for v in box)
        across, top, down = self._points
        return np.array([x + width * (1 - across) / 2, y + height * top, width * across, height * down], np.float32)


def _largest_first(faces: np.ndarray) -> np.ndarray:
    x, y, width, height, score = faces.T
    return faces[np.lexsort((y, x, -score, -width * height))]


def _without_duplicates(faces: np.ndarray) -> np.ndarray:
    """Boxes (n, 5) of several tiles: for each face the one with the best score."""
    x, y, width, height, score = faces.T
    left = faces[np.lexsort((y, x, -width * height, -score))]
    kept = []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        low, high = np.maximum(best[:2], left[:, :2]), np.minimum(best[:2] + best[2:4], left[:, :2] + left[:, 2:4])
        shared = (high - low).clip(0).prod(1)
        area, areas = best[2:4].prod(), left[:, 2:4].prod(1)
        separate = shared <= _SAME_FACE_IOU * (area + areas - shared)
        left = left[separate & (shared <= _SAME_FACE_INSIDE * np.minimum(area, areas))]
    return np.array(kept, np.float32).reshape(-1, 5)


def _scale(height: int, width: int, side: int) -> float:
    """The scale that fits an image into a square, with limited enlargement."""
    return min(side / max(height, width), MAX_ENLARGEMENT)


def _fitted(image: np.ndarray, side: int, quarters: int) -> tuple[np.ndarray, float]:
    """The image, turned, in the upper left of a black square; and its scale."""
    height, width = image.shape[:2]
    scale = _scale(height, width, side)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    turned = np.rot90(cv2.resize(image, size, interpolation=interpolation), quarters)
    square = np.zeros((side, side, 3), np.uint8)
    square[: turned.shape[0], : turned.shape[1]] = turned
    return square, scale
