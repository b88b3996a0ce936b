"""The shots of a video: where each begins, its sharpest frame, and which shots repeat another.

A video is looked at a few times a second. Two looks differ by the larger of two distances: of their colours
(Hellinger's between histograms of 8 x 8 x 8 colours) and of their structure (one less the correlation of small grey
pictures, which light does not change). A cut is where this distance exceeds CUT and is RISE times its median over the
looks around it, so that a fast pan, which is far from one look to the next for a while, is no cut.
"""

from dataclasses import dataclass

import cv2
import numpy as np

CUT, RISE = 0.25, 3.0
SIDE = 32  # pixels of a small grey picture
SAME = 0.99
"""The correlation of two small pictures from which they show the same. Takes that came back, encoded again, stayed
above 0.999; of two figures in one frame and light (85 and 58 rendered ones, 40 terracottas) none reached 0.92.
"""

BLANK = 4.0  # standard deviation of the grey values below which a frame shows nothing
_AROUND = 8  # looks on either side
_LONG_SIDE = 640  # pixels at which sharpness is measured, so that videos of any size compare
_COLOURS = 8


@dataclass(frozen=True)
class Looks:
    """What is known of N frames of a video, in their order."""

    frames: np.ndarray  # int64 (N,), the number of the frame in the video
    times: np.ndarray  # float64 (N,), seconds
    distances: np.ndarray  # float32 (N,), from the look before, 0 to 1; 0 at the first
    sharpness: np.ndarray  # float32 (N,), variance of the Laplacian of the grey values
    spread: np.ndarray  # float32 (N,), standard deviation of the grey values
    pictures: np.ndarray  # uint8 (N, SIDE, SIDE), grey


class Watcher:
    """Looks at frames, one after the other."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, float, float, float, float]] = []
        self._pictures: list[np.ndarray] = []
        self._colours: np.ndarray | None = None

    def look(self, frame: int, time: float, image: np.ndarray) -> None:
        """image: uint8 (H, W, 3), BGR."""
        scale = _LONG_SIDE / max(image.shape[:2])
        if scale < 1:
            image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        picture = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        colours = cv2.calcHist([image], [0, 1, 2], None, [_COLOURS] * 3, [0, 256] * 3).ravel() / grey.size
        distance = 0.0
        if self._colours is not None:
            apart = float(np.sqrt(max(0.0, 1 - np.sqrt(colours * self._colours).sum())))
            distance = max(apart, 1 - float(resemblance(picture[None], self._pictures[-1][None])[0, 0]))
        sharpness = float(cv2.Laplacian(grey, cv2.CV_64F).var())
        self._rows.append((frame, time, distance, sharpness, float(grey.std())))
        self._pictures.append(picture)
        self._colours = colours

    def looks(self) -> Looks:
        columns = np.array(self._rows, np.float64).reshape(-1, 5).T
        frames, times, distances, sharpness, spread = columns
        pictures = np.array(self._pictures, np.uint8).reshape(-1, SIDE, SIDE)
        return Looks(frames.astype(np.int64), times, distances, sharpness, spread, pictures)


def resemblance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The correlation, 0 to 1, of each of N small pictures with each of M: (N, M). Blank pictures resemble nothing."""
    return np.maximum(_normalised(one) @ _normalised(other).T, 0)


def _normalised(pictures: np.ndarray) -> np.ndarray:
    values = pictures.reshape(len(pictures), SIDE * SIDE).astype(np.float32)
    values -= values.mean(1, keepdims=True)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), BLANK * SIDE)


def shots(looks: Looks, longest: float) -> list[tuple[int, int]]:
    """The looks of each shot as [first, end). A shot of more than `longest` seconds is divided evenly: a tour without
    cuts has many views.
    """
    n = len(looks.times)
    starts = [k for k in range(n) if k == 0 or _is_cut(looks.distances, k)]
    divided: list[tuple[int, int]] = []
    for first, end in zip(starts, [*starts[1:], n], strict=True):
        seconds = looks.times[end - 1] - looks.times[first]
        edges = np.linspace(looks.times[first], looks.times[end - 1], int(np.ceil(seconds / longest)) + 1)[1:-1]
        inner = first + np.searchsorted(looks.times[first:end], edges)
        bounds = sorted({first, *inner.tolist(), end})
        divided += zip(bounds[:-1], bounds[1:], strict=True)
    return divided


def _is_cut(distances: np.ndarray, k: int) -> bool:
    around = np.r_[distances[max(1, k - _AROUND) : k], distances[k + 1 : k + 1 + _AROUND]]
    usual = float(np.median(around)) if len(around) else 0.0
    return bool(distances[k] > CUT and distances[k] > RISE * usual)


def sharpest(looks: Looks, first: int, end: int, count: int) -> list[int]:
    """The sharpest look of each of `count` equal parts of a shot, fewer where it has fewer looks."""
    parts = np.array_split(np.arange(first, end), min(count, end - first))
    return [int(part[looks.sharpness[part].argmax()]) for part in parts]


def repeated(looks: Looks, found: list[tuple[int, int]]) -> list[int | None]:
    """For each shot the first earlier shot, itself no repetition, that already shows its sharpest frame, or None."""
    answers: list[int | None] = []
    shot_of = np.full(len(looks.times), -1)
    pictures = _normalised(looks.pictures)
    for number, (first, end) in enumerate(found):
        (best,) = sharpest(looks, first, end, 1)
        alike = (shot_of[:first] >= 0) & (pictures[:first] @ pictures[best] >= SAME)
        answers.append(int(shot_of[:first][alike].min()) if alike.any() else None)
        if answers[-1] is None:
            shot_of[first:end] = number
    return answers
