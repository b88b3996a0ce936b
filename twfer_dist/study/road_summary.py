"""The answer at the head of the page where it comes from the reader or a cross-fitted recogniser: what the faces show
by either road, how far the two agree, and how far to believe them.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from twfer_dist.core.language import _, listed, mark, ngettext, sentences
from twfer_dist.reading.reader import NAME as READER
from twfer_dist.study import correction, words
from twfer_dist.study.accuracy import PHOTOGRAPHS
from twfer_dist.study.agreement import Comparison
from twfer_dist.study.profile import units_sentence
from twfer_dist.study.report_data import Answers, Study
from twfer_dist.study.roads import is_cross_fitted, is_road
from twfer_dist.study.summary import accuracy_words, faces_found, group_differences, significance_level
from twfer_dist.study.words import at_start, called, share_words


def road_summary(study: Study) -> list[str]:
    """The paragraphs at the head of the page: either road, the relative reading, groups, movements, reliability."""
    assert study.overall
    found = _("{found}.", found=faces_found(study.photographs, study.overall["faces"]))
    paragraphs = [
        sentences([found, *_answers(study.first)]),
        sentences(_second(study.second, study.comparison)),
        _relative(study.relative),
        units_sentence(study.profile) if study.profile.overall else "",
        _groups(study.first, study.second),
        _reliability(study),
    ]
    return [paragraph for paragraph in paragraphs if paragraph]


def _answers(road: Answers) -> Iterator[str]:
    """What the faces show by one road: the accepted answers, the abstentions, and every guess."""
    overall, who = road.overall or {}, called(road.model)
    if is_road(road.model):
        who = at_start(_("{model} ({method})", model=who, method=_(_METHODS[is_cross_fitted(road.model)])))
    faces, answered, accepted = (overall.get(key, 0) for key in ("faces", "answered", "accepted"))
    if not answered:
        yield _("{who} could read none of them. The reasons are listed below, under “What is not known”.", who=who)
        return
    if accepted:
        yield _(
            "{who} accepts its answer for {n:,} of {faces}: {shown}.",
            who=who,
            n=accepted,
            faces=words.faces(faces),
            shown=listed(_accepted(overall["expressions"])),
        )
    else:
        yield ngettext(
            "{who} does not accept its answer.", "{who} accepts none of its {n:,} answers.", answered, who=who
        )
    if doubtful := answered - accepted:
        yield _("It abstains from {n:,}, where its best guess is too uncertain.", n=doubtful)
    if unread := faces - answered:
        yield _("{n:,} more could not be read, for the reasons listed below.", n=unread)
    yield from _every_guess(road, overall)


def _accepted(expressions: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The expressions of accepted answers with their numbers, the most frequent first."""
    for e in sorted(expressions, key=lambda e: -e["accepted"]):
        if e["accepted"]:
            yield _("{expression} in {n:,}", expression=_(e["expression"]), n=e["accepted"])


_METHODS = {
    False: mark("which judges by the measured movements of the face"),
    True: mark("networks trained on animations of these faces, none of which reads a figure that it saw"),
}
"""How the reader and cross-fitted recognisers come to their answers, for people who have not read about them."""


_TELLING = 0.6
"""The width of a corrected share's interval above which the share is not worth naming."""


def _every_guess(road: Answers, overall: Mapping[str, Any]) -> Iterator[str]:
    first, *rest = sorted((e for e in overall["expressions"] if e["k"]), key=lambda e: -e["k"])
    guesses = [_("{expression} for {n:,}", expression=_(e["expression"]), n=e["k"]) for e in rest]
    values = {
        "expression": _(first["expression"]),
        "count": _("{k:,} of {n:,} faces ({percent})", **_share(first)),
    }
    if overall["accepted"] < overall["answered"] and guesses:
        yield _(
            "Its guesses, uncertain ones included, are {expression} for {count}, {others}.",
            **values,
            others=listed(guesses),
        )
    elif overall["accepted"] < overall["answered"]:
        yield _("Its guesses, uncertain ones included, are {expression} for {count}.", **values)
    if road.correction.by:
        yield _corrected(road, overall["expressions"], first)


