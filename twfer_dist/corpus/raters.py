"""Several people's labels in one table: a column for each of them, or a row for each of them and each photograph."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from twfer_dist.core.errors import UserError
from twfer_dist.corpus.columns import NAMES, normalised
from twfer_dist.corpus.votes import Vote, is_blank, parse_vote

_NUMBERED = re.compile(
    r"(.*?[^\W\d_]) ?(?:no\.? ?|#)?(\d+|(?<= )[a-z]|(?<=[^\x00-\x7f])[a-z]|[一二三四五六七八九十甲乙丙丁戊己])",
    re.DOTALL,
)
_PERSON = {*NAMES["annotator"], *NAMES["votes"], *NAMES["label"]}


@dataclass
class Row:
    """What a table says of one photograph: fields by our columns' names, or their own."""

    path: str
    line: int
    fields: dict[str, str]
    votes: list[Vote] = field(default_factory=list)


def columns_of_people(rows: Sequence[Row]) -> list[str]:
    """The columns that hold a label by one annotator each: named alike but for a number or a letter, and full of
    labels.

    Where the name is one for annotators ("rater 1"), half of the values must be labels, so that a misspelt one is
    reported; else all of them, and one a word.
    """
    families: dict[str, list[str]] = defaultdict(list)
    for name in rows[0].fields:
        if match := _NUMBERED.fullmatch(normalised(name)):
            families[match.group(1)].append(name)
    found = []
    for stem, names in families.items():
        values = [row.fields[name] for row in rows for name in names if not is_blank(row.fields[name])]
        labels = [value for value in values if _is_vote(value)]
        words = any(not value[:1].isdigit() for value in labels)
        sure = len(labels) * 2 >= len(values) if stem in _PERSON else len(labels) == len(values) and words
        if len(names) > 1 and labels and sure:
            found += names
    return found


def votes_of(row: Row, columns: Sequence[str]) -> list[Vote]:
    """The votes in these columns of a row; ValueError, with a sentence, for an unknown label."""
    return [vote for column in columns if (vote := parse_vote(row.fields[column]))]


def one_row_each(place: str, rows: Sequence[Row], column: str) -> tuple[list[Row], list[str]]:
    """A row for each photograph of a table that has one for each photograph and annotator, and the columns that were
    dropped.

    column: holds the annotator's label. An annotator with several rows of one photograph named several labels. What
    says more than one thing of a photograph is no property of it and is dropped; Problem where that is its figure or
    its split.
    """
    together: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        together[row.path].append(row)
    dropped = ["annotator", column]
    dropped += [
        n
        for n in rows[0].fields
        if n not in dropped and any(len({r.fields[n] for r in g}) > 1 for g in together.values())
    ]
    for name in ("figure_id", "split"):
        if name in dropped:
            first, other = next((g[0], r) for g in together.values() for r in g if r.fields[name] != g[0].fields[name])
            raise UserError(
                f"{place}, line {other.line}: the {name} of {other.path} is '{other.fields[name]}' here and "
                f"'{first.fields[name]}' in "
                f"line {first.line}; make them the same."
            )
    merged = []
    for path, group in together.items():
        votes: dict[str, Vote] = {}
        for row in group:
            who = row.fields["annotator"]
            try:
                vote = parse_vote(row.fields[column])
                if votes.get(who, frozenset()) & vote:
                    raise ValueError(
                        f"{who or 'the annotator without a name'} named this label of {path} in an earlier line too"
                    )
                votes[who] = parse_vote("+".join(str(label) for label in sorted(votes.get(who, frozenset()) | vote)))
            except ValueError as error:
                raise UserError(f"{place}, line {row.line}: {error}; correct the line or remove it.") from None
        kept = {name: value for name, value in group[0].fields.items() if name not in dropped}
        merged.append(Row(path, group[0].line, kept, [vote for vote in votes.values() if vote]))
    return merged, dropped[2:]


def _is_vote(text: str) -> bool:
    try:
        return bool(parse_vote(text))
    except ValueError:
        return False
