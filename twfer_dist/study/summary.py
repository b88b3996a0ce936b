"""The answer at the head of the page: what the faces show, whether groups differ, how far to believe it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from twfer_dist.core.language import _, listed, ngettext, sentences
from twfer_dist.core.status import NO_FACE, OK
from twfer_dist.study import words
from twfer_dist.study.accuracy import PHOTOGRAPHS
from twfer_dist.study.baselines import ALWAYS
from twfer_dist.study.groups import LEVEL
from twfer_dist.study.inputs import ALL, NEW, SEEN
from twfer_dist.study.profile import units_sentence
from twfer_dist.study.report_data import Study


def summary(study: Study) -> list[str]:
    """The paragraphs for the head of the page; a single one where no photograph gave a face."""
    if not study.overall and not study.faces["rows"] and study.photographs["rows"]:
        return [_no_face(study.photographs)]
    if not study.overall and study.faces["rows"]:
        return [_measured(study), units_sentence(study.profile)]
    answer = [_expressions(study), group_differences(study.groups, study.overall), _reliability(study)]
    return [*answer, units_sentence(study.profile)] if study.profile.overall else answer


def significance_level(groups: Sequence[Mapping[str, Any]]) -> float:
    """The p below which one grouping column's difference counts as more than chance."""
    return LEVEL / max(1, sum(1 for g in groups if g["test"]))


# What the faces show


def _expressions(study: Study) -> str:
    overall = study.overall
    if not overall:
        return _("No photographs were given to a model, so there is no answer.")
    found = faces_found(study.photographs, overall["faces"])
    if not overall["answered"]:
        none = _(
            "{found}, but none of them is good enough to classify. The reasons are listed below, under “What is not "
            "known”.",
            found=found,
        )
        return none
    count = _(
        "{found}, and {model} gave an answer for {n:,} of them.", found=found, model=study.model, n=overall["answered"]
    )
    corrected = overall["expressions"][0]["corrected"] is not None
    size = "corrected" if corrected else "k"
    first, second = sorted(overall["expressions"], key=lambda e: -e[size])[:2]
    if corrected:
        return sentences([*_estimates(first, second), count])
    most = _("The most frequent answer is {expression}, for {count}.", **_counts(first))
    then = _("Next is {expression}, for {count}.", **_counts(second)) if second["k"] else ""
    return sentences([most, then, _unknown(study), count])


def _unknown(study: Study) -> str:
    """Why uncorrected answers do not tell what the faces show."""
    if not study.correction.foreign:
        return _(
            "What share of the faces really shows each expression is not known, because nothing tells how the model "
            "errs on them."
        )
    return _(
        "But {k:,} of these {n:,} faces are out of distribution (explained below), so the answers say little about "
        "them. Train a model on images more like these, and ask that one.",
        **study.correction.out_of_distribution,
    )


def _counts(e: Mapping[str, Any]) -> dict[str, str]:
    share = words.percent(e["share"])
    count = _("{k:,} of {n:,} faces ({percent})", k=e["k"], n=e["n"], percent=share)
    return {"expression": _(e["expression"]), "count": count}


