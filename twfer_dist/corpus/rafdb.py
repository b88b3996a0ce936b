"""RAF-DB's own layout (single-label part): its label file, and images in `Image/aligned` or `Image/original`."""

from typing import Any

from twfer_dist.core.errors import UserError
from twfer_dist.corpus.entry import Entry
from twfer_dist.corpus.files import Listing
from twfer_dist.engine import storage

LABELS = "EmoLabel/list_patition_label.txt"  # RAF-DB's own spelling


def read_rafdb(root: str, listing: Listing) -> tuple[list[Entry], dict[str, Any]]:
    """A photograph for each line of the label file, such as `train_00001.jpg 5`, and notes. Its image need not exist.

    The aligned images are used if there are any, else the original ones. The figure is the photograph's name, and the
    split comes from that name. UserError, with the line, if a line is not like this.
    """
    uri = storage.join(root, LABELS)
    if any(path.startswith("Image/aligned/") for path in listing.files):
        layout, pattern = "rafdb-aligned", "Image/aligned/{stem}_aligned.jpg"
    elif any(path.startswith("Image/original/") for path in listing.files):
        layout, pattern = "rafdb-original", "Image/original/{stem}.jpg"
    else:
        raise UserError(
            f"{root} has RAF-DB's label file but no images in Image/aligned or Image/original: unpack "
            "aligned.zip there."
        )
    entries: dict[str, Entry] = {}
    for number, line in enumerate(storage.read_bytes(uri).decode("utf-8-sig", errors="replace").splitlines(), 1):
        if not line.strip():
            continue
        name, label = (line.split() + [""])[:2]
        split, _, rest = name.partition("_")
        stem, dot, ending = name.rpartition(".")
        if split not in ("train", "test") or not rest or "/" in name or (dot, ending) != (".", "jpg"):
            raise UserError(
                f"{uri}, line {number}: '{name}' is not a RAF-DB name such as train_00001.jpg; restore the line."
            )
        if label not in {"1", "2", "3", "4", "5", "6", "7"}:
            raise UserError(
                f"{uri}, line {number}: the label '{label}' is not 1 to 7; restore the line, "
                "and use RAF-DB's single-label part (its compound part has 11 labels)."
            )
        if name in entries:
            raise UserError(f"{uri}, line {number}: {name} appears twice; remove one of the lines.")
        entries[name] = Entry(
            pattern.format(stem=stem), figure_id=name, label=int(label), label_rule="given", split=split
        )
    if not entries:
        raise UserError(f"{uri} is empty: restore RAF-DB's label file.")
    return list(entries.values()), {"layout": layout, "read_from": LABELS}
