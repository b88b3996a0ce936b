"""Sentences of the page that take decisions: what is missing, what models learned from, what others answer."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from twfer_dist.core.language import _, listed, ngettext, sentences
from twfer_dist.core.status import LOW_CONFIDENCE, OK
from twfer_dist.core.taxonomy import ACTION_UNIT_MOVEMENTS
from twfer_dist.reading.reader import AT_REST
from twfer_dist.reading.reader import NAME as READER
from twfer_dist.study import words
from twfer_dist.study.baselines import ALWAYS
from twfer_dist.study.retold import retold
from twfer_dist.study.roads import is_cross_fitted
from twfer_dist.study.words import at_start, called


def rest(statuses: Mapping[str, int], counts: Mapping[str, str], **values: Any) -> str:
    """The rows that are not "ok", by status. counts: the words for so many rows of a status."""
    others = {status: n for status, n in statuses.items() if status != OK}
    if not others:
        return ""
    said = [_(counts[s], n=n, **values) if s in counts else f"{n:,} {s}" for s, n in others.items()]
    return _("The rest: {counts}.", counts=_("; ").join(said))


def remarks(told: Iterable[str]) -> str:
    """How the corpora were read, as sentences."""
    return sentences(_("{remark}.", remark=retold(remark).rstrip(".。")) for remark in told)


def notes(rows: Iterable[Mapping[str, Any]]) -> str:
    """What single photographs and faces were noted for, each with the first of them."""
    said = []
    for row in rows:
        values = {"note": retold(row["note"]), "first": row["first"]}
        if row["count"] > 1:
            said.append(_("{note} ({first} and {n:,} more).", **values, n=row["count"] - 1))
        else:
            said.append(_("{note} ({first}).", **values))
    return sentences(said)


def detectors(entries: Sequence[Mapping[str, Any]]) -> str:
    """What each face detector examined, found and kept."""
    if not entries:
        return _("No table of faces was given.")
    said = []
    for entry in entries:
        values = {"photographs": words.photographs(entry["photographs"]), "faces": words.faces(entry["found"])}
        said.append(_("{remark}.", remark=retold(entry["detector"])))
        said.append(_("It examined {photographs} and found {faces}.", **values))
        if entry["kept"] < entry["found"]:
            said.append(_("Of these, {n:,} were kept: the largest in each photograph.", n=entry["kept"]))
    return sentences(said)


def learned_from(data_set: Mapping[str, Any]) -> str:
    """What a data set's training images are, and what its other splits share with them."""
    splits = dict(data_set["splits"])
    train = splits.pop("train", {"generated": 0, "images": 0, "figures": 0})
    said = [
        _(
            "{generated:,} of {n:,} training images in {name} are generated, from {figures}.",
            generated=train["generated"],
            n=train["images"],
            name=data_set["name"],
            figures=words.figures(train["figures"]),
        )
    ]
    generated = [
        _("{n:,} of {all:,} {split} images", n=of["generated"], all=of["images"], split=_(split))
        for split, of in splits.items()
        if of["generated"]
    ]
    if generated:
        said.append(
            _(
                "So are {images}. Their score says how well the model tells generated expressions apart.",
                images=listed(generated),
            )
        )
    for split, of in splits.items():
        if of["figures_in_training"]:
            said.append(
                _(
                    "{n:,} of {figures} in the {split} images are in training too. The {split} score is therefore for "
                    "figures that the model knows.",
                    n=of["figures_in_training"],
                    figures=words.figures(of["figures"]),
                    split=_(split),
                )
            )
    return sentences(said)


def small_groups(groups: Iterable[Mapping[str, Any]]) -> str:
    """The groups with few figures by column; empty where there is none."""
    columns = []
    for group in groups:
        names = [(words.group_name(group["column"], v["value"]), v) for v in group["values"] if v["small"]]
        if small := [f"{name} {v['figures']}" for name, v in names]:
            columns.append(_("{column}: {groups}", column=_(group["column"]), groups=_(", ").join(small)))
    return _("{columns}.", columns=_("; ").join(columns)) if columns else ""


def not_compared(columns: Iterable[Mapping[str, Any]]) -> str:
    """The columns that identify objects rather than grouping them."""
    said = [
        _("{column} has {n:,} values and holds measurements", column=_(c["column"]), n=c["distinct"])
        if c["measured"]
        else _("{column} has {n:,} values", column=_(c["column"]), n=c["distinct"])
        for c in columns
    ]
    return _("{columns}.", columns=_("; ").join(said))


def ungrouped(n: int, column: str) -> str:
    """How many faces have no value in a column; empty where all have."""
    return ngettext("{n:,} face has no {column}.", "{n:,} faces have no {column}.", n, column=_(column)) if n else ""


def two_roads(first: str, second: str) -> str:
    """How two roads come to their answers."""
    said = [
        at_start(
            _(
                "{first} and {second} come to their answers in different ways.",
                first=called(first),
                second=called(second),
            )
        )
    ]
    if first == READER:
        said.append(
            _(
                "The reader sees only the measured Action Units, and learned from rendered heads which expressions "
                "they make."
            )
        )
    for model in (first, second):
        if is_cross_fitted(model):
            said.append(
                _(
                    "{model}, sees the picture: the faces of this study were animated to the seven expressions, "
                    "networks were trained on these animations, and each face was read by a network that had seen "
                    "neither it nor any other picture of its figure.",
                    model=model,
                )
            )
    return sentences(said)


def other_answer(other: Mapping[str, Any], predicted: str | None) -> str:
    """What another model says about a face that one model takes for `predicted`."""
    model, confidence = at_start(called(other["model"])), other["confidence"] or 0
    if not other["predicted"]:
        return _("{model} gave no answer.", model=model)
    values = {"model": model, "expression": _(other["predicted"]), "confidence": confidence}
    if other["predicted"] == predicted:
        if other["accepted"]:
            return _("{model} agrees ({confidence:.2f}).", model=model, confidence=confidence)
        return _("{model} agrees, but without confidence ({confidence:.2f}).", model=model, confidence=confidence)
    if other["accepted"]:
        return _("{model} answers {expression} ({confidence:.2f}).", **values)
    return _("{model} tends to {expression} ({confidence:.2f}).", **values)


def headline(status: str, predicted: str, statuses: Mapping[str, str]) -> str:
    """What a card says first: the expression where it is accepted, or why it is not."""
    if status == OK:
        return _(predicted)
    if status == LOW_CONFIDENCE:
        return _("unsure: {expression}", expression=_(predicted))
    return _(statuses.get(status, status))


def reason(text: str) -> str:
    """The units that decided the reader's answer, as its table holds them in English."""
    text = text.replace(AT_REST, _(AT_REST))
    for movement in ACTION_UNIT_MOVEMENTS:
        text = text.replace(movement, _(movement))
    return text.replace(", ", _(", "))


def scored(model: str) -> str:
    """What a row of scores is called: a model or a baseline."""
    if model.startswith(ALWAYS):
        return _("always {expression}", expression=_(model.removeprefix(ALWAYS)))
    return _(called(model))
