"""What the page "The paper's tables" says in words: the answer at its head, and what differs in each table."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from twfer_dist.core.language import _, listed, ngettext, sentences
from twfer_dist.study.groups import LEVEL
from twfer_dist.study.paper.columns import Paper
from twfer_dist.study.paper.compared import NAMES, Compared
from twfer_dist.study.paper.figures import AVERAGE
from twfer_dist.study.paper.numbers import PEOPLE, ScoreTable, Shares, WarriorScores, new_figures
from twfer_dist.study.paper.paired import in_words
from twfer_dist.study.words import faces, figures, percent, share_words

PAPER_SIZE, PAPER_EPOCHS = 224, 40
"""The paper's pictures in pixels, and its epochs."""


def title(role: str) -> str:
    """The title of the table of a recogniser."""
    titles = {
        "resnet18_people": _("Table 1. ResNet-18 on people"),
        "arm_people": _("Table 2. ARM on people"),
        "resnet18_animated": _("Table 4. ResNet-18 on animated warriors"),
        "arm_1": _("Table 5. ARM-1: animated warriors, each figure in one part"),
        "arm_2": _("Table 6. ARM-2: animated warriors, each figure divided among the parts"),
        "finetuned": _("Fine-tuning on the warriors' own photographs"),
    }
    return titles[role]


def paper_data(role: str) -> str:
    """What the paper trained the recogniser of a role on."""
    words = {
        "resnet18_people": _("12,271 + 3,068 photographs of RAF-DB"),
        "arm_people": _("12,271 + 3,068 photographs of RAF-DB"),
        "resnet18_animated": _("15,730 + 2,960 animated images of GAN18K"),
        "arm_1": _("18,690 animated images of GAN18K, 7:1:2, each figure in one part"),
        "arm_2": _("18,690 animated images of GAN18K, 70/30 within each figure"),
        "finetuned": _("the 58 photographs of TW58"),
    }
    return words[role]


def differs(table: ScoreTable, people_are: str, warriors_are: str) -> str:
    """What differs from the paper, in a sentence."""
    images = " + ".join(f"{part['images']:,}" for part in table.parts.values())
    if table.role.endswith("people"):
        ours = _("{images} images of people ({people})", images=images, people=people_are)
    elif table.role == "finetuned":
        ours = _("{images} photographs of warriors ({warriors})", images=images, warriors=warriors_are)
    else:
        ours = _("{images} animated images of warriors ({warriors})", images=images, warriors=warriors_are)
    return _(
        "Here: {ours}, {size} pixels, {epochs} epochs. In the paper: {theirs}, {paper_size} pixels, {paper_epochs} "
        "epochs.",
        ours=ours,
        size=table.size,
        epochs=table.epochs,
        theirs=paper_data(table.role),
        paper_size=PAPER_SIZE,
        paper_epochs=PAPER_EPOCHS,
    )


def leaks(table: ScoreTable) -> str:
    """A warning where test images show figures of the training images; empty where none does."""
    test = table.parts.get("test", {"figures_in_training": 0, "figures": 0})
    if not test["figures_in_training"]:
        return ""
    return _(
        "{seen:,} of the {figures:,} figures in the test images are also in the training images, so these scores say "
        "little about figures that the recogniser has not seen.",
        seen=test["figures_in_training"],
        figures=test["figures"],
    )


def answer(paper: Paper) -> list[str]:
    """The paragraphs at the head of the page, the paper's claim first."""
    by_role = {table.role: table for table in paper.tables}
    reading = {scores.role: scores for scores in paper.warriors}
    return [
        paragraph
        for paragraph in (
            sentences(_claim(by_role, reading, paper.warriors_paper[AVERAGE])),
            sentences((*_animated(by_role, reading), *in_words(paper.same_photographs))),
            _splits(by_role),
            _validity(paper.validity),
        )
        if paragraph
    ]


