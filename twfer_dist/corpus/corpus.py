"""A corpus: photographs with one manifest, whatever layout they came in."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

from twfer_dist.core import schema
from twfer_dist.core.errors import UserError
from twfer_dist.corpus import openface
from twfer_dist.corpus.choice import MANIFEST, read_tabled
from twfer_dist.corpus.entry import Entry
from twfer_dist.corpus.files import Fact, Listing, fact_of, list_folder, passed_over, say_not_utf8, say_passed_over
from twfer_dist.corpus.folder import read_folder
from twfer_dist.corpus.formats import IMAGE_ENDINGS
from twfer_dist.corpus.manifest import read_manifest
from twfer_dist.corpus.rafdb import LABELS, read_rafdb
from twfer_dist.corpus.tables import ENDINGS, OTHER_ENDINGS
from twfer_dist.engine import storage


@dataclass(frozen=True)
class Corpus:
    """Photographs and what is known of them. One row for each planned photograph, also where its file is missing."""

    name: str
    root: str  # the folder that `path` is relative to; a path or URI, not part of the digest
    table: pa.Table  # schema CORPUS, sorted by photo_id
    facts: list[Fact | None]  # of each row's file, None where it is missing
    digest: str  # stands for the table and the facts: no file is read for it
    notes: dict[str, Any]  # the layout that was found, and counts: photographs, figures, labelled, ties, missing, ...

    @property
    def left_out(self) -> list[str]:
        """How its tables were read, and what lies in the folder and is no photograph of the corpus, in sentences."""
        links, others, odd = (self.notes[key] for key in ("links_not_followed", "images_not_named", "names_not_utf8"))
        said = list(self.notes.get("remarks", []))
        said += (
            [
                (
                    f"{'1 link was' if links == 1 else f'{links} links were'} not followed: copy the originals into "
                    "the "
                    "folder"
                )
            ]
            if links
            else []
        )
        said += (
            [f"{'1 image is' if others == 1 else f'{others} images are'} in the folder and not in its table"]
            if others
            else []
        )
        said += say_not_utf8(odd) + say_passed_over(self.notes["passed_over"])
        return [f"{self.name}: {sentence}" for sentence in said]


def open_corpus(uri: str, name: str | None = None) -> Corpus:
    """The corpus at a path or URI: a table, or a folder.

    A folder is read as RAF-DB's layout where it has RAF-DB's label file; by its manifest where it has one (see
    `choice.read_tabled`); else as a folder of images. `openface.csv` in it is joined by file name. `notes["layout"]`
    says which it was. The corpus is named after its folder (or the table's file) where `name` is not given; photo ids
    depend on the name.
    """
    uri = storage.absolute(uri).rstrip("/") or "/"
    fs, place = storage.resolve(uri)
    try:
        kind = fs.get_file_info(place).type
    except OSError as error:
        raise UserError(f"{uri} cannot be reached ({error}): check the name and your access to it.") from None
    if kind == pafs.FileType.NotFound:
        raise UserError(f"{uri} is not there: name a folder of photographs, or a table of them.")
    if kind == pafs.FileType.File:
        if not place.lower().endswith(ENDINGS + OTHER_ENDINGS):
            raise UserError(
                f"{uri} is a file and not a table ({', '.join(ENDINGS)}): name a folder of photographs, or a table "
                "of them."
            )
        return _from_manifest(uri, name)
    folder = place.rstrip("/").rpartition("/")[2] or "corpus"
    listing = list_folder(uri)
    if LABELS in listing.files:
        return _corpus(name or folder, uri, listing, *read_rafdb(uri, listing))
    tabled, not_read = read_tabled(uri, folder, listing)
    entries, notes = tabled or read_folder(uri, listing)
    remarks = [*notes.get("remarks", []), *(f"{table} was not read: {why}" for table, why in not_read.items())]
    return _corpus(
        name or folder, uri, listing, entries, notes | {"tables_not_read": list(not_read), "remarks": remarks}
    )


def _from_manifest(uri: str, name: str | None) -> Corpus:
    base, mark, query = uri.partition("?") if "://" in uri else (uri, "", "")
    folder, _, file = base.rpartition("/")
    root = folder + mark + query
    stem = file.rpartition(".")[0]
    own = folder.rpartition("/")[2] if stem.lower() == MANIFEST else stem
    listing = list_folder(root)
    return _corpus(name or own, root, listing, *read_manifest(root, listing, uri))


def _corpus(name: str, root: str, listing: Listing, entries: list[Entry], notes: dict[str, Any]) -> Corpus:
    units: dict[str, list[float] | None] = {}
    if file := next((path for path in listing.files if path.lower() == openface.FILE), ""):
        place = storage.join(root, file)
        measured = openface.read_openface(place, listing.files)
        matched = openface.match_names((e.path for e in entries), measured, place)
        units = {path: measured[name] for path, name in matched.items()}
        strange = len(measured) - len(matched)
        remarks = (
            [f"{file}: {strange} of its {len(measured)} names match no photograph of the corpus"] if strange else []
        )
        notes = notes | {
            "openface_rows": len(measured),
            "openface_unmatched": strange,
            "remarks": notes.get("remarks", []) + remarks,
        }
    rows: list[dict[str, Any]] = [
        {
            "photo_id": schema.photo_id(name, entry.path),
            "corpus": name,
            "path": entry.path,
            "figure_id": entry.figure_id,
            "label": entry.label,
            "label_rule": entry.label_rule,
            "split": entry.split,
            "groups": list(entry.groups.items()),
            "action_units": units.get(entry.path),
        }
        for entry in entries
    ]
    rows.sort(key=lambda row: row["photo_id"])
    facts = [fact_of(root, row["path"], listing) for row in rows]
    named = {row["path"] for row in rows}
    tables = {str(notes.get("read_from")), file, *notes.get("tables_not_read", [])}
    others = {path for path in listing.files.keys() - named if path.lower().endswith(IMAGE_ENDINGS)}
    counts = {
        "photographs": len(rows),
        "figures": len({row["figure_id"] for row in rows}),
        "labelled": sum(row["label"] is not None for row in rows),
        "missing": facts.count(None),
        "images_not_named": len(others),
        "hidden": listing.hidden,
        "links_not_followed": listing.links_not_followed,
        "names_not_utf8": listing.names_not_utf8,
        "passed_over": passed_over(listing, named | others | tables),
        "action_units": sum(row["action_units"] is not None for row in rows),
    }
    return Corpus(
        name,
        root,
        pa.Table.from_pylist(rows, schema=schema.CORPUS),
        facts,
        storage.digest([rows, facts]),
        notes | counts,
    )
