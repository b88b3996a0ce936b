"""What the similarities say, in sentences for the terminal and the report."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from twfer_dist.core.language import _, ngettext, sentences
from twfer_dist.similarity.means import BETWEEN, DIFFERENCE, SAME_FIGURE, WITHIN, Similarity

PAPER = {"within": 0.54, "between": 0.28}
"""The mean similarity that the paper reports within TW58, and between TW58 and 60 random faces of RAF-DB."""


def interval(row: Similarity) -> str:
    """`0.41 (0.36 to 0.46)`, or why there is no interval."""
    if row.low is None or row.high is None:
        return _("{mean:.2f} (too few figures for an interval)", mean=row.mean)
    mean, low, high = (round(value, 2) + 0.0 for value in (row.mean, row.low, row.high))  # no -0.00
    return _("{mean:.2f} ({low:.2f} to {high:.2f})", mean=mean, low=low, high=high)


def answer(rows: Sequence[Similarity]) -> list[str]:
    """A sentence for each mean, with its interval and numbers; that between two groups also says which of them is more
    alike among its own figures.
    """
    differences = {(row.first, row.second): row for row in rows if row.measure == DIFFERENCE}
    said = []
    for row in rows:
        values = {"mean": interval(row), "pairs": row.pairs, "faces": row.faces, "figures": row.figures}
        numbers = _("{pairs:,} pairs of {faces:,} faces, {figures:,} figures", **values)
        if row.measure == WITHIN:
            said.append(_("Within {group}: {mean}; {numbers}.", group=row.first, numbers=numbers, **values))
        elif row.measure == SAME_FIGURE:
            said.append(
                _(
                    "Two pictures of one figure of {group}: {mean}; {numbers}.",
                    group=row.first,
                    numbers=numbers,
                    **values,
                )
            )
        elif row.measure == BETWEEN:
            both = [differences.get(pair) for pair in ((row.first, row.second), (row.second, row.first))]
            two = {"first": row.first, "second": row.second}
            mean = _("Between {first} and {second}: {mean}; {numbers}.", numbers=numbers, **two, **values)
            said.append(sentences([mean, *(difference(one) for one in both if one)]))
    return said


def difference(row: Similarity) -> str:
    """Whether the faces of a group are more like each other than like those of another, by how much, and how surely."""
    values = {"first": row.first, "second": row.second, "difference": interval(_positive(row))}
    if row.low is None or row.high is None:
        return _(
            "Too few figures to say whether faces of {first} are more like each other than like those of {second}.",
            **values,
        )
    if row.low > 0:
        return _("Faces of {first} are more like each other than like those of {second}, by {difference}.", **values)
    if row.high < 0:
        return _("Faces of {first} are less like each other than like those of {second}, by {difference}.", **values)
    return _(
        "Faces of {first} are not measurably more or less like each other than like those of {second}: {difference}.",
        **values,
    )


def _positive(row: Similarity) -> Similarity:
    """A difference that is surely below 0 as what it falls short by."""
    if row.low is None or row.high is None or row.high >= 0:
        return row
    return replace(row, mean=-row.mean, low=-row.high, high=-row.low)


def scale(within: Similarity, between: Similarity, same: Similarity) -> str:
    """Where a within-group similarity lies on the way from faces of two groups to two pictures of one figure."""
    share = (within.mean - between.mean) / (same.mean - between.mean)
    return _(
        "If faces of {first} and {second} stand at 0 and two pictures of one figure of {same} at 100, two figures of "
        "{group} stand at {share:.0f}.",
        first=between.first,
        second=between.second,
        same=same.first,
        group=within.first,
        share=100 * share,
    )


def near_answer(pairs: int, leakage: Sequence[Mapping[str, Any]]) -> list[str]:
    """How many near-duplicates there are, and how many images of each held-out part are among the training images."""
    found = ngettext(
        "{n:,} pair of faces of different figures or parts is nearly the same picture.",
        "{n:,} pairs of faces of different figures or parts are nearly the same picture.",
        pairs,
    )
    none = _("No two faces of different figures are nearly the same picture.")
    return [found if pairs else none, *map(_leak, leakage)]


def _leak(part: Mapping[str, Any]) -> str:
    values = {"images": part["images"], "part": _(part["part"])}
    if not part["leaked"]:
        return _("None of the {images:,} {part} images is nearly the same picture as a training image.", **values)
    return ngettext(
        "{n:,} of the {images:,} {part} images is nearly the same picture as a training image: scores on that part are "
        "too good.",
        "{n:,} of the {images:,} {part} images are nearly the same picture as a training image: scores on that part "
        "are too good.",
        part["leaked"],
        **values,
    )
