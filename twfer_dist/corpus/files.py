"""The files in a corpus folder, and where a photograph may be read."""

import os
import re
import stat
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import pyarrow.fs as pafs

from twfer_dist.core.errors import UserError
from twfer_dist.engine import artifact, storage

Fact = tuple[int, int]
"""Size in bytes and time of the last change in nanoseconds: they stand for a file's content without reading it."""

MACHINE_FOLDERS = {
    "@eadir", "@recycle", "@recently-snapshot", "@tmp", "@__thumb", "#recycle", "#snapshot", "$recycle.bin", "recycler",
    "system volume information", "lost+found", "__macosx", "mlartifacts", "mlruns",
}  # fmt: skip
"""Folders, in lower case, that network storage, archives, operating systems and MLflow create: thumbnails, deleted
files, copies.
"""

OUTPUTS = "earlier outputs/"
_OUTPUT = re.compile(r".+-[0-9a-f]{12}(\..*)?")


@dataclass(frozen=True)
class Listing:
    """The files under a folder that people put there."""

    files: Mapping[str, Fact]  # by relative path with forward slashes, in the order of the paths
    hidden: int  # names that begin with a dot; a hidden folder counts once
    links_not_followed: int  # to folders, to files outside the folder, to nothing
    folders_left_out: Mapping[str, int]  # how many by name, with a slash at its end: of machines and of this program
    names_not_utf8: list[str]  # of files and folders that are left out because of their name


Walk = Iterable[tuple[str, list[str], list[str]]]
"""Each folder as a relative path, the names of its folders (those removed from the list are not walked) and of its
files.
"""


def list_folder(root: str) -> Listing:
    """Every file under `root`, at any depth. Links to folders are not followed.

    Left out are hidden files and folders, the folders of `MACHINE_FOLDERS`, and outputs of this program, wherever in
    the folder they were written.
    """
    fs, path = storage.resolve(root)
    return list_local(path) if isinstance(fs, pafs.LocalFileSystem) else list_remote(fs, path)


def list_local(root: str) -> Listing:
    """The listing of a folder on this machine."""
    links: list[str] = []
    inside = os.path.realpath(root)

    def refuse(error: OSError) -> None:
        raise UserError(
            f"{error.filename} cannot be listed ({error.strerror}): allow reading it, or move it out of the corpus."
        )

    def walk() -> Iterator[tuple[str, list[str], list[str]]]:
        for folder, folders, names in os.walk(root, onerror=refuse):
            links.extend(n for n in folders if os.path.islink(os.path.join(folder, n)))
            relative = os.path.relpath(folder, root).replace(os.sep, "/")
            yield "" if relative == "." else relative, folders, names

    def fact(path: str) -> Fact | None:
        full = os.path.join(root, path)
        found = _fact(full)
        if os.path.islink(full) and not (found and Path(os.path.realpath(full)).is_relative_to(inside)):
            links.append(path)
            return None
        return found

    return _list(walk(), fact, links)


def list_remote(fs: pafs.FileSystem, root: str) -> Listing:
    """The listing of a folder on any other file system, which has no links."""
    selector = pafs.FileSelector(root, allow_not_found=True, recursive=True)
    infos = [i for i in fs.get_file_info(selector) if i.type == pafs.FileType.File]
    facts = {i.path[len(root) :].lstrip("/"): (int(i.size or 0), int(i.mtime_ns or 0)) for i in infos}

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

    return _list(walk(), facts.get, [])


@dataclass
class _Names:
    """Sorts the names of a folder into those to list and those to leave out, which it counts."""

    hidden: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    not_utf8: list[str] = field(default_factory=list)

    def is_listed(self, name: str) -> bool:
        if name.startswith("."):
            self.hidden += 1
            return False
        try:
            name.encode()
        except UnicodeEncodeError:
            self.not_utf8.append(name)
            return False
        return True

    def is_walked(self, folder: str, files: Sequence[str]) -> bool:
        """Whether a folder is listed. files: those beside it."""
        if not self.is_listed(folder):
            return False
        if folder.casefold() in MACHINE_FOLDERS:
            self.left_out[f"{folder}/"] += 1
        elif _is_unfinished_output(folder, files):
            self.left_out[OUTPUTS] += 1
        else:
            return True
        return False


def _list(walk: Walk, fact: Callable[[str], Fact | None], links: list[str]) -> Listing:
    """The listing of the files that `walk` visits. fact: of a file, None if it is not to be read; links: those that
    `walk` and `fact` met.
    """
    facts: dict[str, Fact] = {}
    seen = _Names()
    for folder, folders, files in walk:
        if folder and artifact.is_in_output(files, folders):
            seen.left_out[OUTPUTS] += 1
            folders.clear()
            continue
        folders[:] = [name for name in folders if seen.is_walked(name, files)]
        for name in files:
            path = f"{folder}/{name}" if folder else name
            if seen.is_listed(name) and (found := fact(path)):
                facts[path] = found
    not_utf8 = sorted(repr(os.fsencode(name))[2:-1] for name in seen.not_utf8)
    return Listing(dict(sorted(facts.items())), seen.hidden, len(links), dict(seen.left_out), not_utf8)


def _is_unfinished_output(folder: str, files: Sequence[str]) -> bool:
    """Whether a folder is an output that was interrupted before it had a manifest or anything to resume from."""
    return bool(_OUTPUT.fullmatch(folder)) and any(
        name == artifact.INDEX or (name.startswith(f"{folder}.") and name.endswith(artifact.LEASE_SUFFIX))
        for name in files
    )


def _fact(path: str) -> Fact | None:
    """The fact of a regular file; None if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None


def locate(root: str, path: str) -> tuple[pafs.FileSystem, str]:
    """The file system of a corpus and the location in it of the photograph `path`, which need not exist.

    ValueError, with a sentence for the row's `error`, if `path` leads out of the corpus: an absolute path, "..", or a
    link to a file elsewhere.
    """
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts:
        raise ValueError(f"the path {path} leads out of the corpus")
    fs, base = storage.resolve(root)
    location = f"{base.rstrip('/')}/{path}"
    if isinstance(fs, pafs.LocalFileSystem) and not Path(os.path.realpath(location)).is_relative_to(
        os.path.realpath(base)
    ):
        raise ValueError(f"the path {path} is a link that leads out of the corpus")
    return fs, location


def fact_of(root: str, path: str, listing: Listing) -> Fact | None:
    """The fact of one photograph; None if it is missing or leads out of the corpus."""
    if path in listing.files:
        return listing.files[path]
    try:
        fs, location = locate(root, path)
    except ValueError:
        return None
    return _fact(location) if isinstance(fs, pafs.LocalFileSystem) else None
