"""RAF-DB's own layout (single-label part): `EmoLabel/list_patition_label.txt` and `Image/aligned` or
`Image/original`.
"""

from twfer_dist.core.errors import UserError
from twfer_dist.corpus.entry import Entry
from twfer_dist.corpus.files import Listing
from twfer_dist.engine import storage

LABELS = "EmoLabel/list_patition_label.txt"  # RAF-DB's own spelling


def read_rafdb(root: str, listing: Listing) -> tuple[list[Entry], dict]:
    """A photograph for each line of the label file, such as `train_00001.jpg 5`, whether its image is there or not.

    The aligned images are taken where there are any, else the original ones. The figure is the photograph's name, the
    split is that of its name. Problem, with the line, where one is not like this.
    """
    place = storage.join(root, LABELS)
    if any(path.startswith("Image/aligned/") for path in listing.files):
        layout, pattern = "rafdb-aligned", "Image/aligned/{stem}_aligned.jpg"
    elif any(path.startswith("Image/original/") for path in listing.files):
        layout, pattern = "rafdb-original", "Image/original/{stem}.jpg"
    else:
        raise UserError(
            f"{root} has RAF-DB's label file but no file in Image/aligned or Image/original: unpack aligned.zip there."
        )
    entries: dict[str, Entry] = {}
    for number, line in enumerate(storage.read_bytes(place).decode("utf-8-sig", errors="replace").splitlines(), 1):
        if not line.strip():
            continue
        name, label = (line.split() + [""])[:2]
        split, _, rest = name.partition("_")
        stem, dot, ending = name.rpartition(".")
        if split not in ("train", "test") or not rest or "/" in name or (dot, ending) != (".", "jpg"):
            raise UserError(
                f"{place}, line {number}: '{name}' is not a RAF-DB name such as train_00001.jpg; restore the line."
            )
        if label not in {"1", "2", "3", "4", "5", "6", "7"}:
            raise UserError(
                f"{place}, line {number}: the label '{label}' is not 1 to 7; restore the line, "
                "and use RAF-DB's single-label part (its compound part has 11 labels)."
            )
        if name in entries:
            raise UserError(f"{place}, line {number}: {name} is there twice; remove one of the lines.")
        entries[name] = Entry(
            pattern.format(stem=stem), figure_id=name, label=int(label), label_rule="given", split=split
        )
    if not entries:
        raise UserError(f"{place} is empty: restore RAF-DB's label file.")
    return list(entries.values()), {"layout": layout, "read_from": LABELS}
