"""What lies in the output folder of a recipe."""

import contextlib
import json
from collections import Counter
from dataclasses import replace
from typing import Any

from twfer_dist.core.errors import UserError
from twfer_dist.corpus.tables import ENDINGS
from twfer_dist.engine import artifact, storage
from twfer_dist.engine.artifact import INDEX, Artifact, OutdatedError
from twfer_dist.engine.config import Lines
from twfer_dist.engine.inspect import inspect, is_output, planned_rows
from twfer_dist.recipe.recipe import Outcome, Stage


def read_index(folder: str) -> dict[str, str]:
    """The stage that each directory of a recipe's output folder belongs to; empty where no recipe wrote there."""
    uri = storage.join(folder, INDEX)
    if not storage.exists(uri):
        return {}
    try:
        return {directory: stage for stage, directory in json.loads(storage.read_bytes(uri))["stages"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{uri} is damaged: run the recipe again, which rewrites it and repeats no work.") from None


def has_stages(folder: str) -> bool:
    """Whether a folder is the output folder of a recipe."""
    folder = storage.absolute(folder)
    return storage.exists(folder) and not storage.is_file(folder) and any(map(is_output, _directories(folder)))


def find_recogniser(folder: str) -> str:
    """The output of a training: `folder` itself or, where it is the output folder of a recipe, the training with the
    best balanced accuracy on its validation images. UserError where there is none.
    """
    folder = storage.absolute(folder)
    if _is_finished(folder):
        directories = [folder]
    else:
        directories = [storage.join(folder, directory) for directory in read_index(folder)]
    outputs = [artifact.open_artifact(directory) for directory in directories if _is_finished(directory)]
    trainings = [output for output in outputs if output.manifest.stage == "train"]
    if not trainings:
        raise UserError(
            f"{folder} holds no recogniser: name the output of a training (train-...), or the output folder of a "
            "recipe that trained one."
        )

    def rank(output: Artifact) -> tuple[float, bool]:
        return output.results["scores"]["validation"]["balanced_accuracy"], "refit" in output.manifest.inputs

    return max(trainings, key=rank).uri


def find_faces(folder: str) -> str:
    """The output with the faces: `folder` itself or, where it is the output folder of a recipe, its only output of
    faces, after corrections where there are any. UserError, naming them, where there are several.
    """
    folder = storage.absolute(folder)
    if is_output(folder) or not has_stages(folder):
        return folder
    outputs = _outputs(folder)
    corrected = [output for output in outputs if output.manifest.stage == "corrected"]
    superseded = {digest for output in corrected for digest in output.manifest.inputs.values()}
    faces = [output for output in outputs if output.manifest.stage == "faces"] + corrected
    last = [output.uri for output in faces if output.digest not in superseded]
    if not last:
        raise UserError(f"{folder} holds no finished output of faces: run its stage of kind faces first.")
    if len(last) > 1:
        raise UserError(f"{folder} holds {len(last)} outputs of faces: name one of them: {', '.join(last)}.")
    return last[0]


def corpus_roots(output: Artifact) -> dict[str, str]:
    """The folder on this machine of each corpus of the recipe that made an output, as far as its index says so."""
    try:
        corpora = json.loads(storage.read_bytes(output.uri.replace(output.name, INDEX))).get("corpora", {})
    except (FileNotFoundError, ValueError, AttributeError):
        return {}
    return {
        name: corpus.rpartition("/")[0] if corpus.lower().endswith(ENDINGS) else corpus
        for name, corpus in corpora.items()
        if "://" not in corpus
    }


def find_predictions(folder: str) -> list[Artifact]:
    """The outputs with predictions: `folder` itself or, where it is the output folder of a recipe, all of its stages
    that predict or read. UserError where there is none.
    """
    folder = storage.absolute(folder)
    outputs = [artifact.open_artifact(folder)] if is_output(folder) or not has_stages(folder) else _outputs(folder)
    found = [output for output in outputs if output.manifest.stage in ("predict", "read")]
    if not found:
        raise UserError(f"{folder} holds no predictions: name the output of a stage of kind predict or read.")
    return found


def _outputs(folder: str) -> list[Artifact]:
    """The finished outputs in the output folder of a recipe that belong to its stages."""
    current = read_index(folder)
    outputs = []
    for directory in _directories(folder):
        if _is_finished(directory) and (not current or storage.name_of(directory) in current):
            with contextlib.suppress(OutdatedError):
                outputs.append(artifact.open_artifact(directory))
    return outputs


def recipe_status(folder: str) -> dict[str, Any]:
    """The stages in the output folder of a recipe: `Outcome.summary` of finished ones, progress of unfinished ones."""
    folder = storage.absolute(folder)
    if not storage.exists(folder) or storage.is_file(folder):
        raise UserError(f"{folder} does not exist: name the output folder of a recipe.")
    names = read_index(folder)
    stages = []
    for directory in _directories(folder):
        name = storage.name_of(directory)
        kind = name.rpartition("-")[0]
        stage = Stage(names.get(name, kind), kind, {}, Lines())
        if _is_finished(directory):
            if ".replaced-" not in name:
                stages.append(_finished(directory, stage))
        elif is_output(directory):
            stages.append(_unfinished(directory, stage))
    if not stages:
        raise UserError(f"{folder} holds no output of a stage: name the output folder of a recipe, such as runs/demo.")
    order = list(names)
    stages.sort(key=lambda s: order.index(d) if (d := storage.name_of(s["output"])) in order else len(order))
    counts = Counter(stage["state"] for stage in stages)
    return {"out": folder} | {s: counts[s] for s in ("finished", "unfinished", "outdated")} | {"stages": stages}


def _finished(directory: str, stage: Stage) -> dict[str, Any]:
    """The summary of a finished output; one of another version of the program is named, not read."""
    try:
        return Outcome(stage, "finished", artifact.open_artifact(directory)).summary()
    except OutdatedError:
        return Outcome(stage, "outdated", None).summary() | {"output": directory}


def _unfinished(directory: str, stage: Stage) -> dict[str, Any]:
    try:
        tables, planned = inspect(directory)["tables"], planned_rows(directory)
    except UserError:
        if not _is_finished(directory):
            raise
    if _is_finished(directory):  # the run ended meanwhile, and deleted its shards
        return _finished(directory, stage)
    return Outcome(replace(stage, name=stage.kind), "unfinished", None).summary() | {
        "output": directory,
        "rows": {name: table["rows"] for name, table in tables.items()},
        "counts": {name: table["counts"] for name, table in tables.items()},
        "planned": planned,
    }


def _is_finished(directory: str) -> bool:
    return storage.exists(storage.join(directory, artifact.MANIFEST))


def _directories(folder: str) -> list[str]:
    return [storage.join(folder, name) for name in storage.list_folders(folder)]