def _share(e: Mapping[str, Any]) -> dict[str, Any]:
    return {"k": e["k"], "n": e["n"], "percent": words.percent(e["share"])}


def _corrected(road: Answers, expressions: Sequence[Mapping[str, Any]], first: Mapping[str, Any]) -> str:
    """The largest corrected share, or that it remains open. first: the most frequent answer."""
    images = correction.corrected_by(road.correction)
    largest = max(expressions, key=lambda e: e["corrected"])
    if largest["high"] - largest["low"] <= _TELLING:
        return _(
            "Corrected for its errors on {images}, an estimated {percent} of the faces (95 % interval {interval}) show "
            "{expression}.",
            images=images,
            percent=words.percent(largest["corrected"]),
            interval=words.percents(largest["low"], largest["high"]),
            expression=_(largest["expression"]),
        )
    return _(
        "How many faces truly show {expression} remains open: allowing for its errors on {images}, the share may lie "
        "anywhere in a wide range (95 % interval {interval}).",
        images=images,
        interval=words.percents(first["low"], first["high"]),
        expression=_(first["expression"]),
    )


def _second(road: Answers | None, comparison: Comparison | None) -> Iterator[str]:
    """What the second road says, and how far it agrees with the first."""
    if not road or not road.overall:
        return
    yield from _answers(road)
    if not comparison:
        return
    yield _(
        "Of the faces that both read, it gives the same answer as {model} for {share}.",
        model=called(comparison.first),
        share=share_words(comparison.same),
    )
    if comparison.kappa is not None:
        yield _(
            "Cohen’s kappa is {kappa:.2f} (95 % interval {low:.2f} to {high:.2f}), where 0 is agreement by chance and "
            "1 is full agreement.",
            kappa=comparison.kappa,
            low=comparison.low,
            high=comparison.high,
        )


def _relative(relative: Mapping[str, Any] | None) -> str:
    if not relative or not relative["changed"]:
        return ""
    most = relative["most"]
    return _(
        "If the median face of the corpus is taken for neutral, to allow for its style, {changed:,} of {n:,} answers "
        "of the reader change, most often from {before} to {after} ({faces}).",
        changed=relative["changed"],
        n=relative["n"],
        before=_(most["from"]),
        after=_(most["to"]),
        faces=words.faces(most["k"]),
    )


def _groups(first: Answers, second: Answers | None) -> str:
    """Whether groups differ, by either road."""
    if not second:
        return group_differences(first.groups, first.overall)
    answers = _("The answers of {model}", model=called(first.model))
    differences = group_differences(first.groups, first.overall, answers)
    tested = [g for g in second.groups if g["test"]]
    if not tested:
        return differences
    level = significance_level(second.groups)
    tests = [_("{column} p = {p:.3f}", column=_(g["column"]), p=g["test"]["p"]) for g in tested]
    values = {"model": called(second.model), "tests": "; ".join(tests)}
    if any(g["test"]["p"] < level for g in tested):
        also = _("Those of {model}, differ by more, by at least one column, than chance explains ({tests}).", **values)
    else:
        also = _("Those of {model}, differ by no more than chance explains ({tests}).", **values)
    return sentences([differences, also])


def _reliability(study: Study) -> str:
    """What each road learned from, and how often it is correct where photographs have labels."""
    shown = [study.model, *([study.second.model] if study.second else [])]
    learned = _(
        "The reader learned from rendered heads, as the network measures them, and its probabilities are calibrated on "
        "other such heads; they promise nothing about photographs."
    )
    entries: Sequence[Mapping[str, Any]] = [entry for entry in study.accuracy if entry["kind"] == PHOTOGRAPHS]
    scores = [accuracy_words(model, entry, baseline=model == shown[-1]) for entry in entries for model in shown]
    if not any(scores):
        unknown = ngettext(
            "How often it is correct on photographs like these is not known, because no face here has a label.",
            "How often they are correct on photographs like these is not known, because no face here has a label.",
            len(shown),
        )
        scores = [unknown]
    return sentences([learned if study.model == READER else "", *scores])
