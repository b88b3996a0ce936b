"""Films to a corpus: the sharpest frames of every shot as photographs, with a manifest that every recipe reads.

The folder that is written holds `manifest.csv` (the frames that were taken), `frames.csv` (a row for every planned
frame and every film that could not be read, with its status), and the frames as JPEG, named after the film and the
second: `tour.mp4#t=12.48.jpg`. The same film and settings give the same files. A film is read in a process of its own,
twice: once to look for its shots, once to take the frames; no film is ever whole in memory.
"""

import contextlib
import pickle
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
from twfer_dist.corpus.film import FILM_ENDINGS
from twfer_dist.corpus.film_frames import COLUMNS, FrameSettings, Row, failed, read_film
from twfer_dist.corpus.tables import read_table
from twfer_dist.engine import storage
from twfer_dist.engine.isolated_worker import IsolatedWorker, WorkerCrash
from twfer_dist.engine.progress import Progress
from twfer_dist.engine.spreadsheet import rows_to_csv, without_formula

FRAMES, MANIFEST = "frames.csv", "manifest.csv"
_COLUMNS = (*COLUMNS, "film_sha256", "settings")
_MANIFEST_COLUMNS = ("path", "figure_id", "film", "film_shot", "film_time", "film_sha256")


@dataclass(frozen=True)
class Taken:
    """What is in the folder: frames by status, and a sentence for each film that was not read, or not wholly."""

    films: int
    read: int  # films of which some frame was decoded
    shots: int
    frames: dict[str, int]
    remarks: list[str]


def take_frames(source: str, out: str, settings: FrameSettings, *, quiet: bool = False) -> Taken:
    """Take the frames of a film, or of every film in a folder, to the folder `out`.

    A film whose frames are in `out` is not read again, so an interrupted run goes on with the film that it was at.
    UserError where there is no film, none can be read, or `out` has frames of other settings or of a film that has
    changed since.
    """
    source, out = storage.absolute(source), storage.absolute(out)
    root, films = _films(source)
    rows = _earlier(out)
    if any(row["settings"] != settings.digest for row in rows):
        raise UserError(
            f"{out} has frames that were taken with other settings or another version: name another folder."
        )
    _write(out, rows)  # so that a folder that is interrupted within the first film is known again
    with _Reader(out, settings) as reader:
        for number, film in enumerate(films, 1):
            with _on_this_machine(root, film) as path:
                known = [row for row in rows if row["film"] == film]
                sha256 = storage.sha256_file(path)
                if any(row["film_sha256"] != sha256 for row in known):
                    raise UserError(f"{out} has frames of {film}, which has changed since: name another folder.")
                if known and known[0]["status"] not in (UNREADABLE, KILLED):
                    continue
                name = film if len(films) == 1 else f"{film} ({number} of {len(films)})"
                made = reader.read(path, film, Progress(name, 100, unit="%", quiet=quiet))
            added = [{**row, "film_sha256": sha256, "settings": settings.digest} for row in made]
            rows = sorted([row for row in rows if row["film"] != film] + added, key=lambda row: row["film"])
            _write(out, rows)
    taken = _summary([row for row in rows if row["film"] in films])
    if not taken.read:
        raise UserError(f"{' '.join(taken.remarks)} Convert it to MP4 (H.264), or name another film.")
    return taken


def _films(source: str) -> tuple[str, list[str]]:
    """The folder of the films and their paths in it."""
    if not storage.exists(source):
        raise UserError(f"{source} does not exist: name a film, or a folder of films.")
    root, names = source, []
    if storage.is_file(source):
        root, names = source.rpartition("/")[0] or "/", [storage.name_of(source)]
    films = [path for path in names or list_folder(source).files if path.lower().endswith(FILM_ENDINGS)]
    if not films:
        raise UserError(f"{source} is or holds no film ({', '.join(FILM_ENDINGS)}): name one, or a folder of films.")
    if odd := [name for name in films if without_formula(name) != " ".join(name.split())]:
        raise UserError(f"{source}: a table cannot hold the name '{odd[0]}': begin it with a letter or a digit.")
    return root, films


def _earlier(out: str) -> list[Row]:
    """The rows of an earlier run."""
    uri = storage.join(out, FRAMES)
    if storage.exists(uri):
        return [row for _, row in read_table(uri, {"film"}).rows]
    if storage.list_files(out) or storage.list_folders(out):
        raise UserError(f"{out} is not empty and has no {FRAMES}: name a new folder for the frames.")
    return []


@contextlib.contextmanager
def _on_this_machine(root: str, film: str) -> Iterator[str]:
    """A path of the film that a decoder can open; a film elsewhere is copied for the time."""
    uri = storage.join(root, film)
    fs, path = storage.resolve(uri)
    if isinstance(fs, pafs.LocalFileSystem):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        local = str(Path(folder, "film" + Path(film).suffix))
        storage.copy_file(uri, local)
        yield local


class _Reader:
    """Reads films in a process of its own, which a crash of the decoder ends and the next film starts again."""

    def __init__(self, out: str, settings: FrameSettings) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._report = str(Path(self._folder.name, "progress"))
        step = (read_film, {"out": out, "settings": settings, "report": self._report})
        self._worker = IsolatedWorker(pickle.dumps([step]))

    def __enter__(self) -> "_Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.__exit__()
        self._folder.cleanup()

    def read(self, path: str, film: str, progress: Progress) -> list[Row]:
        """The rows of a film, whose frames are written on the way."""
        with progress.follow(self._report):
            answer = self._worker.run(pa.table({"path": [path], "film": [film]}))
        if isinstance(answer, WorkerCrash):
            return [failed(film, KILLED, f"the decoder crashed or gave no frame for too long ({answer.cause}).")]
        assert isinstance(answer, pa.Table)
        return answer.to_pylist()


def _write(out: str, rows: Sequence[Row]) -> None:
    """frames.csv, and of the frames that were taken manifest.csv."""
    taken = [
        {
            "path": row["path"],
            "figure_id": f"{row['film']}, shot {row['shot']}",
            "film": row["film"],
            "film_shot": row["shot"],
            "film_time": row["time"],
            "film_sha256": row["film_sha256"],
        }
        for row in rows
        if row["status"] == OK
    ]
    storage.write_bytes(storage.join(out, MANIFEST), rows_to_csv(_MANIFEST_COLUMNS, taken))
    storage.write_bytes(storage.join(out, FRAMES), rows_to_csv(_COLUMNS, rows))


def _summary(rows: Sequence[Row]) -> Taken:
    read = {row["film"] for row in rows if row["shot"]}
    films = {row["film"] for row in rows}
    frames = Counter(row["status"] for row in rows if row["shot"])
    told = [row["error"] for row in rows if not row["shot"] or (row["status"] == OK and row["error"])]
    shots = len({(row["film"], row["shot"]) for row in rows if row["shot"]})
    return Taken(len(films), len(read), shots, dict(sorted(frames.items())), list(dict.fromkeys(told)))
