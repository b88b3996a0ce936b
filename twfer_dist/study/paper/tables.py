"""The numbers of "The paper's tables" as described tables, for spreadsheets, other programs and print."""

from collections.abc import Iterator, Mapping
from typing import Any

import twfer_dist
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.engine.described import SHARE, DescribedTable, interval, number, of_rows, text, whole
from twfer_dist.study.comparison_tables import similarity_table
from twfer_dist.study.paper.columns import (
    ACCURACY,
    BALANCED,
    PRINTED,
    Column,
    Paper,
    table_columns,
    validity_columns,
    warrior_columns,
)

_TABLE = text("table", "The paper's number, or what a recogniser without one is.")
_MODEL = text("model", "The recogniser.")
_COUNTED = (
    whole("k", "Images answered so; empty for a mean over expressions.", "images"),
    whole("n", "Images.", "images"),
    number("value", "The share, or the mean of the expressions' shares.", SHARE, ends=("low", "high")),
    *interval("value", SHARE),
)
_PAPER = number("paper", "The paper's figure, where it is transcribed.", SHARE)
_SCORES = (
    _TABLE,
    text("column", "The part of the data set, or the images that were asked about."),
    _MODEL,
    text("row", "The expression that the images show; or accuracy (share of images), balanced_accuracy (mean of the "
         "expressions), average as printed."),
    *_COUNTED,
    _PAPER,
)  # fmt: skip
_INTENSITY = (*_SCORES[:3], number("intensity", "How far the face was animated, 0 to 1.", decimals=1), *_COUNTED)
_CONFUSION = (
    _TABLE,
    _MODEL,
    text("truth", "The expression that the images show."),
    *(whole(name, f"Test images of this row answered as {name}.", "images") for name in EXPRESSIONS),
)
_SHARES = (text("group", "The figures."), _MODEL, text("expression", "The expression."), *_COUNTED, _PAPER)
_DIFFERENCES = (
    text("first", "A group of figures."),
    text("second", "Another one."),
    _MODEL,
    text("expression", "The expression."),
    number("difference", "Share of the first group's answers less that of the second's, -1 to 1.",
           ends=("low", "high")),
    *interval("difference"),
)  # fmt: skip
_AGREEMENT = (
    text("corpus", "The corpus whose photographs are labelled."),
    number("alpha", "1 is full agreement, 0 what chance gives.", decimals=2, ends=("low", "high")),
    *interval("alpha"),
    whole("images", "Photographs with at least two annotators.", "images"),
    whole("figures", "Different figures among them.", "figures"),
    whole("annotators", "Annotators.", "annotators"),
)
_BY_FIGURE = "k of n images. Images of one figure are not independent: the 95 % intervals allow for it."

Rows = Iterator[dict[str, Any]]


def paper_tables(paper: Paper) -> list[DescribedTable]:
    """Every table of the page."""
    return [
        of_rows("scores", "The paper's Tables 1 to 7: correct answers", _BY_FIGURE, _SCORES, _score_rows(paper)),
        of_rows("intensity", "Correct answers by the strength of the expression", _BY_FIGURE, _INTENSITY,
                _intensity_rows(paper)),
        of_rows("confusion", "What the recognisers answered, by what the images show", "Cells count images.",
                _CONFUSION, _confusion_rows(paper)),
        of_rows("shares", "Which expressions the figures show",
                "Answers of all faces that have one; simultaneous 95 % intervals.", _SHARES, _share_rows(paper)),
        of_rows("differences", "How the groups of figures differ",
                "The intervals of all differences hold together in 95 of 100 samples.", _DIFFERENCES,
                _difference_rows(paper)),
        similarity_table(paper.similarity),
        of_rows("agreement", "How far the annotators of a corpus agree",
                "Krippendorff's alpha with MASI distance; the interval treats figures as the units.", _AGREEMENT,
                paper.agreement),
    ]  # fmt: skip


def about(paper: Paper, title: str, output: str) -> list[tuple[str, str]]:
    """What the first sheet of the workbook says before the tables. output: the name of the page's directory."""
    sources = [(f"made from ({entry['kind']})", entry["name"]) for entry in paper.made_from]
    return [("title", title), ("page", output), ("written by", f"twfer_dist {twfer_dist.__version__}"),
        ("the paper's figures", paper.source), *sources]  # fmt: skip


def _score_rows(paper: Paper) -> Rows:
    scored = [(str(table.number or table.role), column) for table in paper.tables for column in table_columns(table)]
    scored += [("3", column) for column in warrior_columns(paper)] + [("7", c) for c in validity_columns(paper)]
    for name, column in scored:
        yield from _of_column(name, column)


def _of_column(table: str, column: Column) -> Rows:
    score, paper = column.score, column.paper or {}
    base = {"table": table, "column": column.head, "model": column.model}
    named = {e["expression"]: e for e in score["expressions"]} | {name: score[name] for name in (ACCURACY, BALANCED)}
    for row, value in named.items():
        yield {**base, "row": row, **_counted(value), "paper": paper.get(row)}
    if paper.get(PRINTED) is not None:
        yield {**base, "row": "average as printed", "paper": paper[PRINTED]}


def _intensity_rows(paper: Paper) -> Rows:
    graded = [(str(table.number or table.role), table.scores[-1]["split"], table.model, table.by_intensity)
        for table in paper.tables]  # fmt: skip
    graded += [("7", score["asked_about"], score["model"], score["by_intensity"]) for score in paper.validity]
    for table, column, model, found in graded:
        base = {"table": table, "column": column, "model": model}
        yield from ({**base, "intensity": row["intensity"], **_counted(row)} for row in found)


def _confusion_rows(paper: Paper) -> Rows:
    for table in paper.tables:
        base = {"table": str(table.number or table.role), "model": table.model}
        for truth, row in zip(EXPRESSIONS, table.confusion, strict=True):
            yield {**base, "truth": truth, **dict(zip(EXPRESSIONS, row, strict=True))}


def _share_rows(paper: Paper) -> Rows:
    for group in paper.shares:
        for e in group.expressions:
            base = {"group": group.group, "model": group.model, "expression": e["expression"]}
            yield {**base, **_counted(e["answered"]), "paper": e["paper"]}


def _difference_rows(paper: Paper) -> Rows:
    if paper.compared:
        for pair in paper.compared.effect.pairs:
            base = {"first": pair.first, "second": pair.second, "model": paper.compared.effect.model}
            yield from ({**base, **vars(found)} for found in pair.expressions)


def _counted(value: Mapping[str, Any]) -> dict[str, Any]:
    return {"k": value.get("k"), "n": value.get("n"), "value": value.get("share", value.get("value")),
        "low": value.get("low"), "high": value.get("high")}  # fmt: skip
