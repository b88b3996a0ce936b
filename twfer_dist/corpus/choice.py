"""Which table of a folder is its manifest."""

from typing import Any

from twfer_dist.core.errors import UserError
from twfer_dist.corpus import openface
from twfer_dist.corpus.entry import Entry
from twfer_dist.corpus.files import Listing
from twfer_dist.corpus.formats import IMAGE_ENDINGS
from twfer_dist.corpus.manifest import read_manifest
from twfer_dist.corpus.names import fold
from twfer_dist.corpus.tables import ENDINGS, OTHER_ENDINGS
from twfer_dist.engine import storage

MANIFEST = "manifest"
_LOOKED_AT = 20  # tables of other names, each of at most so many bytes
_MAX_BYTES = 50_000_000
_OWN = {"face_id", "photo_id", "image_id"}  # columns of tables that this program wrote


def read_tabled(
    root: str, folder: str, listing: Listing
) -> tuple[tuple[list[Entry], dict[str, Any]] | None, dict[str, str]]:
    """The photographs of a folder by its manifest with notes on it, None where it has none; and the tables not read,
    with why.

    The manifest is `manifest.csv` (or .tsv, .txt, .xlsx) or, in a folder `x`, `x.csv`. Else it is the only table that
    names at least half of the folder's images, and hardly anything else, and gives a figure, label, split, posture or
    material of any.
    """
    tables = [path for path in listing.files if "/" not in path and path.lower().endswith(ENDINGS + OTHER_ENDINGS)]
    tables = [
        path for path in tables if path.lower() != openface.FILE and not path.startswith("~$")
    ]  # Excel's mark of an open file
    named = sorted((rank, path) for path in tables if (rank := _rank(path, folder)))
    if named:
        (_, manifest), *others = named
        return read_manifest(root, listing, storage.join(root, manifest)), {
            path: f"{manifest} was" for _, path in others
        }
    read: dict[str, tuple[list[Entry], dict[str, Any]]] = {}
    why: dict[str, str] = {}
    for path in tables[:_LOOKED_AT]:
        try:
            found = _useful(root, listing, path)
        except UserError as error:
            found = str(error)
        if not isinstance(found, str):
            read[path] = found
        elif not path.lower().endswith(".txt"):  # most of these are no tables at all
            why[path] = found
    if len(read) == 1:
        ((path, (entries, notes)),) = read.items()
        return (entries, notes | {"remarks": [f"{path} was read as the folder's manifest", *notes["remarks"]]}), why
    return None, why | dict.fromkeys(read, "other tables describe the photographs too: name one of them manifest.csv")


def _rank(path: str, folder: str) -> tuple[int, int] | None:
    """How a manifest ranks by its name among those of a folder; None of another table."""
    stem, dot, ending = fold(path).rpartition(".")
    stems = (MANIFEST, fold(folder))
    return (stems.index(stem), (ENDINGS + OTHER_ENDINGS).index(dot + ending)) if stem in stems else None


def _useful(root: str, listing: Listing, path: str) -> tuple[list[Entry], dict[str, Any]] | str:
    """What a table says of the folder's images, or why it is not for them. Problem where it cannot be read."""
    if listing.files[path][0] > _MAX_BYTES:
        return "it is large: name it manifest.csv if it describes the photographs"
    entries, notes = read_manifest(root, listing, storage.join(root, path))
    images = sum(file.lower().endswith(IMAGE_ENDINGS) for file in listing.files)
    there = sum(entry.path in listing.files for entry in entries)
    says = {"posture", "material"} & set(notes["groups"]) or any(
        e.label or e.split or e.figure_id != e.path for e in entries
    )
    if says and not _OWN & set(notes["groups"]) and 2 * there >= max(images, len(entries)):
        return entries, notes
    return (
        "it says nothing that is understood of most photographs: name it manifest.csv, or give it as the corpus, "
        "if it should count"
    )
