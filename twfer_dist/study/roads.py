"""The roads to an answer: the reader, which ships with the program, and the paper's, recognisers trained on the study's
own faces and cross-fitted, so that no face is read by what it taught.
"""

from functools import reduce
from typing import Any

import pyarrow as pa

from twfer_dist.engine.artifact import Artifact
from twfer_dist.recognition.calibration import Confusion, confusion_from
from twfer_dist.recognition.recogniser import NAMES
from twfer_dist.study.inputs import ReportInputs

READER = "reader"
"""The name of the reader in tables of predictions."""

CROSS_FITTED = ", cross-fitted"
"""How the names of cross-fitted recognisers end in tables of predictions."""

_PAPERS_FIRST = NAMES["resnet18"] + CROSS_FITTED


def is_cross_fitted(model: str | None) -> bool:
    return bool(model and model.endswith(CROSS_FITTED))


def is_road(model: str | None) -> bool:
    """Whether a model is the reader or a cross-fitted recogniser."""
    return model == READER or is_cross_fitted(model)


def roads(rows: pa.Table) -> list[str]:
    """The roads among the models of a table: the reader, then ResNet-18, then any other cross-fitted recogniser."""
    models = filter(is_road, rows["model"].unique().to_pylist())
    return sorted(models, key=lambda m: (m != READER, m != _PAPERS_FIRST, m))


def called(model: str | None) -> str:
    """What a model is called within a sentence."""
    return "the reader" if model == READER else str(model)


def at_start(words: str) -> str:
    """A sentence that may begin with what a model is called, with a capital letter."""
    return words[:1].upper() + words[1:]


def held_out(model: str, inputs: ReportInputs) -> dict[str, Any] | None:
    """The errors of a road on images that it had not seen (`Confusion.as_dict`); None where none are recorded.

    The reader's are `results["held_out"]` of the stage that read. Those of a cross-fitted recogniser are its
    trainings', pooled: each tested its network on other figures.
    """
    if model == READER:
        records = (p.results.get("held_out") for p in inputs.predictions if p.manifest.stage == "read")
        return next((record for record in records if record), None)
    errors = [confusion_from(record) for t in _trainings(model, inputs) if (record := t.results.get("held_out"))]
    return reduce(Confusion.pooled, errors).as_dict() if errors else None


def _trainings(model: str, inputs: ReportInputs) -> list[Artifact]:
    """The trainings behind a cross-fitted recogniser that are among the models of the report."""
    digests = {entry["training"] for p in inputs.predictions for entry in p.results.get("cross_fitted", [])}
    known = [m for m in inputs.models if m.manifest.stage == "train" and m.digest in digests]
    return [m for m in known if NAMES[m.manifest.config["network"]] + CROSS_FITTED == model]