def _claim(
    by_role: Mapping[str, ScoreTable], reading: Mapping[str, WarriorScores], on_warriors: float | None
) -> Iterator[str]:
    role = next((role for role in PEOPLE if role in by_role), None)
    if role is None:
        return
    table = by_role[role]
    right = share_words(_last(table)["accuracy"])
    yield _("Trained on people, {network} is right on {people} of test images of people.", network=table.network,
            people=right)  # fmt: skip
    warriors = new_figures(reading[role].scores) if role in reading else None
    if warriors:
        right = share_words(warriors["accuracy"])
        yield _("On labelled photographs of warriors it is right on {warriors}.", warriors=right)
    on_people = table.paper.get("test", {}).get(AVERAGE)
    if on_people is not None and on_warriors is not None:
        yield _("The paper has {people} and {warriors}.", people=percent(on_people), warriors=percent(on_warriors))


def _animated(by_role: Mapping[str, ScoreTable], reading: Mapping[str, WarriorScores]) -> Iterator[str]:
    role = next((role for role in ("arm_1", "arm_2", "resnet18_animated") if role in by_role), None)
    if role is None:
        return
    table = by_role[role]
    yield _(
        "Trained on animated warriors instead, {network} is right on {images} of animated test images.",
        network=table.network,
        images=share_words(_last(table)["accuracy"]),
    )
    if len(table.by_intensity) > 1:
        weakest, strongest = table.by_intensity[0], table.by_intensity[-1]
        yield _(
            "On the weakest of these images, at {weak:.0f} % of the whole expression, it is right on {few}; on the "
            "strongest, at {strong:.0f} %, on {many}.",
            weak=100 * weakest["intensity"],
            few=share_words(weakest),
            strong=100 * strongest["intensity"],
            many=share_words(strongest),
        )
    scores = new_figures(reading[role].scores) if role in reading else None
    if scores:
        yield _(
            "On labelled photographs of warriors that are not among its training figures it is right on {warriors}.",
            warriors=share_words(scores["accuracy"]),
        )


def _splits(by_role: Mapping[str, ScoreTable]) -> str:
    if not {"arm_1", "arm_2"} <= by_role.keys():
        return ""
    strict, within = (_last(by_role[role])["accuracy"] for role in ("arm_1", "arm_2"))
    return _(
        "With the figures kept apart (Table 5) ARM is right on {strict} of test images; with images of each figure on "
        "both sides (Table 6), on {within}. Only the first says how it does on a figure that it has not seen.",
        strict=share_words(strict),
        within=share_words(within),
    )


def _validity(scores: Sequence[Mapping[str, Any]]) -> str:
    if not scores:
        return ""
    real, animated = (share_words(score["accuracy"]) for score in scores[:2])
    return _(
        "A recogniser of real faces is right on {real} of real test images and on {animated} of animated ones (Table "
        "7): the animation shows its expression as far as the second comes near the first.",
        real=real,
        animated=animated,
    )


def _last(table: ScoreTable) -> Mapping[str, Any]:
    """The score on the test images, or on the last part where there are none."""
    return next((score for score in table.scores if score["split"] == "test"), table.scores[-1])


def unlabelled() -> str:
    """In the place of Table 3 where no photograph of a warrior has a label."""
    return _(
        "The photographs of warriors have no labels, so there is no accuracy. Which expressions a recogniser gives "
        "them is among the groups below."
    )


def part(split: str, counts: Mapping[str, int]) -> str:
    """The head of a column: the part of a data set with its sizes."""
    return _(
        "{part}: {images:,} images of {figures:,} figures",
        part=_(split),
        images=counts["images"],
        figures=counts["figures"],
    )


def reader(role: str, network: str, *, seen: bool) -> str:
    """The head of a column of Table 3: which recogniser reads the warriors, and whether it has learned from them."""
    if role.endswith("people"):
        return _("{network} that learned from people", network=network)
    name = {"arm_1": "ARM-1", "arm_2": "ARM-2"}.get(role, network)
    if seen:
        return _("{name}, figures that it has seen animated", name=name)
    return _("{name}, figures that it has not seen", name=name)


