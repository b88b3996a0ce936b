"""A CSV manifest as a corpus: one row for each photograph, in the words of whoever made it."""

import posixpath

from twfer_dist.corpus.entry import SPLITS, Entry
from twfer_dist.corpus.files import read_csv
from twfer_dist.corpus.votes import label_from_votes, parse_label
from twfer_dist.errors import Problem

COLUMNS = ("path", "source", "label", "votes", "split")
ALIASES = {"file": "path", "subject": "source", "expression": "label"}
"""Other names for columns, used where the column itself is not there."""


def read_manifest(place: str) -> tuple[list[Entry], dict]:
    """A photograph for each row of the CSV table at `place`, whether its image is there or not.

    Columns: `path` (relative to the manifest's folder); `source` (each photograph its own where there is no such column, or
    its field is empty); `label` (a word or 1 to 7); `votes` (see `label_from_votes`; a label that is given wins); `split`
    (train, validation or test); any other column is a grouping column. Problem, with the line, where a row is not like this.
    """
    header, rows = read_csv(place)
    named = {ALIASES[c] if c in ALIASES and ALIASES[c] not in header else c: c for c in header if c}
    if "path" not in named:
        hint = " Separate columns by commas." if len(header) == 1 and ";" in header[0] else ""
        raise Problem(f"{place}, line 1: there is no column 'path' among {', '.join(header) or 'no columns'}; add it.{hint}")
    if not rows:
        raise Problem(f"{place} has a header and no rows: add a row for each photograph.")
    groups = [name for name in named if name not in COLUMNS]
    entries: list[Entry] = []
    lines: dict[str, int] = {}
    for line, row in rows:
        fields = {name: row[column] for name, column in named.items()}
        if not fields["path"]:
            raise Problem(f"{place}, line {line}: the path is empty; name the image, or remove the line.")
        path = posixpath.normpath(fields["path"].replace("\\", "/"))
        if path in lines:
            raise Problem(f"{place}, line {line}: {path} is there already in line {lines[path]}; remove one of the lines.")
        lines[path] = line
        try:
            label, rule = _label(fields)
            split = _split(fields)
        except ValueError as error:
            raise Problem(f"{place}, line {line}: {error}; correct the field or leave it empty.") from None
        shown = {name: fields[name] for name in groups if fields[name]}
        entries.append(Entry(path, fields.get("source") or path, label, rule, split, shown))
    rules = [e.label_rule for e in entries if e.label_rule.startswith("tie")]
    notes = {
        "layout": "manifest",
        "read_from": place.partition("?")[0].rpartition("/")[2],
        "groups": groups,
        "columns_read_as": {column: name for name, column in named.items() if column != name},
        "ties": len(rules),
        "ties_without_label": sum(" over " not in rule for rule in rules),
    }
    return entries, notes


def _label(fields: dict[str, str]) -> tuple[int | None, str]:
    if fields.get("label"):
        return parse_label(fields["label"]), "given"
    return label_from_votes(fields.get("votes", ""))


def _split(fields: dict[str, str]) -> str | None:
    split = fields.get("split", "").lower()
    if split and split not in SPLITS:
        raise ValueError(f"'{split}' is no split (these are: {', '.join(SPLITS)})")
    return split or None
