"""Videos to a corpus: the sharpest frames of every shot as photographs, with a manifest that every recipe reads.

The folder that is written holds `manifest.csv` (the frames that were taken), `frames.csv` (a row for every planned
frame and every video that could not be read, with its status), and the frames as JPEG, named after the video and the
second: `tour.mp4#t=12.48.jpg`. The same video and settings give the same files. A video is read in a process of its
own, twice: once to look for its shots, once to take the frames; no video is ever whole in memory.
"""

import contextlib
import pickle
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs

from twfer_dist.core.errors import UserError
from twfer_dist.core.status import KILLED, OK, UNREADABLE
from twfer_dist.corpus.files import list_folder
from twfer_dist.corpus.grid import strip
from twfer_dist.corpus.tables import read_table
from twfer_dist.corpus.video import VIDEO_ENDINGS
from twfer_dist.corpus.video_frames import COLUMNS, FrameSettings, Row, failed, read_video
from twfer_dist.engine import storage
from twfer_dist.engine.isolated_worker import IsolatedWorker, WorkerCrash
from twfer_dist.engine.progress import Progress
from twfer_dist.engine.spreadsheet import rows_to_csv, without_formula

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
FRAMES, MANIFEST = "frames.csv", "manifest.csv"
_COLUMNS = (*COLUMNS, "video_sha256", "settings")
_MANIFEST_COLUMNS = ("path", "figure_id", "video", "video_shot", "video_time", "video_sha256")


@dataclass(frozen=True)
class Taken:
    """What is in the folder: frames by status, and a sentence for each video that was not read, or not wholly."""

    videos: int
    read: int  # videos of which some frame was decoded
    shots: int
    frames: dict[str, int]
    remarks: list[str]


def take_frames(source: str, out: str, settings: FrameSettings, *, quiet: bool = False) -> Taken:
    """Take the frames of a video, or of every video in a folder, to the folder `out`.

    A video whose frames are in `out` is not read again, so an interrupted run goes on with the video that it was at.
    UserError where there is no video, none can be read, or `out` has frames of other settings or of a video that has
    changed since.
    """
    source, out = storage.absolute(source), storage.absolute(out)
    root, videos = _videos(source)
    rows = _earlier(out)
    if any(row["settings"] != settings.digest for row in rows):
        raise UserError(
            f"{out} has frames that were taken with other settings or another version: name another folder."
        )
    _write(out, rows)  # so that a folder that is interrupted within the first video is known again
    with _Reader(out, settings) as reader:
        for number, video in enumerate(videos, 1):
            with _on_this_machine(root, video) as path:
                known = [row for row in rows if row["video"] == video]
                sha256 = storage.sha256_file(path)
                if any(row["video_sha256"] != sha256 for row in known):
                    raise UserError(f"{out} has frames of {video}, which has changed since: name another folder.")
                if known and known[0]["status"] not in (UNREADABLE, KILLED):
                    continue
                name = video if len(videos) == 1 else f"{video} ({number} of {len(videos)})"
                made = reader.read(path, video, Progress(name, 100, unit="%", quiet=quiet))
            added = [{**row, "video_sha256": sha256, "settings": settings.digest} for row in made]
            rows = sorted([row for row in rows if row["video"] != video] + added, key=lambda row: row["video"])
            _write(out, rows)
    taken = _summary([row for row in rows if row["video"] in videos])
    if not taken.read:
        raise UserError(f"{' '.join(taken.remarks)} Convert it to MP4 (H.264), or name another video.")
    return taken


def _videos(source: str) -> tuple[str, list[str]]:
    """The folder of the videos and their paths in it."""
    if not storage.exists(source):
        raise UserError(f"{source} does not exist: name a video, or a folder of videos.")
    root, names = source, []
    if storage.is_file(source):
        base, mark, query = source.partition("?") if "://" in source else (source, "", "")
        root, names = (base.rpartition("/")[0] or "/") + mark + query, [storage.name_of(source)]
    videos = [path for path in names or list_folder(source).files if path.lower().endswith(VIDEO_ENDINGS)]
    if not videos:
        raise UserError(f"{source} is or holds no video ({', '.join(VIDEO_ENDINGS)}): name one, or a folder of videos.")
    if odd := [name for name in videos if without_formula(name) != strip(name) or _CONTROL.search(name)]:
        raise UserError(
            f"{source}: a table cannot hold the name {odd[0]!r}: begin it with a letter or a digit, and leave out tabs "
            "and line breaks."
        )
    return root, videos


def _earlier(out: str) -> list[Row]:
    """The rows of an earlier run."""
    uri = storage.join(out, FRAMES)
    if storage.exists(uri):
        return [row for _, row in read_table(uri, {"video"}).rows]
    if storage.list_files(out) or storage.list_folders(out):
        raise UserError(f"{out} is not empty and has no {FRAMES}: name a new folder for the frames.")
    return []


@contextlib.contextmanager
def _on_this_machine(root: str, video: str) -> Iterator[str]:
    """A path of the video that a decoder can open; a video elsewhere is copied for the time."""
    uri = storage.join(root, video)
    fs, path = storage.resolve(uri)
    if isinstance(fs, pafs.LocalFileSystem):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        local = str(Path(folder, "video" + Path(video).suffix))
        storage.copy_file(uri, local)
        yield local


class _Reader:
    """Reads videos in a process of its own, which a crash of the decoder ends and the next video starts again."""

    def __init__(self, out: str, settings: FrameSettings) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._report = str(Path(self._folder.name, "progress"))
        step = (read_video, {"out": out, "settings": settings, "report": self._report})
        self._worker = IsolatedWorker(pickle.dumps([step]))

    def __enter__(self) -> "_Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.__exit__()
        self._folder.cleanup()

    def read(self, path: str, video: str, progress: Progress) -> list[Row]:
        """The rows of a video, whose frames are written on the way."""
        with progress.follow(self._report):
            answer = self._worker.run(pa.table({"path": [path], "video": [video]}))
        if isinstance(answer, WorkerCrash):
            return [failed(video, KILLED, f"the decoder crashed or gave no frame for too long ({answer.cause}).")]
        assert isinstance(answer, pa.Table)
        return answer.to_pylist()


def _write(out: str, rows: Sequence[Row]) -> None:
    """frames.csv, and of the frames that were taken manifest.csv."""
    taken = [
        {
            "path": row["path"],
            "figure_id": f"{row['video']}, shot {row['shot']}",
            "video": row["video"],
            "video_shot": row["shot"],
            "video_time": row["time"],
            "video_sha256": row["video_sha256"],
        }
        for row in rows
        if row["status"] == OK
    ]
    storage.write_bytes(storage.join(out, MANIFEST), rows_to_csv(_MANIFEST_COLUMNS, taken))
    storage.write_bytes(storage.join(out, FRAMES), rows_to_csv(_COLUMNS, rows))


def _summary(rows: Sequence[Row]) -> Taken:
    read = {row["video"] for row in rows if row["shot"]}
    videos = {row["video"] for row in rows}
    frames = Counter(row["status"] for row in rows if row["shot"])
    told = [row["error"] for row in rows if not row["shot"] or (row["status"] == OK and row["error"])]
    shots = len({(row["video"], row["shot"]) for row in rows if row["shot"]})
    return Taken(len(videos), len(read), shots, dict(sorted(frames.items())), list(dict.fromkeys(told)))
