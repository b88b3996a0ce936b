"""A corpus: photographs with one manifest, whatever layout they came in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

from twfer_dist.core import schema
from twfer_dist.core.credit import Credit
from twfer_dist.core.errors import UserError
from twfer_dist.corpus import openface
from twfer_dist.corpus.choice import MANIFEST, read_folder_manifest
from twfer_dist.corpus.entry import Entry
from twfer_dist.corpus.files import Fact, Listing, fact_of, list_folder
from twfer_dist.corpus.folder import read_folder
from twfer_dist.corpus.formats import IMAGE_ENDINGS
from twfer_dist.corpus.ignored import count_ignored, describe_ignored, describe_not_utf8
from twfer_dist.corpus.manifest import read_manifest
from twfer_dist.corpus.rafdb import LABELS, read_rafdb
from twfer_dist.corpus.tables import ENDINGS, OTHER_ENDINGS
from twfer_dist.corpus.video import VIDEO_ENDINGS
from twfer_dist.corpus.votes import Vote, field_of
from twfer_dist.engine import storage


@dataclass(frozen=True)
class Corpus:
    """Photographs and what is known about them. One row for each planned photograph, even if its file is missing."""

    name: str
    root: str  # the folder that `path` is relative to; a path or URI, not part of the digest
    table: pa.Table  # schema CORPUS, sorted by photo_id
    facts: list[Fact | None]  # of each row's file, None if it is missing
    digest: str  # of the table, the facts, the credits and the votes: no file is read for it
    credits: Mapping[str, Credit]  # by photo_id, of the photographs that have one
    votes: Mapping[str, Mapping[str, Vote]]  # by photo_id and annotator, of the photographs that have any
    notes: dict[str, Any]  # the layout that was found, remarks, and counts: photographs, figures, labelled, ties, ...

    @property
    def remarks(self) -> list[str]:
        """How its tables were read, and what in the folder is not a photograph of the corpus, in sentences."""
        return [f"{self.name}: {remark}" for remark in self.notes["remarks"]]


def open_corpus(uri: str, name: str | None = None) -> Corpus:
    """The corpus at a path or URI: a table, or a folder.

    A folder is read in RAF-DB's layout if it has RAF-DB's label file; by its manifest if it has one (see
    `choice.read_folder_manifest`); else as a folder of images. `openface.csv` in it is joined by file name.
    `notes["layout"]` says which it was. Without `name`, the corpus is named after its folder (or the table's file);
    photo ids depend on the name. UserError if there is no such corpus, or a table in it cannot be read.
    """
    uri = storage.absolute(uri).rstrip("/") or "/"
    fs, path = storage.resolve(uri)
    try:
        kind = fs.get_file_info(path).type
    except OSError as error:
        raise UserError(f"{uri} cannot be reached ({error}): check the name and your access to it.") from None
    if kind == pafs.FileType.NotFound:
        raise UserError(f"{uri} does not exist: name a folder of photographs, or a table of them.")
    if kind == pafs.FileType.File:
        if path.lower().endswith(VIDEO_ENDINGS):
            raise UserError(f"{uri} is a video: run twfer corpus frames {uri} --out FOLDER, then name that folder.")
        if not path.lower().endswith(ENDINGS + OTHER_ENDINGS):
            raise UserError(
                f"{uri} is a file but not a table ({', '.join(ENDINGS)}): name a folder of photographs, or a table of "
                "them."
            )
        return _open_table(uri, name)
    folder = path.rstrip("/").rpartition("/")[2] or "corpus"
    listing = list_folder(uri)
    if LABELS in listing.files:
        return _corpus(name or folder, uri, listing, *read_rafdb(uri, listing))
    read, not_read = read_folder_manifest(uri, folder, listing)
    entries, notes = read or read_folder(uri, listing)
    remarks = [*notes.get("remarks", []), *(f"{table} was not read: {reason}" for table, reason in not_read.items())]
    notes |= {"tables_not_read": list(not_read), "remarks": remarks}
    return _corpus(name or folder, uri, listing, entries, notes)


def _open_table(uri: str, name: str | None) -> Corpus:
    base, mark, query = uri.partition("?") if "://" in uri else (uri, "", "")
    folder, _, file = base.rpartition("/")
    root = folder + mark + query
    stem = file.rpartition(".")[0]
    own_name = folder.rpartition("/")[2] if stem.lower() == MANIFEST else stem
    listing = list_folder(root)
    return _corpus(name or own_name, root, listing, *read_manifest(root, listing, uri))


def _corpus(name: str, root: str, listing: Listing, entries: Sequence[Entry], notes: dict[str, Any]) -> Corpus:
    openface_file = next((path for path in listing.files if path.lower() == openface.FILE), "")
    units, openface_notes = _join_openface(root, openface_file, listing, entries) if openface_file else ({}, {})
    rows = sorted((_row(name, entry, units.get(entry.path)) for entry in entries), key=lambda row: row["photo_id"])
    facts = [fact_of(root, row["path"], listing) for row in rows]
    named = {row["path"] for row in rows}
    tables = {str(notes.get("read_from")), openface_file, *notes.get("tables_not_read", [])}
    others = {path for path in listing.files.keys() - named if path.lower().endswith(IMAGE_ENDINGS)}
    ignored = count_ignored(listing, named | others | tables)
    counts = {
        "photographs": len(rows),
        "figures": len({row["figure_id"] for row in rows}),
        "labelled": sum(row["label"] is not None for row in rows),
        "missing": facts.count(None),
        "images_not_named": len(others),
        "hidden": listing.hidden,
        "links_not_followed": listing.links_not_followed,
        "names_not_utf8": listing.names_not_utf8,
        "passed_over": ignored,
        "action_units": sum(row["action_units"] is not None for row in rows),
        "credited": sum(bool(entry.credit) for entry in entries),
    }
    remarks = [
        *notes.get("remarks", []),
        *openface_notes.pop("remarks", []),
        *_describe_unnamed(listing.links_not_followed, len(others)),
        *describe_not_utf8(listing.names_not_utf8),
        *describe_ignored(ignored),
    ]
    table = pa.Table.from_pylist(rows, schema=schema.CORPUS)
    all_notes = notes | openface_notes | {"remarks": remarks} | counts
    credits = {schema.photo_id(name, entry.path): entry.credit for entry in entries if entry.credit}
    votes = {schema.photo_id(name, entry.path): entry.votes for entry in entries if entry.votes}
    cast = {photo_id: field_of(of_photograph) for photo_id, of_photograph in votes.items()}
    digest = storage.digest([rows, facts, *filter(None, (credits, cast))])
    return Corpus(name, root, table, facts, digest, credits, votes, all_notes)


def _row(name: str, entry: Entry, units: openface.Units) -> dict[str, Any]:
    return {
        "photo_id": schema.photo_id(name, entry.path),
        "corpus": name,
        "path": entry.path,
        "figure_id": entry.figure_id,
        "label": entry.label,
        "label_rule": entry.label_rule,
        "split": entry.split,
        "groups": list(entry.groups.items()),
        "action_units": units,
    }


def _join_openface(
    root: str, file: str, listing: Listing, entries: Sequence[Entry]
) -> tuple[dict[str, openface.Units], dict[str, Any]]:
    """The Action Units of photographs by path from an OpenFace table, and notes on it."""
    uri = storage.join(root, file)
    measured = openface.read_openface(uri, listing.files)
    matched = openface.match_names((entry.path for entry in entries), measured, uri)
    unmatched = len(measured) - len(matched)
    remark = f"{file}: {unmatched} of its {len(measured)} names match no photograph of the corpus"
    notes = {
        "openface_rows": len(measured),
        "openface_unmatched": unmatched,
        "remarks": [remark] if unmatched else [],
    }
    return {path: measured[name] for path, name in matched.items()}, notes


def _describe_unnamed(links: int, images: int) -> list[str]:
    """Sentences on links that were not followed and on images that the table does not name, if there are any."""
    sentences = []
    if links:
        were = "1 link was" if links == 1 else f"{links} links were"
        sentences.append(f"{were} not followed: copy the originals into the folder")
    if images:
        are = "1 image in the folder is" if images == 1 else f"{images} images in the folder are"
        sentences.append(f"{are} not in its table")
    return sentences
