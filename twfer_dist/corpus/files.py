"""What lies in a corpus folder: its files, and where a photograph may be read."""

import os
import re
import stat
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pyarrow.fs as pafs

from twfer_dist.core.errors import UserError
from twfer_dist.corpus.formats import ending_of, remedy_for
from twfer_dist.engine import artifact, storage

Fact = tuple[int, int]
"""Size in bytes and time of the last change in nanoseconds: they stand for a file's content without reading it."""

MACHINE_FOLDERS = {
    "@eadir", "@recycle", "@recently-snapshot", "@tmp", "@__thumb", "#recycle", "#snapshot", "$recycle.bin", "recycler",
    "system volume information", "lost+found", "__macosx", "mlartifacts", "mlruns",
}  # fmt: skip
"""Folders, in lower case, that storage boxes, archives, operating systems and MLflow make: thumbnails, deleted files,
copies.
"""

OUTPUTS = "earlier outputs/"
_OUTPUT = re.compile(r".+-[0-9a-f]{12}(\..*)?")
_MOST_SAID = 8  # kinds of files


@dataclass(frozen=True)
class Listing:
    """The files under a folder that people put there."""

    files: Mapping[str, Fact]  # relative path with forward slashes -> fact, in the order of the paths
    hidden: int  # names that begin with a dot; a hidden folder counts once
    links_not_followed: int  # to folders, to files out of the folder, to nothing
    folders_left_out: Mapping[
        str, int
    ]  # name, with a slash at its end -> how many: those of machines, and what this program wrote
    names_not_utf8: list[str]  # of files and folders that are left out for it


Walk = Iterable[tuple[str, list[str], list[str]]]
"""Each folder as a relative path, the names of its folders (what is taken out of them is not walked through) and of its
files.
"""


def list_folder(root: str) -> Listing:
    """Every file under `root`, at any depth. Links to folders are not followed.

    Left out are hidden files and folders, the folders of `MACHINE_FOLDERS`, and outputs of this program, whatever the
    folder is called that they were written to.
    """
    fs, place = storage.resolve(root)
    return list_local(place) if isinstance(fs, pafs.LocalFileSystem) else list_remote(fs, place)


def list_local(place: str) -> Listing:
    """The listing of a folder of this machine."""
    links: list[str] = []
    inside = os.path.realpath(place)

    def refuse(error: OSError) -> None:
        raise UserError(
            f"{error.filename} cannot be listed ({error.strerror}): allow reading it, or move it out of the corpus."
        )

    def walk() -> Iterator[tuple[str, list[str], list[str]]]:
        for folder, folders, names in os.walk(place, onerror=refuse):
            links.extend(n for n in folders if os.path.islink(os.path.join(folder, n)))
            relative = os.path.relpath(folder, place).replace(os.sep, "/")
            yield "" if relative == "." else relative, folders, names

    def look(path: str) -> Fact | None:
        full = os.path.join(place, path)
        fact = _fact(full)
        if os.path.islink(full) and not (fact and Path(os.path.realpath(full)).is_relative_to(inside)):
            links.append(path)
            return None
        return fact

    return _listing(walk(), look, links)


def list_remote(fs: pafs.FileSystem, place: str) -> Listing:
    """The listing of a folder of any other file system, which has no links."""
    selector = pafs.FileSelector(place, allow_not_found=True, recursive=True)
    infos = [i for i in fs.get_file_info(selector) if i.type == pafs.FileType.File]
    facts = {i.path[len(place) :].lstrip("/"): (int(i.size or 0), int(i.mtime_ns or 0)) for i in infos}

    def walk() -> Iterator[tuple[str, list[str], list[str]]]:
        folders, names = defaultdict(set), defaultdict(list)
        for path in facts:
            *above, name = path.split("/")
            names["/".join(above)].append(name)
            for depth, folder in enumerate(above):
                folders["/".join(above[:depth])].add(folder)
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            below = sorted(folders[folder])
            yield folder, below, names[folder]
            waiting += [f"{folder}/{name}".lstrip("/") for name in below]

    return _listing(walk(), facts.get, [])


