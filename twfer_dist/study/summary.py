"""The answer at the head of the page: what the faces show, whether groups differ, how far to believe it."""

from collections.abc import Mapping, Sequence
from typing import Any

from twfer_dist.core.status import NO_FACE, OK
from twfer_dist.study.accuracy import PHOTOGRAPHS
from twfer_dist.study.groups import LEVEL
from twfer_dist.study.inputs import ALL, NEW, SEEN
from twfer_dist.study.profile import units_sentence
from twfer_dist.study.report_data import Study
from twfer_dist.study.roads import called


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
        return "No photographs were given to a model, so there is no answer."
    found = faces_found(study.photographs, overall["faces"])
    if not overall["answered"]:
        return (
            f"{found}, but none of them is good enough to classify. "
            "The reasons are listed below, under “What is not known”."
        )
    count = f"{found}, and {study.model} gave an answer for {overall['answered']:,} of them."
    corrected = overall["expressions"][0]["corrected"] is not None
    size = "corrected" if corrected else "k"
    first, second = sorted(overall["expressions"], key=lambda e: -e[size])[:2]
    if corrected:
        then = f" Next is {_estimate(second, 'with')}" if second["corrected"] else ""
        return (
            f"The most frequent expression is {_estimate(first, 'shown by')}{then} "
            f"These estimates are corrected for the model's errors. {count}"
        )
    then = f" Next is {second['expression']}, for {_counts(second)}." if second["k"] else ""
    return f"The most frequent answer is {first['expression']}, for {_counts(first)}.{then} {_unknown(study)} {count}"


def _unknown(study: Study) -> str:
    """Why uncorrected answers do not tell what the faces show."""
    if not study.correction.foreign:
        return (
            "What share of the faces really shows each expression is not known, "
            "because nothing tells how the model errs on them."
        )
    outside = study.correction.out_of_distribution
    return (
        f"But {outside['k']:,} of these {outside['n']:,} faces are out of distribution (explained below), "
        "so the answers say little about them. Train a model on images more like these, and ask that one."
    )


def _counts(e: Mapping[str, Any]) -> str:
    return f"{e['k']:,} of {e['n']:,} faces ({100 * e['share']:.1f} %)"


def _estimate(e: Mapping[str, Any], verb: str) -> str:
    """A corrected share in words, with its interval, and the answers and labels for the same faces."""
    labels = e["labelled"]
    people = f", and people labelled {labels['k']:,} of {labels['n']:,} that way" if labels.get("n") else ""
    interval = f"95 % interval {100 * e['low']:.1f} to {100 * e['high']:.1f} %"
    return (
        f"{e['expression']}, {verb} an estimated {100 * e['corrected']:.1f} % of the faces ({interval}). "
        f"The model answered {e['expression']} for {e['k']:,} of {e['n']:,}{people}."
    )


# Faces and photographs


def _measured(study: Study) -> str:
    """How many faces were found and measured, in a study without a model."""
    overall = study.profile.overall
    measured = overall["faces"] if overall else 0
    return (
        f"{faces_found(study.photographs, study.faces['rows'])}, and could measure the movements of {measured:,}. No "
        "model was asked which expressions they show."
    )


def faces_found(photographs: Mapping[str, Any], faces: int) -> str:
    """How many faces were found in how many photographs; a sentence without its end."""
    if not photographs["rows"]:
        return f"The study covers {counted(faces, 'face')}"
    examined = photographs["rows"] - _unread(photographs)
    return f"The program found {counted(faces, 'face')} in {counted(examined, 'photograph')}"


def _unread(photographs: Mapping[str, Any]) -> int:
    """How many photographs no detector examined: missing, damaged, too small."""
    return photographs["rows"] - sum(photographs["status"].get(status, 0) for status in (OK, NO_FACE))


def _no_face(photographs: Mapping[str, Any]) -> str:
    unread, rows = _unread(photographs), photographs["rows"]
    if unread == rows:
        none = f"None of the {rows:,} photographs could be read" if rows > 1 else "The photograph could not be read"
        return f"{none}, so there is no answer. The table below says why."
    rest = f"; {unread:,} more could not be read" if unread else ""
    return (
        f"No face was found in {counted(rows - unread, 'photograph')}{rest}, so there is no answer. "
        "Check that the photographs show faces, and that the faces are large enough."
    )


def counted(number: int, thing: str) -> str:
    """How many things there are."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


# Whether groups differ


def group_differences(
    groups: Sequence[Mapping[str, Any]], overall: Mapping[str, Any] | None, answers: str = "The answers"
) -> str:
    """Whether the answers differ between groups. answers: whose they are, as the subject of a sentence."""
    tested = [g for g in groups if g["test"]]
    if not tested and not (overall or {}).get("answered"):
        return "No groups could be compared, because no face has an answer."
    if not tested:
        return (
            "No groups could be compared. That takes a column, such as posture, with at least two values among the "
            "faces that have an answer."
        )
    level = significance_level(groups)
    differ = [f"{g['column']} (p = {g['test']['p']:.3f})" for g in tested if g["test"]["p"] < level]
    alike = [f"{g['column']} (p = {g['test']['p']:.3f})" for g in tested if g["test"]["p"] >= level]
    if not differ:
        return (
            f"{answers} differ by no more than chance explains when faces are grouped by {listed(alike, 'or')}. "
            "With few figures, this does not prove that the groups are alike."
        )
    rest = f", but not when grouped by {listed(alike, 'or')}" if alike else ""
    return f"{answers} differ by more than chance explains when faces are grouped by {listed(differ, 'and')}{rest}."


def listed(words: list[str], last: str) -> str:
    """The words with commas, and `last` before the last."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


# How far to believe it


def _reliability(study: Study) -> str:
    """The accuracy on photographs, new figures before seen ones, and on the test images of the data sets."""
    scores = [sentences for entry in reversed(study.accuracy) if (sentences := accuracy_words(study.model, entry))]
    if not scores:
        tests = [r["test"] for r in study.recognisers if r["model"] == study.model and r["test"]]
        own = [f" On the test images of its own training it was correct for {t['k']:,} of {t['n']:,}." for t in tests]
        return f"How far to believe this is not known, because the model was given no labelled faces.{''.join(own)}"
    if study.accuracy[-1]["kind"] != PHOTOGRAPHS:
        scores.append(
            "How often it is correct on other photographs is not known, because none of these faces has a label."
        )
    return " ".join(scores)


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
    photographs = "labelled photographs" if split == ALL else f"labelled photographs ({split})"
    where = f"the test images of its {entry['kind']}" if split == "test" else photographs
    constant = next(s for s in scores if s["baseline"])
    accepted = own["accepted"]
    always = (
        f" {constant['model'].replace('always', 'Always answering')} would be correct for "
        f"{constant['accuracy']['k']:,} of {constant['accuracy']['n']:,}."
    )
    return (
        f"On {where}, {called(model)} is correct for {share_words(own['accuracy'])}. "
        f"Among the answers that it accepts, it is correct for {accepted['k']:,} of {accepted['n']:,}."
        f"{always if baseline else ''}"
    )


def share_words(share: Mapping[str, Any]) -> str:
    """A share in words: never a percentage without k of n and its interval."""
    low, high = 100 * share["low"], 100 * share["high"]
    return f"{share['k']:,} of {share['n']:,} ({100 * share['share']:.1f} %, 95 % interval {low:.1f} to {high:.1f} %)"
