"""What lies in a corpus folder: its files, and where a photograph may be read."""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pyarrow.fs as pafs

from twfer_dist import storage
from twfer_dist.errors import Problem

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp")

Fact = tuple[int, int]
"""Size in bytes and time of the last change in nanoseconds: they stand for a file's content without reading it."""


@dataclass(frozen=True)
class Listing:
    """The files under a folder, without what is hidden and without links that are not followed."""

    files: Mapping[str, Fact]  # relative path with forward slashes -> fact, in the order of the paths
    hidden: int  # names that begin with a dot; a hidden folder counts once
    links_not_followed: int  # to folders, to files out of the folder, to nothing


def list_folder(root: str) -> Listing:
    """Every file under `root`, at any depth. Links to folders are not followed."""
    fs, place = storage.resolve(root)
    return list_local(place) if isinstance(fs, pafs.LocalFileSystem) else list_remote(fs, place)


def list_local(place: str) -> Listing:
    """The listing of a folder of this machine."""
    found: dict[str, Fact] = {}
    hidden = links = 0
    inside = os.path.realpath(place)

    def refuse(error: OSError) -> None:
        raise Problem(f"{error.filename} cannot be listed ({error.strerror}): allow reading it, or move it out of the corpus.")

    for folder, folders, names in os.walk(place, onerror=refuse):
        hidden += sum(n.startswith(".") for n in folders + names)
        links += sum(os.path.islink(os.path.join(folder, n)) for n in folders)
        folders[:] = [n for n in folders if not n.startswith(".")]
        for name in names:
            path = os.path.join(folder, name)
            if name.startswith("."):
                continue
            fact = _fact(path)
            if os.path.islink(path) and not (fact and Path(os.path.realpath(path)).is_relative_to(inside)):
                links += 1
            elif fact:
                found[_text(os.path.relpath(path, place))] = fact
    return Listing(dict(sorted(found.items())), hidden, links)


def list_remote(fs: pafs.FileSystem, place: str) -> Listing:
    """The listing of a folder of any other file system, which has no links."""
    selector = pafs.FileSelector(place, allow_not_found=True, recursive=True)
    infos = [i for i in fs.get_file_info(selector) if i.type == pafs.FileType.File]
    facts = {i.path[len(place) :].lstrip("/"): (int(i.size or 0), int(i.mtime_ns or 0)) for i in infos}
    seen = {p: f for p, f in sorted(facts.items()) if not any(part.startswith(".") for part in p.split("/"))}
    return Listing(seen, len(facts) - len(seen), 0)


def _fact(path: str) -> Fact | None:
    """The fact of a regular file; None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None


def _text(path: str) -> str:
    try:
        path.encode()
    except UnicodeEncodeError:
        raise Problem(f"{os.fsencode(path)!r}: this file name is not valid UTF-8; rename the file.") from None
    return path.replace(os.sep, "/")


def locate(root: str, path: str) -> tuple[pafs.FileSystem, str]:
    """The file system of a corpus and the place in it of the photograph `path`, for whoever opens that photograph.

    ValueError, with a sentence for the row's `error`, where `path` would lead out of the corpus: an absolute path, "..", or
    a link to a file elsewhere. A photograph that is not there is no error here.
    """
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts:
        raise ValueError(f"the path {path} leads out of the corpus")
    fs, base = storage.resolve(root)
    place = f"{base.rstrip('/')}/{path}"
    if isinstance(fs, pafs.LocalFileSystem) and not Path(os.path.realpath(place)).is_relative_to(os.path.realpath(base)):
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