def _listing(walk: Walk, look: Callable[[str], Fact | None], links: list[str]) -> Listing:
    """What of the files to list. look: the fact of a file, None where it is not to be read; links: those met on the
    way.
    """
    found: dict[str, Fact] = {}
    hidden = 0
    left_out: Counter[str] = Counter()
    not_utf8: list[str] = []
    for folder, folders, names in walk:
        if folder and (artifact.MANIFEST in names or artifact.WORK in folders):
            left_out[OUTPUTS] += 1
            folders.clear()
            continue
        kept = []
        for name in folders:
            if name.startswith("."):
                hidden += 1
            elif not _is_text(name):
                not_utf8.append(name)
            elif name.casefold() in MACHINE_FOLDERS:
                left_out[f"{name}/"] += 1
            elif _is_output(name, names):
                left_out[OUTPUTS] += 1
            else:
                kept.append(name)
        folders[:] = kept
        for name in names:
            path = f"{folder}/{name}" if folder else name
            if name.startswith("."):
                hidden += 1
            elif not _is_text(name):
                not_utf8.append(name)
            elif fact := look(path):
                found[path] = fact
    odd = sorted(repr(os.fsencode(name))[2:-1] for name in not_utf8)
    return Listing(dict(sorted(found.items())), hidden, len(links), dict(left_out), odd)


def _is_output(folder: str, beside: list[str]) -> bool:
    """Whether a folder is an output that was stopped before it had its manifest or anything to resume from."""
    return bool(_OUTPUT.fullmatch(folder)) and any(
        n == artifact.INDEX or (n.startswith(f"{folder}.") and n.endswith(artifact.LEASE_SUFFIX)) for n in beside
    )


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def passed_over(listing: Listing, taken: Container[str]) -> dict[str, int]:
    """How many files and folders were left aside, by ending; a file that is the only one of its ending by its name.
    taken: the paths of the others.
    """
    by_ending: dict[str, list[str]] = defaultdict(list)
    for path in listing.files:
        if path not in taken:
            by_ending[ending_of(path)].append(path.rpartition("/")[2])
    found = {
        names[0] if len(names) == 1 else ending or "without an ending": len(names)
        for ending, names in by_ending.items()
    }
    if listing.hidden:
        found["hidden"] = found.get("hidden", 0) + listing.hidden
    return dict(Counter(found).most_common()) | dict(listing.folders_left_out)


def say_passed_over(found: Mapping[str, int]) -> list[str]:
    """What `passed_over` found, in a sentence for the files and one for the folders."""
    files = [(name, count) for name, count in found.items() if not name.endswith("/")]
    folders = [(name.rstrip("/"), count) for name, count in found.items() if name.endswith("/")]
    return [_said(files, "files passed over")] * bool(files) + [_said(folders, "folders left out")] * bool(folders)


def _said(counted: list[tuple[str, int]], what: str) -> str:
    total = sum(count for _, count in counted)
    words = []
    for name, count in counted[:_MOST_SAID]:
        remedy = remedy_for(ending_of(f"x{name}"))
        words.append((f"{count} " if total > 1 else "") + name + (f" ({remedy})" if remedy else ""))
    if others := sum(count for _, count in counted[_MOST_SAID:]):
        words.append(f"{others} of other kinds")
    return f"{total} {what if total > 1 else what.replace('s ', ' ', 1)}: {', '.join(words)}"


def say_not_utf8(names: list[str]) -> list[str]:
    """A sentence on files and folders that were left out for their names, if there are any."""
    if not names:
        return []
    shown = ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")
    several = f"{len(names)} files or folders were left out, as their names are"
    what = "1 file or folder was left out, as its name is" if len(names) == 1 else several
    return [f"{what} not valid UTF-8: rename {shown}"]


def _fact(path: str) -> Fact | None:
    """The fact of a regular file; None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None


def locate(root: str, path: str) -> tuple[pafs.FileSystem, str]:
    """The file system of a corpus and the place in it of the photograph `path`, for whoever opens that photograph.

    ValueError, with a sentence for the row's `error`, where `path` would lead out of the corpus: an absolute path,
    "..", or a link to a file elsewhere. A photograph that is not there is no error here.
    """
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts:
        raise ValueError(f"the path {path} leads out of the corpus")
    fs, base = storage.resolve(root)
    place = f"{base.rstrip('/')}/{path}"
    if isinstance(fs, pafs.LocalFileSystem) and not Path(os.path.realpath(place)).is_relative_to(
        os.path.realpath(base)
    ):
        raise ValueError(f"the path {path} is a link that leads out of the corpus")
    return fs, place


def fact_of(root: str, path: str, listing: Listing) -> Fact | None:
    """The fact of one photograph; None where it is missing or leads out of the corpus."""
    if path in listing.files:
        return listing.files[path]
    try:
        fs, place = locate(root, path)
    except ValueError:
        return None
    return _fact(place) if isinstance(fs, pafs.LocalFileSystem) else None
