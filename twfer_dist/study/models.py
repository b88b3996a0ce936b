"""The models of a report: how each was trained, the trials of each sweep, and whose answers the page shows first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from twfer_dist.core.intervals import as_dict, share
from twfer_dist.engine.artifact import Artifact
from twfer_dist.recognition.recogniser import NAMES, name_of
from twfer_dist.study.inputs import output_name
from twfer_dist.study.roads import READER, at_start, called, is_road, roads

_TRAINING_RESULTS = ("scores", "best_epoch", "temperature", "threshold", "novelty", "images", "validation_held_out")
_TRIAL_RESULTS = ("alpha", "gamma", "learning_rate", "epochs", "best_epoch")


@dataclass(frozen=True)
class Choice:
    """The models whose answers the page shows."""

    first: str | None  # None without any model
    second: str | None  # beside the first, where that is a road (see `roads.is_road`) and not alone
    why: str  # why the first is first, in a sentence


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
    if second is None:
        return Choice(first, None, at_start(f"{called(first)} is the only model that answered."))
    why = "it needs no training" if first == READER else "none of its networks saw the figures that it reads"
    return Choice(first, second, at_start(f"{called(first)} comes first, because {why}; {called(second)} is second."))


def _best_recogniser(models: Sequence[str], recognisers: Sequence[Mapping[str, Any]]) -> Choice:
    """The one of `models`, none of them a road, that comes first."""
    if not models:
        return Choice(None, None, "No model answered.")
    if len(models) == 1:
        return Choice(models[0], None, f"{models[0]} is the only model that answered.")
    validation = {r["model"]: r["scores"]["validation"]["balanced_accuracy"] for r in recognisers}
    if not validation.keys() >= set(models):
        why = f"{models[0]} is the first by name: without the trainings there are no validation scores to choose by."
        return Choice(models[0], None, why)
    best = max(models, key=lambda model: validation[model])
    return Choice(best, None, f"{best} has the best balanced accuracy on the validation images of its training.")


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


def _initial_weights(training: Artifact, trainings: Sequence[Artifact]) -> str:
    inputs, file = training.manifest.inputs, training.manifest.models.get("initial")
    if "trunk" in inputs:
        trunk = next((output_name(t) for t in trainings if t.digest == inputs["trunk"]), "another training")
        return f"the trunk of {trunk}"
    return f"the file {file[:12]}" if file else "random weights"


def sweep_entry(sweep: Artifact) -> dict[str, Any]:
    """The trials of a sweep that did not diverge, the best first."""
    train, n = sweep.manifest.config["train"], sweep.results["validation_images"]
    trials = []
    for number, trial in enumerate(sweep.results["trials"]):
        if "diverged" not in trial:
            correct = np.arange(n) < round(trial["accuracy/validation"] * n)
            scores = {
                "accuracy": as_dict(share(correct.astype(int), np.ones(n, int))),
                "balanced_accuracy": trial["balanced_accuracy/validation"],
            }
            trials.append({"number": number, **{key: trial[key] for key in _TRIAL_RESULTS}, **scores})
    trials.sort(key=lambda t: (t["number"] != sweep.results["best"], -t["accuracy"]["k"], t["number"]))
    return {
        "output": output_name(sweep),
        "network": NAMES[train["network"]],
        "size": train["size"],
        "trials": trials,
        "diverged": len(sweep.results["trials"]) - len(trials),
    }
