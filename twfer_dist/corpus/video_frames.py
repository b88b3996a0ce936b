"""The frames of one video: planned from a look at all of it, and written; what runs in a process of its own."""

import signal
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

import cv2
import numpy as np
import pyarrow as pa

from twfer_dist.core.images import encode_jpeg
from twfer_dist.core.status import OK, UNREADABLE
from twfer_dist.corpus.shots import BLANK, Looks, Watcher, repeated, sharpest, shots
from twfer_dist.corpus.video import MAX_SECONDS, Frame, Video, VideoError
from twfer_dist.engine import storage
from twfer_dist.engine.config import Range, Settings
from twfer_dist.engine.progress import ProgressReporter

VERSION = 1
LOOKS = 8  # a second of video
QUALITY = 95  # of JPEG
STALLED_S = 120  # without a frame, after which the decoder hangs
_LONGEST_NAME = 227  # bytes: file systems allow 255, and the second and the suffix of a file being written follow

REPEATED, BLANK_FRAME, LEFT_OUT = "repeated", "blank", "left_out"
"""Statuses of planned frames beside those of `core.status`: the shot repeats an earlier one; the frame shows nothing;
the video has more frames than `at_most`.
"""

COLUMNS = ("video", "shot", "start", "end", "time", "sharpness", "status", "error", "path", "sha256")
"""Of a planned frame: the video's path, the shot from 1, its seconds, the frame's second, the variance of its
Laplacian, what became of it and why in a sentence, the picture and its sha256. A video that could not be read has one
row.
"""

Row = dict[str, str]


@dataclass(frozen=True)
class FrameSettings(Settings):
    """Which frames are taken."""

    per_shot: Annotated[int, Range(1, 100)] = 1
    longest: Annotated[float, Range(0.5, 3600)] = 10.0  # seconds of a shot; a longer one is divided
    at_most: Annotated[int, Range(1, 100_000)] = 1000  # frames of a video, evenly over its shots

    @property
    def digest(self) -> str:
        """12 hex digits that stand for everything that decides which frames are taken."""
        return storage.digest([VERSION, cv2.__version__, asdict(self)])


def read_video(plan: pa.Table, *, out: str, settings: FrameSettings, report: str) -> pa.Table:
    """A step of an isolated worker: write the frames of the plan's `video`, which lies at `path`, to `out`, and
    return its rows.

    report: where the share that is done, in percent, is written. A decoder that hangs cannot be interrupted, so
    SIGALRM ends the process.
    """
    cv2.setNumThreads(1)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(STALLED_S)
    path, video = plan["path"][0].as_py(), plan["video"][0].as_py()
    progress = ProgressReporter(report)
    try:
        looks, note = _look(path, progress)
        signal.alarm(0)  # no frame is decoded here, and planning a long video may take longer
        rows = _planned(video, looks, settings, note)
        signal.alarm(STALLED_S)
        _write(path, out, {int(looks.frames[k]): row for k, row in rows if row["status"] == OK}, progress)
        made = [row for _, row in rows]
    except VideoError as error:
        made = [failed(video, error.status, str(error))]
    signal.alarm(0)
    return pa.Table.from_pylist(made, schema=pa.schema([(name, pa.string()) for name in COLUMNS]))


def failed(video: str, status: str, sentence: str) -> Row:
    """The row of a video without frames."""
    return dict.fromkeys(COLUMNS, "") | {"video": video, "status": status, "error": f"{video}: {sentence}"}


