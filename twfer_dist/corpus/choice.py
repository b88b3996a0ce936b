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
_MOST_TABLES = 20  # of other names that are tried
_MAX_BYTES = 50_000_000  # of each of them
_OWN_COLUMNS = {"face_id", "photo_id", "image_id"}  # of tables that this program wrote

Read = tuple[list[Entry], dict[str, Any]]


def read_folder_manifest(root: str, folder: str, listing: Listing) -> tuple[Read | None, dict[str, str]]:
    """The photographs of a folder by its manifest, with notes on it, or None without one; and each table that was not
    read, with the reason.

    The manifest is `manifest.csv` (or .tsv, .txt, .xlsx) or, in a folder `x`, `x.csv`. Otherwise it is the only table
    that names at least half of the folder's images, few other files, and a figure, label, split, posture or material of
    any.
    """
    tables = [
        path
        for path in listing.files
        if "/" not in path
        and path.lower().endswith(ENDINGS + OTHER_ENDINGS)
        and path.lower() != openface.FILE
        and not path.startswith("~$")  # Excel's mark of an open file
    ]
    if named := sorted((rank, path) for path in tables if (rank := _rank(path, folder))):
        (_, manifest), *others = named
        entries = read_manifest(root, listing, storage.join(root, manifest))
        return entries, {path: f"{manifest} was read instead" for _, path in others}
    return _try_tables(root, listing, tables[:_MOST_TABLES])


def _rank(path: str, folder: str) -> tuple[int, int] | None:
    """How a manifest ranks by its name among those of a folder; None for other tables."""
    stem, dot, ending = fold(path).rpartition(".")
    stems = (MANIFEST, fold(folder))
    return (stems.index(stem), (ENDINGS + OTHER_ENDINGS).index(dot + ending)) if stem in stems else None


def _try_tables(root: str, listing: Listing, tables: list[str]) -> tuple[Read | None, dict[str, str]]:
    """As `read_folder_manifest`, for tables whose names say nothing."""
    useful: dict[str, Read] = {}
    reasons: dict[str, str] = {}
    for path in tables:
        try:
            read = _read_useful(root, listing, path)
        except UserError as error:
            read = str(error)
        if not isinstance(read, str):
            useful[path] = read
        elif not path.lower().endswith(".txt"):  # most text files are not tables
            reasons[path] = read
    if len(useful) == 1:
        ((path, (entries, notes)),) = useful.items()
        return (entries, notes | {"remarks": [f"{path} was read as the folder's manifest", *notes["remarks"]]}), reasons
    ambiguous = "other tables describe the photographs too: rename the right one to manifest.csv"
    return None, reasons | dict.fromkeys(useful, ambiguous)


def _read_useful(root: str, listing: Listing, path: str) -> Read | str:
    """What a table says about the folder's images, or why it does not describe them. UserError if it cannot be read."""
    if listing.files[path][0] > _MAX_BYTES:
        return "it is large: rename it to manifest.csv if it describes the photographs"
    entries, notes = read_manifest(root, listing, storage.join(root, path))
    images = sum(file.lower().endswith(IMAGE_ENDINGS) for file in listing.files)
    present = sum(entry.path in listing.files for entry in entries)
    informative = {"posture", "material"} & set(notes["groups"]) or any(
        e.label or e.split or e.figure_id != e.path for e in entries
    )
    if informative and not _OWN_COLUMNS & set(notes["groups"]) and 2 * present >= max(images, len(entries)):
        return entries, notes
    return (
        "it tells nothing about most photographs that this program understands: rename it to manifest.csv, or give it "
        "as the corpus, if it should count"
    )
