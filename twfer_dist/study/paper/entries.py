"""The tables of the page in the paper's order, each with its title, its columns and what differs from the paper."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from twfer_dist.core.language import _, sentences
from twfer_dist.study.inputs import NEW
from twfer_dist.study.paper import words
from twfer_dist.study.paper.columns import Column, Paper, table_columns, validity_columns, warrior_columns
from twfer_dist.study.paper.numbers import ScoreTable

Confusion = tuple[str, list[list[int]]]
"""A caption, and images by true (row) and answered expression."""


@dataclass(frozen=True)
class Entry:
    """A table of the page. columns: empty where the run has no such table."""

    id: str
    title: str
    differs: str = ""
    warning: str = ""
    columns: list[Column] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    confusions: list[Confusion] = field(default_factory=list)


@dataclass(frozen=True)
class ByIntensity:
    """Recognisers' accuracy on animated test images, by the intensity of their expression."""

    heads: list[str]
    rows: dict[float, list[Mapping[str, Any] | None]]  # by intensity, for each head; see intervals.as_dict


def by_intensity(paper: Paper) -> ByIntensity:
    """The recognisers of Tables 4 to 6, then those of Table 7, as far as they read animated images."""
    named = [(words.recogniser(table), table.by_intensity) for table in paper.tables]
    named += [(words.validity_reader(score), score["by_intensity"]) for score in paper.validity]
    named = [(head, rows) for head, rows in named if rows]
    columns = [{row["intensity"]: row for row in rows} for _head, rows in named]
    steps = sorted({step for column in columns for step in column})
    return ByIntensity([head for head, _rows in named], {step: [c.get(step) for c in columns] for step in steps})


def entries(paper: Paper, people_are: str, warriors_are: str) -> list[Entry]:
    """Tables 1 to 7, then fine-tuning. people_are, warriors_are: what stands for the paper's data, if anything."""
    tables = {table.role: table for table in paper.tables}

    def of(role: str) -> Entry:
        table = tables.get(role)
        return _entry(table, people_are, warriors_are) if table else Entry(role, words.title(role))

    return [
        of("resnet18_people"),
        of("arm_people"),
        _warriors(paper, warriors_are),
        of("resnet18_animated"),
        of("arm_1"),
        of("arm_2"),
        _validity(paper, people_are),
        _finetuned(of("finetuned"), paper),
    ]


def _entry(table: ScoreTable, people_are: str, warriors_are: str) -> Entry:
    columns = table_columns(table)
    return Entry(
        table.role,
        words.title(table.role),
        words.differs(table, people_are, warriors_are),
        words.leaks(table),
        columns,
        [words.part(column.head, table.parts[column.head]) for column in columns],
        [(_("Confusion matrix of the {part} images", part=_(columns[-1].head)), table.confusion)],
    )


def _warriors(paper: Paper, warriors_are: str) -> Entry:
    """Table 3: recognisers of people on labelled photographs of warriors, and the recognisers of animated warriors."""
    title = _("Table 3. The recogniser of people reads the warriors")
    if not paper.warriors:
        read = any(shares.group == "warriors" for shares in paper.shares)
        return Entry("table-3", title, words.unlabelled() if read else "")
    named = [(scores, score) for scores in paper.warriors for score in scores.scores]
    heads = [words.reader(scores.role, scores.network, seen=score["split"] != NEW) for scores, score in named]
    confusions = [
        (
            _("Confusion matrix of {reader}", reader=words.reader(scores.role, scores.network, seen=split != NEW)),
            matrix,
        )
        for scores in paper.warriors
        for split, matrix in scores.confusion.items()
    ]
    differs = _("In the paper: the photographs of TW58, labelled by the majority of six annotators.")
    if warriors_are:
        differs = _(
            "Here: {warriors}, labelled by the majority of six simulated annotators. In the paper: the photographs of "
            "TW58, labelled by the majority of six annotators.",
            warriors=warriors_are,
        )
    more = _(
        "Beside the paper's column are the recognisers that learned from animated warriors, on the same photographs."
    )
    return Entry("table-3", title, sentences([differs, more]), "", warrior_columns(paper), heads, confusions)


def _validity(paper: Paper, people_are: str) -> Entry:
    title = _("Table 7. Are animated faces like real ones?")
    columns = validity_columns(paper)
    if not columns:
        return Entry("table-7", title)
    heads = [words.pairing(score) for score in paper.validity]
    differs = _("In the paper: real and animated faces of RAF-DB, read by a ResNet-18 that learned from real ones.")
    if people_are:
        differs = sentences([_("Here the real faces are {people}.", people=people_are), differs])
    more = _("The mirror, a recogniser that has seen animated faces alone, is not in the paper.")
    return Entry("table-7", title, sentences([differs, more]), "", columns, heads)


def _finetuned(entry: Entry, paper: Paper) -> Entry:
    if not entry.columns or paper.finetuned_below is None:
        return entry
    below = _("The paper gives less than {limit:.0f} % for it.", limit=100 * paper.finetuned_below)
    return Entry(**{**vars(entry), "differs": sentences([entry.differs, below])})
