"""The words that sentences of the report share: counts of things, shares with their doubt, what models are called."""

from collections.abc import Mapping
from typing import Any

from twfer_dist.core.language import _, mark, ngettext
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.reading.reader import NAME as READER

CODES = dict(
    zip(
        EXPRESSIONS,
        (mark("Su"), mark("Fe"), mark("Di"), mark("Ha"), mark("Sa"), mark("An"), mark("Ne")),
        strict=True,
    )
)
"""Expressions where there is no room for their names."""


COLLECTION = mark("collection")
"""The column of the paper's groups: its warriors, its Han figures, its American works."""


def code(expression: str) -> str:
    """An expression in one or two letters."""
    return _(CODES[expression])


def group_name(column: str | None, value: str) -> str:
    """A group of a column, or all faces where there is no column. What people call their groups is left as it is."""
    return _(value) if column in (None, "posture", COLLECTION) else value


def faces(n: int) -> str:
    """So many faces."""
    return ngettext("{n:,} face", "{n:,} faces", n)


def figures(n: int) -> str:
    """So many figures."""
    return ngettext("{n:,} figure", "{n:,} figures", n)


def photographs(n: int) -> str:
    """So many photographs."""
    return ngettext("{n:,} photograph", "{n:,} photographs", n)


def answers(n: int) -> str:
    """So many answers."""
    return ngettext("{n:,} answer", "{n:,} answers", n)


def k_of_n(k: int, n: int) -> str:
    """So many of so many."""
    return _("{k:,} of {n:,}", k=k, n=n)


def ends(low: float, high: float, digits: int = 1) -> str:
    """The ends of an interval."""
    return _("{low} to {high}", low=f"{low:.{digits}f}", high=f"{high:.{digits}f}")


def percent(share: float) -> str:
    """A share of 0 to 1 in percent, with one decimal."""
    return _("{percent:.1f} %", percent=100 * share)


def percents(low: float, high: float) -> str:
    """The ends of an interval of shares, in percent with one decimal."""
    return _("{low:.1f} to {high:.1f} %", low=100 * low, high=100 * high)


def share_words(share: Mapping[str, Any]) -> str:
    """A share in words: never a percentage without k of n and its interval."""
    return _(
        "{k:,} of {n:,} ({percent}, 95 % interval {interval})",
        k=share["k"],
        n=share["n"],
        percent=percent(share["share"]),
        interval=percents(share["low"], share["high"]),
    )


def whole_percents(low: float, high: float) -> str:
    """The ends of a wide interval of shares, in whole percent."""
    return _("{low:.0f} to {high:.0f} %", low=100 * low, high=100 * high)


def called(model: str | None) -> str:
    """What a model is called within a sentence."""
    return _("the reader") if model == READER else str(model)


def at_start(words: str) -> str:
    """A sentence that may begin with what a model is called, with a capital letter."""
    return words[:1].upper() + words[1:]
