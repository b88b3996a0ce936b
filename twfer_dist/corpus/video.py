"""Reading a video with OpenCV: frames in order, within bounds, from files that may be damaged or hostile."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from twfer_dist.core.status import TOO_LARGE, UNREADABLE

VIDEO_ENDINGS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".3gp", ".ogv")
"""The endings of videos, in lower case."""

MAX_PIXELS = 40_000_000  # of a frame: 8K has 33 million
MAX_SECONDS = 6 * 3600.0  # of a video that are read

# By content, because a playlist with a video's name would have the decoder open other files.
_VIDEO = re.compile(
    rb"....(ftyp|moov|mdat|wide|free|skip|pnot)|RIFF....AVI |\x1a\x45\xdf\xa3|\0\0\x01[\xba\xb3]|OggS"
    rb"|\x30\x26\xb2\x75\x8e\x66\xcf\x11",
    re.DOTALL,
)


class VideoError(Exception):
    """A video that cannot be read. status: as in `core.status`; the message is a sentence."""

    def __init__(self, status: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True)
class Frame:
    number: int  # in the file, from 0
    time: float  # seconds from the start


class Video:
    """A video on this machine. `frame` decodes the one that `frames` has reached.

    A decoder can crash or hang over a hostile file: read it in a process of its own.
    """

    def __init__(self, path: str) -> None:
        """path: absolute. VideoError where it is no video, or its frames are too large."""
        with open(path, "rb") as file:
            if not _VIDEO.match(file.read(16)):
                raise VideoError(
                    UNREADABLE, "its content is not that of a video: it is damaged or of an unknown format."
                )
        self._capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise VideoError(UNREADABLE, "it cannot be opened: it is cut off or damaged, or its codec is unknown.")
        self.width, self.height = (
            int(self._capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        )
        if self.width * self.height > MAX_PIXELS:
            raise VideoError(TOO_LARGE, f"a frame has {self.width} x {self.height} pixels, more than {MAX_PIXELS:,}.")
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self._rate = rate if 0 < rate <= 1000 else 25.0
        self.promised = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))

    @property
    def seconds(self) -> float:
        """How long the file says that it is, at most MAX_SECONDS."""
        return min(self.promised / self._rate, MAX_SECONDS)

    def frames(self) -> Iterator[Frame]:
        """Every frame up to MAX_SECONDS, undecoded. Times rise, whatever the file says."""
        number, time = 0, 0.0
        while self._capture.grab():
            said = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            time = said if number and said > time else number and time + 1 / self._rate
            if time > MAX_SECONDS:
                break
            yield Frame(number, time)
            number += 1

    def frame(self) -> np.ndarray | None:
        """The frame that was reached: uint8 (H, W, 3), BGR, upright; None where it cannot be decoded."""
        decoded, image = self._capture.retrieve()
        return image if decoded and image is not None and image.ndim == 3 else None

    def close(self) -> None:
        self._capture.release()
