"""How often the models are correct: on the images of each data set and on labelled photographs, beside baselines."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from twfer_dist.engine.artifact import Artifact
from twfer_dist.study import baselines, metrics
from twfer_dist.study.inputs import ReportInputs, dataset_images, output_name, predictions_of, seen_or_new
from twfer_dist.study.roads import roads

DATA_SET, PHOTOGRAPHS = "data set", "photographs"
"""The kinds of images that accuracy is measured on."""


def accuracy_entries(counts: pa.Table, inputs: ReportInputs) -> list[dict[str, Any]]:
    """An entry for each data set and one for labelled photographs, where a model answered any of their images.

    counts: the count table of the photographs. Keys: images (what they are called), kind (DATA_SET or PHOTOGRAPHS),
    scores (see `metrics.scores`; models first, then baselines), confusion (the models' matrices by split), linear
    (whether the linear baseline is among the scores).
    """
    entries = [_on_dataset(dataset, inputs.predictions) for dataset in inputs.datasets]
    entries.append(_on_photographs(counts, inputs))
    return [entry for entry in entries if entry["scores"]]


def _on_dataset(dataset: Artifact, predictions: Sequence[Artifact]) -> dict[str, Any]:
    counts = metrics.count(predictions_of(predictions, [dataset]), dataset_images(dataset))
    # The roads read faces, not data sets, whose splits mean nothing to them.
    counts = counts.filter(pc.invert(pc.is_in(counts["model"], pa.array(roads(counts), pa.string()))))
    linear = baselines.fit(dataset)
    answers = baselines.on_dataset(linear, dataset) if linear and len(counts) else None
    return {"images": f"data set {output_name(dataset)}", "kind": DATA_SET, **_scores(counts, answers)}


def _on_photographs(counts: pa.Table, inputs: ReportInputs) -> dict[str, Any]:
    """Scores on labelled faces of photographs, figures seen in training apart from new ones."""
    labelled = counts.filter(pc.is_valid(counts["label"]))
    linear = baselines.fit(inputs.datasets[0]) if inputs.datasets and len(labelled) else None
    answers = None
    if linear and inputs.faces:
        answers = pa.concat_tables(baselines.on_faces(linear, faces) for faces in inputs.faces)
        answers = answers.filter(pc.is_in(answers["corpus"], pc.unique(labelled["corpus"])))
        split = seen_or_new(answers, inputs)
        answers = answers.set_column(answers.column_names.index("split"), "split", split)
    return {"images": "labelled photographs", "kind": PHOTOGRAPHS, **_scores(labelled, answers)}


def _scores(counts: pa.Table, linear: pa.Table | None) -> dict[str, Any]:
    """Scores of the models, and of the baselines on the same splits; confusion matrices of the models."""
    models = metrics.evaluate(counts)
    first = {e.split: e for e in reversed(models)}
    constant = [baselines.majority(first[split]) for split in sorted(first, key=metrics.split_order)]
    beside = [e for e in metrics.evaluate(linear) if e.split in first] if linear is not None else []
    scores = metrics.scores(models)
    scores += metrics.scores(constant, baseline="constant") + metrics.scores(beside, baseline="linear")
    confusion = [{"model": e.model, "split": e.split, "matrix": e.confusion.tolist()} for e in models]
    return {"scores": scores, "confusion": confusion, "linear": bool(beside)}
