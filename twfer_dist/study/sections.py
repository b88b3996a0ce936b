"""The sections of the page in their order: as an article, from the evidence to where it comes from."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from twfer_dist.core.language import _, mark
from twfer_dist.study.report_data import Study
from twfer_dist.study.shown import Shown

EVIDENCE, DOUBT, METHODS, PROVENANCE = mark("Evidence"), mark("Doubt"), mark("Methods"), mark("Provenance")
"""The parts of the article after its answer."""


@dataclass(frozen=True)
class Section:
    """A section: `<name>.html.j2` is what stands between its heading and the next; `name` is its anchor too."""

    part: str
    name: str
    title: str
    shown: Callable[[Study, Shown], Any]  # whether there is anything to show

    @property
    def template(self) -> str:
        return f"{self.name}.html.j2"


SECTIONS = (
    Section(EVIDENCE, "clearest", mark("The clearest face of each expression"), lambda _, shown: shown.clearest_cards),
    Section(EVIDENCE, "groups", mark("Which expressions, and in which groups"), lambda study, _: study.overall),
    Section(EVIDENCE, "effects", mark("How large the differences are"), lambda study, _: study.effects),
    Section(EVIDENCE, "roads", mark("Two readings side by side"), lambda study, _: study.comparison),
    Section(EVIDENCE, "relative", mark("Relative to the median face"), lambda study, _: study.relative),
    Section(EVIDENCE, "movements", mark("Which movements the faces show"), lambda study, _: study.profile.overall),
    Section(EVIDENCE, "plates", mark("Each movement at its strongest and weakest"), lambda _, shown: shown.plates),
    Section(EVIDENCE, "similarity", mark("How alike the faces are"), lambda study, _: study.similarity),
    Section(EVIDENCE, "faces", mark("The faces"), lambda _, shown: shown.cards),
    Section(EVIDENCE, "sheet", mark("Detected faces"), lambda _, shown: shown.sheets),
    Section(DOUBT, "unknown", mark("What is not known"), lambda _, shown: True),
    Section(DOUBT, "annotators", mark("How far the annotators agree"), lambda study, _: study.annotators),
    Section(DOUBT, "accuracy", mark("How often the models are correct"), lambda study, _: study.accuracy),
    Section(DOUBT, "reliability", mark("When a model is sure, is it right?"), lambda study, _: study.reliability),
    Section(DOUBT, "explanations", mark("What the answers rest on"), lambda study, _: study.explained),
    Section(DOUBT, "validity", mark("Are animated faces like real ones?"), lambda study, _: study.validity),
    Section(DOUBT, "duplicates", mark("Nearly the same picture twice"), lambda study, _: study.similarity),
    Section(METHODS, "animated", mark("Animated faces"), lambda _, shown: shown.strips),
    Section(
        METHODS,
        "models",
        mark("The models and how they were trained"),
        lambda study, _: study.recognisers or study.sweeps,
    ),
    Section(PROVENANCE, "credits", mark("Whose photographs these are"), lambda study, _: study.credits.sources),
    Section(PROVENANCE, "made", mark("Where this comes from"), lambda _, shown: True),
)


def parts(study: Study, shown: Shown) -> Iterator[tuple[str, list[Section]]]:
    """Each part of the article in words, with the sections of it that this study has."""
    present = [section for section in SECTIONS if section.shown(study, shown)]
    for part in (EVIDENCE, DOUBT, METHODS, PROVENANCE):
        if of_part := [section for section in present if section.part == part]:
            yield _(part), of_part