def _look(path: str, progress: ProgressReporter) -> tuple[Looks, str]:
    """LOOKS looks a second, and a sentence where the video ends before it should."""
    video, watcher = Video(path), Watcher()
    last, count = -1.0, 0
    for frame in _watched(video, progress, 0):
        count += 1
        if (last < 0 or frame.time - last >= 1 / LOOKS - 1e-6) and (image := video.frame()) is not None:
            watcher.look(frame.number, frame.time, image)
            last = frame.time
    video.close()
    looks = watcher.looks()
    if not len(looks.times):
        raise VideoError(UNREADABLE, "no frame of it can be decoded: it is cut off or damaged.")
    if last > MAX_SECONDS - 1:
        return looks, f"only its first {MAX_SECONDS / 3600:g} hours were read."
    if count < 0.9 * video.promised:
        return looks, f"it ends after {count:,} of {video.promised:,} frames: it is cut off or damaged."
    return looks, ""


def _watched(video: Video, progress: ProgressReporter, done: float) -> Iterator[Frame]:
    """The frames of a video; each puts off the alarm, and is reported as half of the work after `done` percent."""
    for frame in video.frames():
        signal.alarm(STALLED_S)
        if video.seconds:
            progress(done + 50 * min(1.0, frame.time / video.seconds))
        yield frame


def _planned(video: str, looks: Looks, settings: FrameSettings, note: str) -> list[tuple[int, Row]]:
    """A row for each planned frame, with the look that it is. note: on the video, in every row of a frame."""
    found = shots(looks, settings.longest)
    rows = []
    for number, ((first, end), same) in enumerate(zip(found, repeated(looks, found), strict=True), 1):
        for k in sharpest(looks, first, end, settings.per_shot):
            status, error = OK, note and f"{video}: {note}"
            if looks.spread[k] < BLANK:
                status, error = BLANK_FRAME, f"{video}: shot {number} shows nothing but one shade."
            elif same is not None:
                status, error = REPEATED, f"{video}: shot {number} shows what shot {same + 1} shows."
            row = {"video": video, "shot": str(number), "status": status, "error": error, "path": "", "sha256": ""}
            seconds = {"start": looks.times[first], "end": looks.times[end - 1], "time": looks.times[k]}
            row |= {name: f"{value:.2f}" for name, value in seconds.items()}
            rows.append((k, row | {"sharpness": f"{looks.sharpness[k]:.1f}"}))
    _leave_out(rows, video, settings.at_most)
    return rows


def _leave_out(rows: Sequence[tuple[int, Row]], video: str, most: int) -> None:
    """Give the status LEFT_OUT to so many frames that `most` are left, evenly over the video."""
    taken = [row for _, row in rows if row["status"] == OK]
    kept = set(np.linspace(0, len(taken) - 1, min(most, len(taken))).round().astype(int).tolist())
    for k, row in enumerate(taken):
        if k not in kept:
            row |= {"status": LEFT_OUT, "error": f"{video}: at most {most:,} frames of a video are taken."}


def _write(path: str, out: str, wanted: dict[int, Row], progress: ProgressReporter) -> None:
    """Write the frames with these numbers, and put their paths and sha256 into their rows."""
    if not wanted:
        return
    video, last = Video(path), max(wanted)
    for frame in _watched(video, progress, 50):
        if row := wanted.get(frame.number):
            image = video.frame()
            if image is None:  # it was decoded at the first look
                raise VideoError(UNREADABLE, f"the frame at {row['time']} s was decoded once and not again.")
            data = encode_jpeg(np.ascontiguousarray(image[..., ::-1]), QUALITY)
            row |= {"path": f"{_stem(row['video'])}#t={row['time']}.jpg", "sha256": storage.sha256(data)}
            storage.write_bytes(storage.join(out, row["path"]), data)
        if frame.number == last:
            break
    video.close()


def _stem(video: str) -> str:
    """How the paths of a video's frames begin: with its path, or where its name is too long, the name's start and a
    digest.
    """
    folder, slash, name = video.rpartition("/")
    if len(name.encode()) > _LONGEST_NAME:
        digest = storage.digest(video)
        name = f"{name.encode()[: _LONGEST_NAME - len(digest) - 1].decode(errors='ignore')}-{digest}"
    return f"{folder}{slash}{name}"
