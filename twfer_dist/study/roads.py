"""The roads to an answer: the reader, which ships with the program, and the paper's, recognisers trained on the study's
own faces and cross-fitted, so that no face is read by what it taught.
"""

from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa

from twfer_dist.core.language import mark
from twfer_dist.reading.reader import NAME as READER
from twfer_dist.recognition.calibration import Confusion
from twfer_dist.recognition.cross_fitting import CROSS_FITTED
from twfer_dist.recognition.recogniser import NAMES
from twfer_dist.study.correction import HELD_OUT
from twfer_dist.study.inputs import ReportInputs

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


def held_out_images(model: str | None) -> str:
    """What the images are, in words, on which a model's errors are recorded."""
    if model == READER:
        return mark("rendered heads")
    return mark("animated faces") if is_cross_fitted(model) else HELD_OUT


def held_out(model: str, inputs: ReportInputs) -> dict[str, Any] | None:
    """The errors of a road on images that it had not seen (`Confusion.as_dict`); None where none are recorded.

    The reader's are `results["held_out"]` of the stage that read. Those of a cross-fitted recogniser are its
    trainings', pooled over their test images alone, so that each figure counts once: its validation images in another
    fold are left out.
    """
    if model == READER:
        records = (p.results.get("held_out") for p in inputs.predictions if p.manifest.stage == "read")
        return next((record for record in records if record), None)
    figures = {e["training"]: e["test_figures"] for p in inputs.predictions for e in p.results.get("cross_fitted", [])}
    errors = [
        Confusion(np.array(test["confusion"]), record["design_effect"], figures[training.digest])
        for training in inputs.models
        if training.digest in figures and NAMES[training.manifest.config["network"]] + CROSS_FITTED == model
        if (record := training.results.get("held_out")) and (test := training.results["scores"].get("test"))
    ]
    return reduce(Confusion.pooled, errors).as_dict() if errors else None
