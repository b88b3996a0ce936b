"""The stages of a recipe in order; finished ones are skipped."""

import contextlib
import dataclasses
from collections.abc import Iterator

from twfer_dist.core.errors import UserError
from twfer_dist.core.language import listed
from twfer_dist.engine import ray_cluster, resources, storage
from twfer_dist.engine.artifact import INDEX, Artifact
from twfer_dist.engine.config import package_path
from twfer_dist.engine.journal import without_password
from twfer_dist.engine.mlflow_run import RETRY_AFTER_S, suspend
from twfer_dist.engine.mlflow_store import Unavailable
from twfer_dist.engine.shared_storage import SharedStorage
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import find_output, run_stage
from twfer_dist.engine.tracking import Tracking
from twfer_dist.recipe.kinds import file_of, kind_of, tracking_of
from twfer_dist.recipe.recipe import Outcome, Recipe, Stage
from twfer_dist.recipe.side_by_side import run_side_by_side
from twfer_dist.recipe.status import read_index
from twfer_dist.recipe.walk import storage_of, walk


def plan_recipe(recipe: Recipe) -> list[Outcome]:
    """What is finished and what is to do; nothing is run. UserError for anything that is known to fail."""
    _check_inputs(recipe)
    outcomes = list(walk(recipe, lambda _, spec: find_output(spec, recipe.out)))
    if not resources.on_cluster():  # this machine does everything
        for outcome in outcomes:
            settings = outcome.stage.settings
            precision_asked = settings.get("train", settings).get("precision", "float32")
            on_processor = not outcome.stage.compute.gpus
            if outcome.state == "to do" and precision_asked == "bfloat16" and on_processor:
                from twfer_dist.training import precision

                precision.choose_precision(precision_asked, [precision.device_without_bfloat16("cpu")])
    return outcomes


def run_recipe(
    recipe: Recipe, *, until: str | None = None, quiet: bool = False, retry: bool = False, jobs: int = 1
) -> Iterator[Outcome]:
    """Run the stages in order and yield the outcome of each. until: the last stage to run. retry: rows of finished
    stages that failed for a transient reason are done again, and everything downstream that this changes. jobs: so many
    stages at once, on a cluster, where they do not need each other; outcomes then come as they are known.
    """
    shared = storage_of(recipe)
    _check_before(recipe, until, jobs, shared)
    index = _known_index(recipe)
    names = [stage.name for stage in recipe.stages]
    recipe = dataclasses.replace(recipe, stages=recipe.stages[: names.index(until) + 1] if until else recipe.stages)

    def run(stage: Stage, spec: StageSpec) -> Artifact:
        if resources.on_cluster() and (retry or not find_output(spec, recipe.out)):
            ray_cluster.start()
            shared.check()
        return run_stage(spec, recipe.out, quiet=quiet, retry=retry, tracking=tracking_of(recipe, stage))

    for outcome in run_side_by_side(recipe, jobs, quiet=quiet, retry=retry) if jobs > 1 else walk(recipe, run):
        assert outcome.artifact
        index[outcome.stage.name] = outcome.artifact.name
        _write_index(recipe, {name: index[name] for name in names if name in index})
        for file in kind_of(outcome.stage.kind).shown:
            target = storage.join(recipe.out, outcome.stage.name, storage.name_of(file))
            storage.copy_file(outcome.artifact.path(file), target)
        yield outcome


def _check_before(recipe: Recipe, until: str | None, jobs: int, shared: SharedStorage) -> None:
    """UserError for anything that would otherwise show after hours of other work."""
    names = [stage.name for stage in recipe.stages]
    if until is not None and until not in names:
        raise UserError(f"The recipe {recipe.name} has no stage '{until}': it has {', '.join(names)}.")
    on_cluster = resources.on_cluster()
    if jobs > 1 and not on_cluster:
        raise UserError("--jobs is for a cluster: on one machine each stage uses all of it, so leave --jobs out.")
    for stage in recipe.stages[: names.index(until) + 1 if until else None]:
        if kind_of(stage.kind).tracked and not recipe.tracking:
            raise UserError(
                f"recipe {recipe.name}: the runs of stage '{stage.name}' would be logged to a SQLite file next to the "
                f"outputs, but {without_password(recipe.out)} is not on this machine: set 'tracking' to the address of "
                "an MLflow server."
            )
    if storage.is_file(recipe.out):
        raise UserError(f"{recipe.out} is a file: name a folder for the outputs.")
    _check_inputs(recipe)
    if recipe.tracking:
        recipe.tracking.send_waiting(recipe.out)
    gpus = max((stage.compute.gpus for stage in recipe.stages if stage.compute.actors is None), default=0)
    if (recipe.tracking or gpus or on_cluster) and any(outcome.state == "to do" for outcome in plan_recipe(recipe)):
        if on_cluster:
            ray_cluster.start()
            shared.check()
        if recipe.tracking:
            _check_tracking(recipe.name, recipe.tracking)
        if gpus:
            ray_cluster.start()
            resources.check_gpus(gpus)


def _check_tracking(name: str, tracking: Tracking) -> None:
    """UserError where MLflow would refuse the runs; where it does not answer, they are kept to be sent later."""
    try:
        tracking.experiment_id()
    except Unavailable as error:
        suspend(tracking.uri, f"recipe {name}", error, RETRY_AFTER_S)


def _check_inputs(recipe: Recipe) -> None:
    """UserError that names all corpora and files that do not exist, unless the recipe itself may make them."""
    missing = []
    for name, path in recipe.corpora.items():
        uri = storage.absolute(path)
        if not storage.exists(uri.rstrip("/") or "/"):
            missing.append(f"the corpus '{name}' ({without_password(uri)})")
    for stage in recipe.stages:
        for file in kind_of(stage.kind).files:
            uri = storage.absolute(file_of(recipe, package_path(str(stage.settings.get(file.name) or "package:"))))
            if not uri.startswith(recipe.out) and not storage.exists(uri):
                missing.append(f"the '{file.name}' of stage '{stage.name}' ({without_password(uri)})")
    if missing:
        do, them = ("does", "it") if len(missing) == 1 else ("do", "them")
        raise UserError(
            f"recipe {recipe.name}: {listed(missing)} {do} not exist: put {them} there, or name other places in the "
            "recipe."
        )


def _known_index(recipe: Recipe) -> dict[str, str]:
    """The output directory of each stage, as an earlier run left it."""
    names = {stage.name for stage in recipe.stages}
    with contextlib.suppress(UserError):  # a damaged index is written again
        return {stage: directory for directory, stage in read_index(recipe.out).items() if stage in names}
    return {}


def _write_index(recipe: Recipe, index: dict[str, str]) -> None:
    corpora = {name: without_password(storage.absolute(path)) for name, path in recipe.corpora.items()}
    content = {"recipe": recipe.name, "corpora": corpora, "stages": index}
    storage.write_json(storage.join(recipe.out, INDEX), content)
