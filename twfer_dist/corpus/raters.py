"""Labels of several annotators in one table: a column for each of them, or a row for each annotator and photograph."""

import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from twfer_dist.core.errors import UserError
from twfer_dist.corpus.columns import NAMES, normalised
from twfer_dist.corpus.votes import Vote, is_blank, parse_vote, parse_votes

_NUMBERED = re.compile(
    r"(.*?[^\W\d_]) ?(?:no\.? ?|#)?(\d+|(?<= )[a-z]|(?<=[^\x00-\x7f])[a-z]|[一二三四五六七八九十甲乙丙丁戊己])",
    re.DOTALL,
)
_WORDS = {"figure_id": "figure", "split": "split"}
_PERSON = {*NAMES["annotator"], *NAMES["votes"], *NAMES["label"]}


@dataclass
class Row:
    """A photograph in a table: its fields by our names of their columns, or else by the table's."""

    path: str
    line: int
    fields: dict[str, str]
    votes: dict[str, Vote] = field(default_factory=dict)  # by annotator


@dataclass(frozen=True)
class AnnotatedRows:
    """One row for each photograph. annotators: the columns that hold one annotator's labels each."""

    rows: list[Row]
    annotators: list[str]
    remarks: list[str]  # what was read as votes, in sentences
    merged: bool = False  # whether the rows of one photograph became one


def find_annotators(location: str, rows: list[Row], columns: Collection[str]) -> AnnotatedRows:
    """The rows of a table with the columns named `columns` (our names), in whatever way it holds several annotators.

    UserError, with the line, if a photograph has two rows that are not two annotators'.
    """
    vote = next((name for name in ("label", "votes") if name in columns), "")
    repeated = len({row.path for row in rows}) < len(rows)
    if "annotator" in columns and vote and (repeated or vote == "label"):
        merged, dropped = _merge_annotators(location, rows, vote)
        remarks = ["the rows of one photograph were read as votes, one for each annotator"] if repeated else []
        if dropped:
            remarks.append(f"{', '.join(dropped)} differ between the rows of one photograph and were not read")
        return AnnotatedRows(merged, [], remarks, merged=True)
    _refuse_repeats(location, rows)
    annotators = [] if "votes" in columns else _annotator_columns(rows)
    remark = f"the columns {', '.join(annotators)} were read as votes, one for each annotator"
    return AnnotatedRows(rows, annotators, [remark] if annotators else [])


def of_largest_faces(rows: list[Row], columns: Collection[str]) -> tuple[list[Row], list[str]]:
    """The rows of a table of labels by face (see `columns.LABEL_COLUMNS`) that are about the largest face of their
    photograph, the only one that a photograph's label can mean; all rows of any other table. And what was left out, in
    sentences.
    """
    if "face_id" not in columns or not {"annotator", "votes"} & set(columns):
        return rows, []
    kept = [row for row in rows if row.fields["face_id"].rpartition("-")[2].strip("0") == ""]
    if len(kept) in (0, len(rows)):
        return rows, []
    remark = (
        f"{len(rows) - len(kept)} of its rows are about smaller faces of a photograph and were not read: to use them, "
        "name the table that `twfer agreement` writes in --corrections"
    )
    return kept, [remark]


def _refuse_repeats(location: str, rows: Sequence[Row]) -> None:
    lines: dict[str, int] = {}
    for row in rows:
        if row.path in lines:
            raise UserError(
                f"{location}, line {row.line}: {row.path} is already in line {lines[row.path]}; remove one of the "
                "lines, or name the annotator of each in a column 'annotator'."
            )
        lines[row.path] = row.line


def _annotator_columns(rows: Sequence[Row]) -> list[str]:
    """The columns that hold one annotator's labels each: their names differ by a number or letter only, and they hold
    labels.

    If the name is one for annotators ("rater 1"), half of the values must be labels, so that a misspelt one is
    reported. Otherwise all must be, and at least one must be a word.
    """
    families: dict[str, list[str]] = defaultdict(list)
    for name in rows[0].fields:
        if match := _NUMBERED.fullmatch(normalised(name)):
            families[match.group(1)].append(name)
    columns = []
    for stem, names in families.items():
        values = [row.fields[name] for row in rows for name in names if not is_blank(row.fields[name])]
        labels = [value for value in values if _is_vote(value)]
        words = any(not value[:1].isdigit() for value in labels)
        enough = len(labels) * 2 >= len(values) if stem in _PERSON else len(labels) == len(values) and words
        if len(names) > 1 and labels and enough:
            columns += names
    return columns


def votes_of(row: Row, columns: Sequence[str]) -> dict[str, Vote]:
    """The vote of each annotator of a row, whose `columns` hold one annotator's each where there are any. ValueError,
    with a sentence, for an unknown label.
    """
    if columns:
        return {column: vote for column in columns if (vote := parse_vote(row.fields[column]))}
    return row.votes or parse_votes(row.fields.get("votes", ""))


def _merge_annotators(location: str, rows: Sequence[Row], column: str) -> tuple[list[Row], list[str]]:
    """One row for each photograph of a table that has one for each photograph and annotator, and the columns that were
    dropped.

    column: holds the annotator's label. An annotator with several rows for one photograph named several labels. A
    column that differs between the rows of a photograph is not a property of it and is dropped; UserError if it is the
    figure or the split.
    """
    by_path: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_path[row.path].append(row)
    kept = [name for name in rows[0].fields if name not in ("annotator", column)]
    dropped = [name for name in kept if any(len({r.fields[name] for r in g}) > 1 for g in by_path.values())]
    for name in ("figure_id", "split"):
        if name in dropped:
            first, other = next((g[0], r) for g in by_path.values() for r in g if r.fields[name] != g[0].fields[name])
            raise UserError(
                f"{location}, line {other.line}: the {_WORDS[name]} of {other.path} is '{other.fields[name]}' here but "
                f"'{first.fields[name]}' in line {first.line}; make them the same."
            )
    merged = []
    for path, group in by_path.items():
        fields = {name: group[0].fields[name] for name in kept if name not in dropped}
        merged.append(Row(path, group[0].line, fields, _votes_by_annotator(location, group, column)))
    return merged, dropped


def _votes_by_annotator(location: str, rows: Sequence[Row], column: str) -> dict[str, Vote]:
    """The vote of each annotator in the rows of one photograph."""
    votes: dict[str, Vote] = {}
    for row in rows:
        annotator = row.fields["annotator"]
        earlier = votes.get(annotator, frozenset())
        try:
            vote = parse_vote(row.fields[column])
            if earlier & vote:
                name = annotator or "the annotator without a name"
                raise ValueError(f"{name} already gave {row.path} this label in an earlier line")
            votes[annotator] = parse_vote("+".join(str(label) for label in sorted(earlier | vote)))
        except ValueError as error:
            raise UserError(f"{location}, line {row.line}: {error}; correct the line or remove it.") from None
    return {annotator or "annotator": vote for annotator, vote in votes.items() if vote}


def _is_vote(text: str) -> bool:
    try:
        return bool(parse_vote(text))
    except ValueError:
        return False
