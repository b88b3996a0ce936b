"""The answer at the head of the page where it comes from the reader or a cross-fitted recogniser: what the faces show
by either road, how far the two agree, and how far to believe them.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from twfer_dist.reading.reader import NAME as READER
from twfer_dist.study.accuracy import PHOTOGRAPHS
from twfer_dist.study.agreement import Comparison
from twfer_dist.study.correction import HELD_OUT
from twfer_dist.study.profile import units_sentence
from twfer_dist.study.report_data import Answers, Study
from twfer_dist.study.roads import at_start, called, held_out_images, is_cross_fitted, is_road
from twfer_dist.study.summary import (
    accuracy_words,
    counted,
    faces_found,
    group_differences,
    listed,
    share_words,
    significance_level,
)


def road_summary(study: Study) -> list[str]:
    """The paragraphs at the head of the page: either road, the relative reading, groups, movements, reliability."""
    assert study.overall
    first = Answers(study.model, study.answers, study.correction, study.overall, study.groups, study.effects)
    found = faces_found(study.photographs, study.overall["faces"])
    paragraphs = [f"{found}. {_answers(first)}", *_second(study.second, study.comparison), *_relative(study.relative)]
    movements = [units_sentence(study.profile)] if study.profile.overall else []
    return [*paragraphs, *movements, _groups(first, study.second), _reliability(study)]


def _answers(road: Answers) -> str:
    """What the faces show by one road: the accepted answers, the abstentions, and every guess."""
    overall, name = road.overall or {}, called(road.model)
    who = at_start(f"{name} ({_METHODS[is_cross_fitted(road.model)]})") if is_road(road.model) else name
    faces, answered, accepted = (overall.get(key, 0) for key in ("faces", "answered", "accepted"))
    if not answered:
        return f"{who} could read none of them. The reasons are listed below, under “What is not known”."
    if accepted:
        counts = sorted(((e["accepted"], e["expression"]) for e in overall["expressions"]), key=lambda c: -c[0])
        shown = listed([f"{expression} in {k:,}" for k, expression in counts if k], "and")
        sentences = [f"{who} accepts its answer for {accepted:,} of {counted(faces, 'face')}: {shown}."]
    else:
        none = f"accepts none of its {answered:,} answers" if answered > 1 else "does not accept its answer"
        sentences = [f"{who} {none}."]
    if doubtful := answered - accepted:
        sentences.append(f"It abstains from {doubtful:,}, where its best guess is too uncertain.")
    if unread := faces - answered:
        sentences.append(f"{unread:,} more could not be read, for the reasons listed below.")
    return " ".join([*sentences, *_every_guess(road, overall)])


_METHODS = {
    False: "which judges by the measured movements of the face",
    True: "networks trained on animations of these faces, none of which reads a figure that it saw",
}
"""How the reader and cross-fitted recognisers come to their answers, for people who have not read about them."""


_TELLING = 0.6
"""The width of a corrected share's interval above which the share is not worth naming."""


def _every_guess(road: Answers, overall: Mapping[str, Any]) -> Iterator[str]:
    first, *rest = sorted((e for e in overall["expressions"] if e["k"]), key=lambda e: -e["k"])
    others = listed([f"{e['expression']} for {e['k']:,}" for e in rest], "and") if rest else ""
    if overall["accepted"] < overall["answered"]:
        yield (
            f"Its guesses, uncertain ones included, are {first['expression']} for {first['k']:,} of "
            f"{first['n']:,} faces ({100 * first['share']:.1f} %){f', {others}' if others else ''}."
        )
    if road.correction.by:
        images = road.correction.by.replace(HELD_OUT, held_out_images(road.model))
        largest = max(overall["expressions"], key=lambda e: e["corrected"])
        told = largest["high"] - largest["low"] <= _TELLING
        of = largest if told else first
        interval = f"95 % interval {100 * of['low']:.1f} to {100 * of['high']:.1f} %"
        if told:
            yield (
                f"Corrected for its errors on {images}, an estimated {100 * of['corrected']:.1f} % of the faces "
                f"({interval}) show {of['expression']}."
            )
        else:
            yield (
                f"How many faces truly show {of['expression']} remains open: allowing for its errors on {images}, the "
                f"share may lie anywhere in a wide range ({interval})."
            )


def _second(road: Answers | None, comparison: Comparison | None) -> Iterator[str]:
    """What the second road says, and how far it agrees with the first."""
    if not road or not road.overall:
        return
    words = _answers(road)
    if comparison:
        words += (
            f" Of the faces that both read, it gives the same answer as {called(comparison.first)} for "
            f"{share_words(comparison.same)}."
        )
        if comparison.kappa is not None:
            words += (
                f" Cohen’s kappa is {comparison.kappa:.2f} (95 % interval {comparison.low:.2f} to "
                f"{comparison.high:.2f}), where 0 is agreement by chance and 1 is full agreement."
            )
    yield words


def _relative(relative: Mapping[str, Any] | None) -> Iterator[str]:
    if not relative or not relative["changed"]:
        return
    most = relative["most"]
    yield (
        "If the median face of the corpus is taken for neutral, to allow for its style, "
        f"{relative['changed']:,} of {relative['n']:,} answers of the reader change, most often from {most['from']} to "
        f"{most['to']} ({counted(most['k'], 'face')})."
    )


def _groups(first: Answers, second: Answers | None) -> str:
    """Whether groups differ, by either road."""
    if not second:
        return group_differences(first.groups, first.overall)
    words = group_differences(first.groups, first.overall, f"The answers of {called(first.model)}")
    tests = [f"{g['column']} p = {g['test']['p']:.3f}" for g in second.groups if g["test"]]
    if not tests:
        return words
    level = significance_level(second.groups)
    differ = any(g["test"]["p"] < level for g in second.groups if g["test"])
    verdict = "more, by at least one column," if differ else "no more"
    return f"{words} Those of {called(second.model)}, differ by {verdict} than chance explains ({'; '.join(tests)})."


def _reliability(study: Study) -> str:
    """What each road learned from, and how often it is correct where photographs have labels."""
    models = [study.model, *([study.second.model] if study.second else [])]
    learned = (
        "The reader learned from rendered heads, as the network measures them, and its probabilities are calibrated on "
        "other such heads; they promise nothing about photographs."
    )
    sentences = [learned] if study.model == READER else []
    entries: Sequence[Mapping[str, Any]] = [entry for entry in study.accuracy if entry["kind"] == PHOTOGRAPHS]
    scores = [
        words
        for entry in entries
        for model in models
        if (words := accuracy_words(model, entry, baseline=model == models[-1]))
    ]
    if scores:
        return " ".join([*sentences, *scores])
    both = "they are" if len(models) > 1 else "it is"
    sentences.append(
        f"How often {both} correct on photographs like these is not known, because none of these faces has a label."
    )
    return " ".join(sentences)