def pairing(score: Mapping[str, Any]) -> str:
    """The head of a column of Table 7."""
    pairings = {
        ("real", "real"): _("learned from real faces, reads real ones"),
        ("real", "animated"): _("learned from real faces, reads animated ones"),
        ("animated", "real"): _("learned from animated faces, reads real ones"),
        ("animated", "animated"): _("learned from animated faces, reads animated ones"),
    }
    return pairings[score["trained_on"], score["asked_about"]]


def recogniser(table: ScoreTable) -> str:
    """The head of a recogniser's column where tables stand side by side."""
    return _("Table {n}: {network}", n=table.number, network=table.network)


def validity_reader(score: Mapping[str, Any]) -> str:
    """The head of a column of Table 7 where tables stand side by side."""
    return _("Table 7: {reader}", reader=pairing(score))


def group(name: str) -> str:
    """What a group of figures is called."""
    return _(NAMES.get(name, name))


def group_size(shares: Shares) -> str:
    """The sizes of a group, and who reads it."""
    parts = [faces(shares.faces), figures(shares.figures), _("read by {model}", model=shares.model)]
    if shares.seen:
        parts.append(_("{seen:,} of the figures are in its training images, animated", seen=shares.seen))
    return _(", ").join(parts)


def postures(test: Mapping[str, Any]) -> str:
    """Whether the postures differ by more than chance."""
    differ = _("The postures differ by more than chance.")
    return sentences([differ if test["p"] < LEVEL else _("Whether the postures differ is open."), _regrouped(test)])


def compared(found: Compared) -> str:
    """Whether the groups of figures differ by more than chance."""
    names = listed([_(name) for name in found.groups])
    if found.test is None:
        return _("{groups} all get the same answer from {model}.", groups=names, model=found.effect.model)
    differ = _("{groups}, all read by {model}, differ by more than chance.", groups=names, model=found.effect.model)
    is_open = _("Whether {groups}, all read by {model}, differ is open.", groups=names, model=found.effect.model)
    errors = _(
        "Its errors may differ between the groups, which differ in material and style: compare the corrected shares."
    )
    certain = found.test["p"] < LEVEL
    return sentences([differ if certain else is_open, _regrouped(found.test), *([errors] if certain else [])])


def _regrouped(test: Mapping[str, Any]) -> str:
    return ngettext(
        "Of {all:,} random regroupings of the {figures:,} figures, {n:,} differs at least as much as these groups (p = "
        "{p:.3f}).",
        "Of {all:,} random regroupings of the {figures:,} figures, {n:,} differ at least as much as these groups (p = "
        "{p:.3f}).",
        test["as_large"],
        all=test["regroupings"],
        figures=test["figures"],
        p=test["p"],
    )


def agreement(found: Mapping[str, Any]) -> str:
    """How far the annotators of a corpus agree."""
    values = {key: found[key] for key in ("corpus", "alpha", "images", "figures", "annotators")}
    doubt = _("too few figures for an interval")
    if found["low"] is not None:
        doubt = _("95 % interval {low:.2f} to {high:.2f}", low=found["low"], high=found["high"])
    return _(
        "On {corpus}: Krippendorff's alpha {alpha:.2f} ({doubt}) on {images:,} photographs of {figures:,} figures with "
        "up to {annotators:,} annotators; 0 is agreement by chance, 1 full agreement.",
        **values,
        doubt=doubt,
    )


def stand_ins(config: Mapping[str, str]) -> str:
    """What stands for the paper's data; empty where nothing does."""
    names = {
        "people_are": _("RAF-DB"),
        "warriors_are": _("TW58"),
        "postures_are": _("the photographs of five postures"),
        "han_are": _("the Han figures"),
        "american_are": _("the American works"),
    }
    given = [
        _("{pictures} (for {data})", pictures=config[key], data=name) for key, name in names.items() if config[key]
    ]
    if not given:
        return ""
    return _(
        "These are not the paper's photographs. In their place stand {list}. Compare the tables with one another; they "
        "say nothing about the paper's warriors.",
        list=listed(given),
    )
