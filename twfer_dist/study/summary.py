"""The answer in three plain sentences: what the faces show, whether groups differ, how far to believe it."""

from collections.abc import Mapping
from typing import Any

from twfer_dist.core.status import NO_FACE, OK
from twfer_dist.study.report_data import ALL, NEW, SEEN

LEVEL = 0.05
"""The chance of calling groups different that are not, over all grouping columns together (Bonferroni)."""


def say(share: Mapping[str, Any]) -> str:
    """A share as words: never a percentage without k of n and its interval."""
    if not share["n"]:
        return "none of 0"
    low, high = 100 * share["low"], 100 * share["high"]
    return f"{share['k']:,} of {share['n']:,} ({100 * share['share']:.1f} %, 95 % interval {low:.1f} to {high:.1f} %)"


def answer(study: Mapping[str, Any]) -> list[str]:
    """Three sentences for the head of the page, from `examine`'s data; one where no photograph gave a face."""
    if not study["overall"] and not study["faces"]["rows"] and study["photographs"]["rows"]:
        return [_no_face(study["photographs"])]
    return [_shown(study), _groups(study), _belief(study)]


def _shown(study: Mapping[str, Any]) -> str:
    everything = study["overall"]
    if not everything:
        return "No photographs were given to a model, so there is no answer about any."
    photographs, faces = study["photographs"]["rows"], everything["faces"]
    place = (
        f"In {_n(photographs - _unread(study['photographs']), 'photograph')}" if photographs else "In what was given"
    )
    found = f"{place} the program found {_n(faces, 'face')}"
    if not everything["answered"]:
        return f'{found}, and none of them is fit to be read: the reasons are below, under "What is not known".'
    estimated = everything["expressions"][0]["corrected"] is not None
    size = "corrected" if estimated else "k"
    first, second = sorted(everything["expressions"], key=lambda e: -e[size])[:2]
    read = f"{study['model']} answered for {everything['answered']:,} of them"
    if not estimated:
        then = f", then {second['expression']}, {_counted(second)}" if second["k"] else ""
        unknown = "what share of the faces shows it is not known, since nothing tells how the model errs on them"
        if study["correction"]["foreign"]:
            outside = study["correction"]["out_of_distribution"]
            unknown = (
                f"but {outside['k']:,} of these {outside['n']:,} faces are unlike all that it learned from, so its "
                "answers say little of "
                "them: train a model on images that are more like these, and ask that one"
            )
        return f"{found}, and {read}: most often {first['expression']}, {_counted(first)}{then}; {unknown}."
    then = f", then {second['expression']}, {_estimated(second)}" if second["corrected"] else ""
    return (
        f"{found}, and {read}; corrected for how it errs, the most frequent is {first['expression']}, "
        f"{_estimated(first)}{then}."
    )


def _counted(e: Mapping[str, Any]) -> str:
    return f"{e['k']:,} of {e['n']:,} ({100 * e['share']:.1f} %)"


def _estimated(e: Mapping[str, Any]) -> str:
    """A corrected share as words, with its interval, the answers and the labels of the same faces."""
    labels = e["labelled"]
    people = f", people of {labels['k']:,} of {labels['n']:,}" if labels.get("n") else ""
    low, high = 100 * e["low"], 100 * e["high"]
    estimate = f"an estimated {100 * e['corrected']:.1f} % (95 % interval {low:.1f} to {high:.1f} %"
    return f"{estimate}; the model says so of {e['k']:,} of {e['n']:,}{people})"


def _unread(photographs: Mapping[str, Any]) -> int:
    """How many photographs no detector saw: missing, damaged, too small."""
    return photographs["rows"] - sum(photographs["status"].get(status, 0) for status in (OK, NO_FACE))


def _no_face(photographs: Mapping[str, Any]) -> str:
    """What there is to say where no photograph gave a face."""
    unread, rows = _unread(photographs), photographs["rows"]
    if unread == rows:
        none = f"None of the {rows:,} photographs could" if rows > 1 else "The photograph could not"
        return f"{none} be read, so there is no answer: the table below says why."
    rest = f"; {unread:,} more could not be read" if unread else ""
    seen = _n(rows - unread, "photograph")
    return (
        f"No face was found in {seen}{rest}, so there is no answer. Check that they show faces, and show them "
        "large enough."
    )


def _n(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def level(study: Mapping[str, Any]) -> float:
    """The p below which one grouping column's difference is called more than chance."""
    return LEVEL / max(1, sum(1 for g in study["groups"] if g["test"]))


def _groups(study: Mapping[str, Any]) -> str:
    tested = [g for g in study["groups"] if g["test"]]
    if not tested and not (study["overall"] or {}).get("answered"):
        return "No groups could be compared, because no face has an answer."
    if not tested:
        return (
            "No groups could be compared: that takes a column such as posture with at least two values among the "
            "faces that have an answer."
        )
    bound = level(study)
    differ = [f"{g['column']} (p = {g['test']['p']:.3f})" for g in tested if g["test"]["p"] < bound]
    alike = [f"{g['column']} (p = {g['test']['p']:.3f})" for g in tested if g["test"]["p"] >= bound]
    if not differ:
        return (
            f"Groups do not differ by more than chance explains: {_list(alike)}; with few figures, this is no "
            "proof that they are alike."
        )
    rest = f", but not by {_list(alike, 'or')}" if alike else ""
    return f"The answers differ by more than chance explains by {_list(differ)}{rest}."


def _list(words: list[str], last: str = "and") -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def _belief(study: Mapping[str, Any]) -> str:
    """The score on photographs, new figures before seen ones, and on the test images of the data sets."""
    told = []
    for entry in study["accuracy"]:
        splits = {s["split"] for s in entry["scores"] if s["images"]["n"]}
        split = next((split for split in (NEW, ALL, SEEN, "test") if split in splits), None)
        here = [s for s in entry["scores"] if s["split"] == split]
        own = next((s for s in here if s["model"] == study["model"]), None)
        if own:
            labelled = "labelled photographs" if split == ALL else f"labelled photographs ({split})"
            where = f"the test images of its {entry['kind']}" if split == "test" else labelled
            constant = next(s for s in here if s["baseline"])
            least = (
                f"where {constant['model'].replace('always', 'always answering')} is right in "
                f"{constant['images']['k']:,}"
            )
            sure = f", and in {own['accepted']['k']:,} of the {own['accepted']['n']:,} that it is sure of"
            told.append(f"on {where} it is right in {say(own['images'])}{sure}, {least}")
    if not told:
        tests = [r["test"] for r in study["recognisers"] if r["model"] == study["model"] and r["test"]]
        own = "".join(
            f"; on the test images of its own training it was right in {t['k']:,} of {t['n']:,}" for t in tests
        )
        return f"How far to believe this is not known: no labelled faces were given to the model{own}."
    if study["accuracy"][-1]["kind"] != "photographs":
        told.append("how often it is right on other photographs is not known, for none of them has a label")
    return f"How far to believe {study['model']}: {'; '.join(reversed(told))}."
