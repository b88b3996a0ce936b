"""The stages of a recipe in order, finished ones skipped."""

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

from twfer_dist.core.errors import UserError
from twfer_dist.corpus.corpus import open_corpus
from twfer_dist.engine import artifact, ray_cluster, resources, storage
from twfer_dist.engine.artifact import INDEX, Artifact
from twfer_dist.engine.config import package_path
from twfer_dist.engine.journal import without_password
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import find_output, run_stage
from twfer_dist.recipe.kinds import INPUTS, KIND_OF, SETTINGS, check_kind, job_of
from twfer_dist.recipe.recipe import Outcome, Recipe, Stage
from twfer_dist.recipe.status import read_index


def plan_recipe(recipe: Recipe) -> list[Outcome]:
    """What is finished and what is to do, without doing any of it. Problem for whatever could not be done."""
    _check_files(recipe)
    outcomes = list(_walk(recipe, lambda job: find_output(job, recipe.out)))
    if not os.environ.get("RAY_ADDRESS") and not recipe.compute.gpus:  # all is done by this machine's processor
        for stage in (outcome.stage for outcome in outcomes if outcome.state == "to do"):
            wanted = stage.settings.get("train", stage.settings).get("precision", "float32")
            if wanted == "bfloat16":
                from twfer_dist.training import precision

                precision.choose_precision(wanted, [precision.device_without_bfloat16("cpu")])
    return outcomes


def run_recipe(
    recipe: Recipe, *, until: str | None = None, quiet: bool = False, retry: bool = False
) -> Iterator[Outcome]:
    """Do the stages in order, each once; yields what became of each. `until` names the last stage to do; `retry`: rows
    of finished stages that may come out otherwise are done again, and what depends on them where something came of it.
    """
    if until is not None and until not in {s.name for s in recipe.stages}:
        raise UserError(
            f"The recipe {recipe.name} has no stage '{until}': it has {', '.join(s.name for s in recipe.stages)}."
        )
    if storage.is_file(recipe.out):
        raise UserError(f"{recipe.out} is a file: name a folder for the outputs.")
    _check_files(recipe)  # what is wrong is told of before hours of other work
    if recipe.tracking:
        recipe.tracking.send_waiting(recipe.out)
    gpus = recipe.compute.gpus
    if (recipe.tracking or gpus) and any(outcome.state == "to do" for outcome in plan_recipe(recipe)):
        if recipe.tracking:
            recipe.tracking.experiment_id()
        if gpus and recipe.compute.actors is None:
            ray_cluster.start()
            resources.check_gpus(gpus)
    index: dict[str, str] = {}
    with contextlib.suppress(UserError):  # a damaged index is written anew
        index = {
            stage: directory
            for directory, stage in read_index(recipe.out).items()
            if stage in {s.name for s in recipe.stages}
        }
    for outcome in _walk(
        recipe, lambda job: run_stage(job, recipe.out, quiet=quiet, retry=retry, tracking=recipe.tracking)
    ):
        assert outcome.finished
        index[outcome.stage.name] = outcome.finished.name
        corpora = {name: without_password(storage.absolute(path)) for name, path in recipe.corpora.items()}
        storage.write_json(
            storage.join(recipe.out, INDEX), {"recipe": recipe.name, "corpora": corpora, "stages": index}
        )
        if outcome.stage.kind == "report":
            page = storage.read_bytes(outcome.finished.path("index.html"))
            storage.write_bytes(storage.join(recipe.out, outcome.stage.name, "index.html"), page)
        yield outcome
        if outcome.stage.name == until:
            return


def _check_files(recipe: Recipe) -> None:
    """Problem where a file that a stage names is not there, unless the recipe itself may make it."""
    for stage in recipe.stages:
        for key in SETTINGS[stage.kind][2]:
            place = storage.absolute(package_path(str(stage.settings.get(key, "package:"))))
            if key != "detector" and not place.startswith(recipe.out) and not storage.exists(place):
                raise UserError(
                    f"recipe {recipe.name}, stage '{stage.name}': {place}, its '{key}', is not there: name another "
                    "file."
                )


def _walk(recipe: Recipe, do: Callable[[StageSpec], Artifact | None]) -> Iterator[Outcome]:
    corpora = {name: open_corpus(path, name) for name, path in recipe.corpora.items()}
    made: dict[str, Artifact | None] = {}
    for stage in recipe.stages:
        inputs: dict[str, list[Any]] = {}
        for key, names in stage.inputs.items():
            if key == "corpora":
                inputs[key] = [corpora[n] for n in names]
            else:
                inputs[key] = [made[n] if n in made else _finished(recipe, stage, key, n) for n in names]
        if any(one is None for several in inputs.values() for one in several):
            made[stage.name] = None  # what it is made from is not made yet
            yield Outcome(stage, "to do", None)
            continue
        job = job_of(recipe, stage, inputs)
        found = find_output(job, recipe.out)
        finished = made[stage.name] = do(job)
        state = "to do" if finished is None else "finished" if found and found.build_id == finished.build_id else "made"
        yield Outcome(stage, state, finished)


def _finished(recipe: Recipe, stage: Stage, key: str, directory: str) -> Artifact:
    """The finished output that a stage names by its directory. Problem where it is of another kind than the stage
    takes.
    """
    found = artifact.open_artifact(storage.absolute(package_path(directory)))
    kind = KIND_OF.get(found.manifest.stage, found.manifest.stage)
    check_kind(INPUTS[stage.kind][key], key, found.uri, kind, f"recipe {recipe.name}, stage '{stage.name}'")
    return found
