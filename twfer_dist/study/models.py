"""The models of a report: how each was trained, and whose answers the page shows first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from twfer_dist.core.language import _
from twfer_dist.engine.artifact import Artifact
from twfer_dist.reading.reader import NAME as READER
from twfer_dist.recognition.recogniser import name_of
from twfer_dist.study.inputs import output_name
from twfer_dist.study.roads import is_road, roads
from twfer_dist.study.words import at_start, called

NONE, ALONE, ROAD, BEST, BY_NAME = "none", "alone", "road", "best on validation images", "first by name"
"""Why a model is the first."""

_TRAINING_RESULTS = ("scores", "best_epoch", "temperature", "threshold", "novelty", "images", "validation_held_out")


@dataclass(frozen=True)
class Choice:
    """The models whose answers the page shows."""

    first: str | None  # None without any model
    second: str | None  # beside the first, where that is a road (see `roads.is_road`) and not alone
    rule: str  # why the first is first: NONE, ALONE, ROAD, BEST or BY_NAME


def choose_models(
    counts: pa.Table, accuracy: Sequence[Mapping[str, Any]], recognisers: Sequence[Mapping[str, Any]]
) -> Choice:
    """The models that the page shows: the reader before cross-fitted recognisers, these before any other recogniser.
    Never chosen by a test score.
    """
    scored = {s["model"] for entry in accuracy for s in entry["scores"] if not s["baseline"]}
    models = set(counts["model"].to_pylist()) or scored
    other = _best_recogniser(sorted(model for model in models if not is_road(model)), recognisers)
    if not (ahead := roads(counts)):
        return other
    first, second = [*ahead, other.first, None][:2]
    return Choice(first, second, ALONE if second is None else ROAD)


def model_rule(first: str | None, second: str | None, rule: str) -> str:
    """Why a model is the first, in a sentence."""
    model = called(first)
    if rule == ROAD and first == READER:
        words = _("{model} comes first, because it needs no training; {second} is second.", model=model, second=second)
    elif rule == ROAD:
        words = _(
            "{model} comes first, because none of its networks saw the figures that it reads; {second} is second.",
            model=model,
            second=second,
        )
    elif rule == BEST:
        words = _("{model} has the best balanced accuracy on the validation images of its training.", model=model)
    elif rule == BY_NAME:
        words = _(
            "{model} is the first by name: without the trainings there are no validation scores to choose by.",
            model=model,
        )
    else:
        words = _("{model} is the only model that answered.", model=model) if first else _("No model answered.")
    return at_start(words)


def _best_recogniser(models: Sequence[str], recognisers: Sequence[Mapping[str, Any]]) -> Choice:
    """The one of `models`, none of them a road, that comes first."""
    if not models:
        return Choice(None, None, NONE)
    if len(models) == 1:
        return Choice(models[0], None, ALONE)
    validation = {r["model"]: r["scores"]["validation"]["balanced_accuracy"] for r in recognisers}
    if not validation.keys() >= set(models):
        return Choice(models[0], None, BY_NAME)
    return Choice(max(models, key=lambda model: validation[model]), None, BEST)


def recogniser_entry(training: Artifact, trainings: Sequence[Artifact]) -> dict[str, Any]:
    """A training as the page shows it; `model` is its name in tables of predictions. trainings: all of the page."""
    results = training.results
    confusion = results["scores"].get("test", {}).get("confusion")
    test = {"k": sum(row[k] for k, row in enumerate(confusion)), "n": sum(map(sum, confusion))} if confusion else None
    return {
        "model": name_of(training),
        "output": output_name(training),
        "config": training.manifest.config,
        "start": _initial_weights(training, trainings),
        "test": test,
        **{key: results[key] for key in _TRAINING_RESULTS},
        "held_out": results.get("held_out"),
    }


def _initial_weights(training: Artifact, trainings: Sequence[Artifact]) -> dict[str, str]:
    """What a training started from: the trunk of another (empty where that is not among `trainings`), or a file's
    sha256; nothing for random weights.
    """
    inputs, file = training.manifest.inputs, training.manifest.models.get("initial")
    if "trunk" in inputs:
        return {"trunk": next((output_name(t) for t in trainings if t.digest == inputs["trunk"]), "")}
    return {"file": file[:12]} if file else {}


def start_words(start: Mapping[str, str]) -> str:
    """What a training started from, in words."""
    if "trunk" in start:
        return _("the trunk of {training}", training=start["trunk"] or _("another training"))
    return _("the file {digest}", digest=start["file"]) if "file" in start else _("random weights")
