"""How far annotators agree, in sentences for people who are no statisticians."""

from collections.abc import Callable, Mapping
from typing import Any

from twfer_dist.annotation.comparison import Comparison, most_confused
from twfer_dist.core.language import _, listed, ngettext, sentences
from twfer_dist.corpus.agreement import Agreement

_TIES_NAMED = 3
_FIRM, _TENTATIVE = 0.80, 0.667  # Krippendorff (2004), Content Analysis, section 11.4


def answer(found: Comparison, called: Callable[[str], str]) -> list[str]:
    """Paragraphs: how far they agree, what decided the labels, what they confuse, how the models compare.

    called: what people call a model, at the start of a sentence.
    """
    paragraphs = (_agree(found), _labels(found), _expressions(found), _beside(found, called))
    return [paragraph for paragraph in paragraphs if paragraph]


def _agree(found: Comparison) -> str:
    several = ngettext("{n:,} face has several answers.", "{n:,} faces have several answers.", found.several)
    if found.agreement is None:
        return sentences(
            [
                several,
                _("How far the annotators agree cannot be said: it takes two faces with two answers that differ."),
            ]
        )
    values = {"how": _(found.agreement.words), "alpha": found.agreement.alpha, "interval": interval(found.agreement)}
    counts = {"faces": found.several, "annotators": len(found.annotators)}
    return sentences(
        [
            _(
                "The annotators agree {how}: Krippendorff's alpha is {alpha:.2f} ({interval}; {faces:,} faces with "
                "several answers, {annotators} annotators).",
                **values,
                **counts,
            ),
            _("An alpha of 0 is what chance gives, 1 is full agreement."),
            _trust(found.agreement),
        ]
    )


def interval(found: Agreement) -> str:
    if found.low is None:
        return _("too few figures for an interval")
    return _("95 % interval {low:.2f} to {high:.2f}", low=found.low, high=found.high)


def _trust(found: Agreement) -> str:
    least = found.alpha if found.low is None else found.low
    if least >= _FIRM:
        return _("Labels of this agreement are commonly taken as reliable (alpha of at least 0.80).")
    if found.alpha >= _TENTATIVE:
        return _("Labels of this agreement are commonly taken as good for tentative conclusions (alpha from 0.67).")
    return _(
        "Below 0.67 it is common to draw no conclusion from single labels: the faces leave room for several readings."
    )


def _labels(found: Comparison) -> str:
    of = found.labels
    tied = listed(_tie(one) for one in found.tied[:_TIES_NAMED])
    return sentences(
        [
            _(
                "{majority:,} of {faces:,} faces have the label that most annotators named.",
                majority=of["majority"],
                faces=found.faces,
            )
            if of["majority"]
            else "",
            ngettext("{n:,} face has a single answer.", "{n:,} faces have a single answer.", of["one vote"])
            if of["one vote"]
            else "",
            ngettext(
                "On {n:,} face two labels were named equally often, and the one whose annotators named fewer others "
                "decided.",
                "On {n:,} faces two labels were named equally often, and the one whose annotators named fewer others "
                "decided.",
                of["tie decided"],
            )
            if of["tie decided"]
            else "",
            ngettext(
                "{n:,} face has no label, because the annotators tie.",
                "{n:,} faces have no label, because the annotators tie.",
                of["tie"],
            )
            if of["tie"]
            else "",
            _("For example: {faces}.", faces=tied) if found.tied else "",
        ]
    )


def _tie(one: Mapping[str, str]) -> str:
    first, over, others = one["rule"].partition(" over ")
    rule = _names(first)
    if over:
        rule = _("{label} over {others}", label=rule, others=_names(others))
    return _("{path} ({rule})", path=one["path"], rule=rule)


def _names(expressions: str) -> str:
    return listed(_(name) for name in expressions.split(", "))


def _expressions(found: Comparison) -> str:
    known = [row for row in found.expressions if row["agreement"] and row["named"] > 1]
    if len(known) < 2:
        return ""
    known.sort(key=lambda row: row["agreement"].alpha)
    confused = most_confused(found.confusion)
    return sentences(
        [
            _(
                "They agree best on {best} (alpha {high:.2f}) and least on {least} (alpha {low:.2f}).",
                best=_(known[-1]["expression"]),
                high=known[-1]["agreement"].alpha,
                least=_(known[0]["expression"]),
                low=known[0]["agreement"].alpha,
            ),
            _(
                "Most often they exchange {one} and {other}: where one annotator says {one}, another says {other} in "
                "{share:.0f} % of the answers.",
                one=_(confused[0]),
                other=_(confused[1]),
                share=100 * confused[2],
            )
            if confused
            else "",
        ]
    )


def _beside(found: Comparison, called: Callable[[str], str]) -> str:
    if not found.rest["n"]:
        return ""
    annotators = _(
        "Counted over all answers, annotators name the label that most of the others gave in {share}.",
        share=share(found.rest),
    )
    models = [
        _(
            "{model} gives that label in {share}.",
            model=called(one.model),
            share=share(one.rest),
        )
        for one in found.models
        if one.rest["n"]
    ]
    return sentences([annotators, *models])


def share(one: Mapping[str, Any]) -> str:
    """A share with its count and interval: "210 of 296 (71 %, 95 % interval 66 to 76)"."""
    return _(
        "{k:,} of {n:,} ({value:.0f} %, 95 % interval {low:.0f} to {high:.0f})",
        k=one["k"],
        n=one["n"],
        value=100 * one["share"],
        low=100 * one["low"],
        high=100 * one["high"],
    )