def _estimates(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[str]:
    """The two largest corrected shares in words, each with its interval and the answers and labels behind it."""
    yield _(
        "The most frequent expression is {expression}, shown by an estimated {percent} of the faces (95 % interval "
        "{interval}).",
        **_estimate(first),
    )
    yield _answered(first)
    if second["corrected"]:
        yield _(
            "Next is {expression}, with an estimated {percent} of the faces (95 % interval {interval}).",
            **_estimate(second),
        )
        yield _answered(second)
    yield _("These estimates are corrected for the model's errors.")


def _estimate(e: Mapping[str, Any]) -> dict[str, str]:
    percent, interval = words.percent(e["corrected"]), words.percents(e["low"], e["high"])
    return {"expression": _(e["expression"]), "percent": percent, "interval": interval}


def _answered(e: Mapping[str, Any]) -> str:
    """How many answers, and labels where there are any, name an expression."""
    labels, values = e["labelled"], {"expression": _(e["expression"]), "k": e["k"], "n": e["n"]}
    if not labels.get("n"):
        return _("The model answered {expression} for {k:,} of {n:,}.", **values)
    return _(
        "The model answered {expression} for {k:,} of {n:,}, and people labelled {people:,} of {labels:,} that way.",
        **values,
        people=labels["k"],
        labels=labels["n"],
    )


# Faces and photographs


def _measured(study: Study) -> str:
    """How many faces were found and measured, in a study without a model."""
    overall = study.profile.overall
    return _(
        "{found}, and could measure the movements of {n:,}. No model was asked which expressions they show.",
        found=faces_found(study.photographs, study.faces["rows"]),
        n=overall["faces"] if overall else 0,
    )


def faces_found(photographs: Mapping[str, Any], faces: int) -> str:
    """How many faces were found in how many photographs; a sentence without its end."""
    if not photographs["rows"]:
        return _("The study covers {faces}", faces=words.faces(faces))
    examined = photographs["rows"] - _unread(photographs)
    return _(
        "The program found {faces} in {photographs}",
        faces=words.faces(faces),
        photographs=words.photographs(examined),
    )


def _unread(photographs: Mapping[str, Any]) -> int:
    """How many photographs no detector examined: missing, damaged, too small."""
    return photographs["rows"] - sum(photographs["status"].get(status, 0) for status in (OK, NO_FACE))


def _no_face(photographs: Mapping[str, Any]) -> str:
    unread, rows = _unread(photographs), photographs["rows"]
    if unread == rows:
        return ngettext(
            "The photograph could not be read, so there is no answer. The table below says why.",
            "None of the {n:,} photographs could be read, so there is no answer. The table below says why.",
            rows,
        )
    remedy = _("Check that the photographs show faces, and that the faces are large enough.")
    examined = words.photographs(rows - unread)
    if unread:
        none = _(
            "No face was found in {photographs}; {n:,} more could not be read, so there is no answer.",
            photographs=examined,
            n=unread,
        )
    else:
        none = _("No face was found in {photographs}, so there is no answer.", photographs=examined)
    return sentences([none, remedy])


# Whether groups differ


def group_differences(groups: Sequence[Mapping[str, Any]], overall: Mapping[str, Any] | None, answers: str = "") -> str:
    """Whether the answers differ between groups. answers: whose they are, as the subject of a sentence."""
    answers = answers or _("The answers")
    tested = [g for g in groups if g["test"]]
    if not tested and not (overall or {}).get("answered"):
        return _("No groups could be compared, because no face has an answer.")
    if not tested:
        return _(
            "No groups could be compared. That takes a column, such as posture, with at least two values among the "
            "faces that have an answer."
        )
    level = significance_level(groups)
    differ = [_with_p(g) for g in tested if g["test"]["p"] < level]
    alike = [_with_p(g) for g in tested if g["test"]["p"] >= level]
    if not differ:
        return _(
            "{answers} differ by no more than chance explains when faces are grouped by {columns}. With few figures, "
            "this does not prove that the groups are alike.",
            answers=answers,
            columns=listed(alike, "or"),
        )
    if not alike:
        return _(
            "{answers} differ by more than chance explains when faces are grouped by {columns}.",
            answers=answers,
            columns=listed(differ),
        )
    return _(
        "{answers} differ by more than chance explains when faces are grouped by {columns}, but not when grouped by "
        "{others}.",
        answers=answers,
        columns=listed(differ),
        others=listed(alike, "or"),
    )


def _with_p(group: Mapping[str, Any]) -> str:
    return _("{column} (p = {p:.3f})", column=_(group["column"]), p=group["test"]["p"])


# How far to believe it


def _reliability(study: Study) -> str:
    """The accuracy on photographs, new figures before seen ones, and on the test images of the data sets."""
    scores = [said for entry in reversed(study.accuracy) if (said := accuracy_words(study.model, entry))]
    if not scores:
        tests = [r["test"] for r in study.recognisers if r["model"] == study.model and r["test"]]
        unknown = _("How far to believe this is not known, because the model was given no labelled faces.")
        own = (
            _("On the test images of its own training it was correct for {k:,} of {n:,}.", **tests[0])
            if tests
            else None
        )
        return sentences([unknown, own or ""])
    if study.accuracy[-1]["kind"] != PHOTOGRAPHS:
        scores.append(
            _("How often it is correct on other photographs is not known, because none of these faces has a label.")
        )
    return sentences(scores)


def accuracy_words(model: str | None, entry: Mapping[str, Any], baseline: bool = True) -> str:
    """How often the model is correct on the most telling split of one kind of images; empty where it has no score.

    baseline: whether the best constant answer is named too.
    """
    splits = {s["split"] for s in entry["scores"] if s["accuracy"]["n"]}
    split = next((split for split in (NEW, ALL, SEEN, "test") if split in splits), None)
    scores = [s for s in entry["scores"] if s["split"] == split]
    own = next((s for s in scores if s["model"] == model and s["accuracy"]["n"]), None)
    if own is None:
        return ""
    correct = {"model": words.called(model), "share": words.share_words(own["accuracy"])}
    if split == "test":
        first = _("On the test images of its data set, {model} is correct for {share}.", **correct)
    elif split == ALL:
        first = _("On labelled photographs, {model} is correct for {share}.", **correct)
    else:
        first = _("On labelled photographs ({split}), {model} is correct for {share}.", **correct, split=_(split or ""))
    accepted = _("Among the answers that it accepts, it is correct for {k:,} of {n:,}.", **own["accepted"])
    return sentences([first, accepted, _constant(scores) if baseline else ""])


def _constant(scores: Sequence[Mapping[str, Any]]) -> str:
    """How often the best constant answer would be correct."""
    constant = next(s for s in scores if s["baseline"])
    return _(
        "Always answering {expression} would be correct for {k:,} of {n:,}.",
        expression=_(constant["model"].removeprefix(ALWAYS)),
        k=constant["accuracy"]["k"],
        n=constant["accuracy"]["n"],
    )
