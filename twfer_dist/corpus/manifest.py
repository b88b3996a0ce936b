"""A table as a corpus: what its rows say about each photograph, in the words of the people who made it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from twfer_dist.core.credit import Credit
from twfer_dist.core.errors import UserError
from twfer_dist.corpus.agreement import Agreement, agreement
from twfer_dist.corpus.columns import CREDITS, LABEL_COLUMNS, NAMES, OF_VIDEOS, normalised
from twfer_dist.corpus.entry import Entry
from twfer_dist.corpus.files import Listing
from twfer_dist.corpus.manifest_rows import find_columns, match_rows, parse_split
from twfer_dist.corpus.raters import Row, find_annotators, of_largest_faces, votes_of
from twfer_dist.corpus.tables import read_table
from twfer_dist.corpus.votes import is_blank, label_from_votes, parse_label
from twfer_dist.engine import storage

_NO_GROUPS = ("path", "figure_id", "label", "votes", "split", *CREDITS, *OF_VIDEOS)
_CONSEQUENCES = {"figure_id": ": each of their photographs counts as a figure of its own", "label": ""}
_TIES_KEPT, _TIES_NAMED = 10, 3  # photographs


def read_manifest(root: str, listing: Listing, uri: str) -> tuple[list[Entry], dict[str, Any]]:
    """A photograph for each file that the table at `uri` names, whether or not it exists, and notes on how the table
    was read.

    Columns, by these names or those of `columns.NAMES`: `path` (of a file in the folder `root`, see `names.match`);
    `figure` (each photograph its own where the field is empty, or without such a column); `label` (a word or 1 to 7);
    `votes` (see `label_from_votes`; a given label wins), or a column or a row for each annotator; `split`. Any other
    column is a grouping column. UserError, with the line, where a row is not like this.
    """
    table = read_table(uri, NAMES["path"], listing.files)
    columns = find_columns(table, listing)
    if not table.rows:
        raise UserError(f"{table.location} has a header but no rows: add a row for each photograph.")
    rows, spelling = match_rows(root, listing, table, columns)
    rows, left_out = of_largest_faces(rows, columns)
    annotated = find_annotators(table.location, rows, columns)
    rows, annotators = annotated.rows, annotated.annotators
    of_labels = LABEL_COLUMNS if annotated.merged or "votes" in columns else ()
    groups = [name for name in rows[0].fields if name not in (*_NO_GROUPS, *annotators, *of_labels)]
    entries = _entries(table.location, rows, annotators, groups, columns.get("label", "label"))
    renamed = {
        column: name for name, column in columns.items() if name in NAMES and normalised(column) != normalised(name)
    }
    ties = sorted((e for e in entries if e.label_rule.startswith("tie")), key=lambda e: e.label is not None)
    agreed = agreement([list(entry.votes.values()) for entry in entries], [entry.figure_id for entry in entries])
    remarks = [*table.remarks, *_describe_columns(renamed), *annotated.remarks, *left_out, *spelling]
    remarks += _describe_blanks(rows, ["figure_id"] if annotators or "votes" in columns else ["figure_id", "label"])
    remarks += _describe_ties(ties) + _describe_agreement(agreed)
    notes = {
        "layout": "manifest",
        "read_from": storage.name_of(uri),
        "groups": groups,
        "columns_read_as": renamed,
        "annotators": max(len(entry.votes) for entry in entries),
        "ties": len(ties),
        "ties_without_label": sum(entry.label is None for entry in ties),
        "tied": [f"{entry.path}: {entry.label_rule.removeprefix('tie: ')}" for entry in ties[:_TIES_KEPT]],
        "remarks": remarks,
    }
    return entries, notes | ({"agreement": asdict(agreed)} if agreed else {})


def _entries(
    location: str, rows: Sequence[Row], annotators: Sequence[str], groups: Sequence[str], label_column: str
) -> list[Entry]:
    entries = []
    for row in rows:
        try:
            entries.append(_entry(row, annotators, groups))
        except ValueError as error:
            hint = f" (if '{label_column}' means something else, rename the column)"
            hint = "" if normalised(label_column) == "label" else hint
            raise UserError(
                f"{location}, line {row.line}: {error}; correct the field or leave it empty{hint}."
            ) from None
    return entries


def _entry(row: Row, annotators: Sequence[str], groups: Sequence[str]) -> Entry:
    """The photograph of a row. ValueError, with a sentence, for an unknown word."""
    votes = votes_of(row, annotators)
    label, rule = label_from_votes(votes.values())
    if not is_blank(text := row.fields.get("label", "")) and label != (given := parse_label(text)):
        label, rule = given, "given"
    split = parse_split(row.fields.get("split", ""))
    figure_id = row.fields.get("figure_id", "")
    values = {name: row.fields[name] for name in groups if row.fields[name]}
    credit = Credit(*("" if is_blank(row.fields.get(name, "")) else row.fields[name] for name in CREDITS))
    figure_id = row.path if is_blank(figure_id) else figure_id
    return Entry(row.path, figure_id, label, rule, split, values, credit, votes)


# How the table was read, in sentences


def _describe_columns(renamed: Mapping[str, str]) -> list[str]:
    if not renamed:
        return []
    return ["columns were read as: " + ", ".join(f"{c} as {_shown(name)}" for c, name in renamed.items())]


def _describe_blanks(rows: Sequence[Row], columns: Sequence[str]) -> list[str]:
    sentences = []
    for name in columns:
        if name in rows[0].fields and (blank := sum(is_blank(row.fields[name]) for row in rows)):
            share = f"{blank} of {len(rows)} rows give no {_shown(name)}"
            sentences.append(f"{share} (the field is empty, -, ?, n/a or unknown){_CONSEQUENCES[name]}")
    return sentences


def _describe_ties(ties: Sequence[Entry]) -> list[str]:
    if not ties:
        return []
    unlabelled = sum(entry.label is None for entry in ties)
    named = ", ".join(f"{entry.path} ({entry.label_rule.removeprefix('tie: ')})" for entry in ties[:_TIES_NAMED])
    more = f" and {len(ties) - _TIES_NAMED} more" if len(ties) > _TIES_NAMED else ""
    photographs = "1 photograph" if len(ties) == 1 else f"{len(ties)} photographs"
    return [f"annotators tie on {photographs}, of which {unlabelled} have no label: {named}{more}"]


def _describe_agreement(agreed: Agreement | None) -> list[str]:
    if not agreed:
        return []
    annotators = f"{agreed.annotators} annotators agree {agreed.words} on {agreed.images} photographs"
    return [f"{annotators} (Krippendorff's alpha {agreed.alpha:.2f}, {agreed.interval})"]


def _shown(name: str) -> str:
    """What people call one of our columns."""
    return name.removesuffix("_id").replace("_", " ")
