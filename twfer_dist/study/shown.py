"""The pictures on the page."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from twfer_dist.study.explanations import ExplainedFace, explained_faces
from twfer_dist.study.figures import (
    LARGE_PIXELS,
    AnimatedFace,
    Card,
    Sheet,
    animated_strips,
    cards_of,
    contact_sheets,
    sample_cards,
)
from twfer_dist.study.inputs import ReportInputs
from twfer_dist.study.measured import MeasuredFaces
from twfer_dist.study.plates import Plate, plates
from twfer_dist.study.report_data import Study
from twfer_dist.study.similarity import SimilarityPictures, similarity_pictures
from twfer_dist.study.sweeps import SweepPicture, sweep_pictures


@dataclass(frozen=True)
class Shown:
    """The pictures on the page."""

    cards: list[Card]
    clearest_cards: list[Card]  # of `Study.clearest`, large
    differing_cards: list[Card]  # of `Comparison.differing`, large
    sheets: list[Sheet]
    strips: list[AnimatedFace]
    plates: list[Plate]
    explained_faces: list[ExplainedFace]
    similarity_pictures: list[SimilarityPictures]  # of `Study.similarity`
    sweep_pictures: list[list[SweepPicture]]  # of `Study.sweeps`


def pictures(
    study: Study, inputs: ReportInputs, images: pa.Table, measured: MeasuredFaces, *, faces: int, strips: int
) -> Shown:
    """The pictures of a study. faces, strips: how many faces and animated faces are shown at most."""

    def large(chosen: Sequence[tuple[str, str | None]]) -> list[Card]:
        return cards_of(chosen, inputs.predictions, inputs.faces, LARGE_PIXELS)

    differing = study.comparison.differing if study.comparison else []
    return Shown(
        cards=sample_cards(inputs.predictions, inputs.faces, images, study.model, faces),
        clearest_cards=large([(face["face_id"], face["model"]) for face in study.clearest]),
        differing_cards=large([(face_id, study.model) for face_id in differing]),
        sheets=contact_sheets(inputs.faces),
        strips=animated_strips(inputs.animated, inputs.faces, strips),
        plates=plates(measured, inputs.faces),
        explained_faces=explained_faces(inputs.explanations, inputs.faces),
        similarity_pictures=similarity_pictures(inputs.similarity),
        sweep_pictures=sweep_pictures([model for model in inputs.models if model.manifest.stage == "sweep"]),
    )
