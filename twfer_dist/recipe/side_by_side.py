"""Stages that do not need each other, run at once on a cluster, each in a process of its own."""

import dataclasses
import itertools
import multiprocessing
import signal
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from twfer_dist.core.errors import UserError
from twfer_dist.engine import log, progress, ray_cluster, resources, storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.config import package_path
from twfer_dist.engine.registry import is_registered
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import find_output, run_stage
from twfer_dist.recipe.kinds import kind_of, tracking_of
from twfer_dist.recipe.recipe import Outcome, Recipe, Stage
from twfer_dist.recipe.walk import storage_of, walk

PATIENCE_MINUTES = 24 * 60
"""How long a stage waits for GPUs and workers while other stages may hold what it needs."""


def run_side_by_side(recipe: Recipe, jobs: int, *, quiet: bool, retry: bool) -> Iterator[Outcome]:
    """Run up to `jobs` stages at once, and yield the outcome of each as soon as it is known. UserError where a stage
    raises one, once the stages that run beside it have ended.
    """
    waiting = {stage.name: needed_stages(recipe, stage) for stage in recipe.stages}
    if not retry:
        for outcome in walk(recipe, lambda _, spec: find_output(spec, recipe.out)):
            if outcome.artifact:
                del waiting[outcome.stage.name]
                yield outcome
    others = multiprocessing.active_children()
    running: dict[Future[Outcome], tuple[str, ProcessPoolExecutor]] = {}
    problem: UserError | None = None
    try:
        while waiting or running:
            not_done = {*waiting, *(name for name, _ in running.values())}
            ready = (name for name, needed in waiting.items() if not_done.isdisjoint(needed))
            for name in list(itertools.islice(ready, jobs - len(running))):
                process = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _begin)
                only = _with_stages(recipe, {*waiting.pop(name), name})
                running[process.submit(_run_last, only, quiet, retry)] = name, process
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                name, process = running.pop(future)
                process.shutdown()
                try:
                    yield future.result()
                except UserError as error:
                    problem, waiting = problem or error, {}
                except BrokenProcessPool:
                    problem, waiting = problem or _killed(name), {}
    finally:
        for child in set(multiprocessing.active_children()) - set(others):
            child.terminate()
    if problem:
        raise problem


def needed_stages(recipe: Recipe, stage: Stage) -> list[str]:
    """The stages above that a stage needs, and those that they need, in order."""
    above = recipe.stages[: recipe.stages.index(stage)]
    if _names_result(recipe, stage):
        return [each.name for each in above]
    needed = set(_inputs(stage))
    for each in reversed(above):
        if each.name in needed:
            needed.update([other.name for other in above] if _names_result(recipe, each) else _inputs(each))
    return [each.name for each in above if each.name in needed]


def _inputs(stage: Stage) -> list[str]:
    keys = (key for key in kind_of(stage.kind).inputs if key.kinds)
    return [name for key in keys for name in stage.inputs.get(key.name, [])]


def _names_result(recipe: Recipe, stage: Stage) -> bool:
    """Whether a stage names a file or a registered model that a stage above it may make, without naming that stage."""
    files = [stage.settings.get(file.name) for file in kind_of(stage.kind).files]
    names = [str(file) for file in files if file is not None] + _inputs(stage)
    return any(is_registered(name) or storage.absolute(package_path(name)).startswith(recipe.out) for name in names)


def _with_stages(recipe: Recipe, names: set[str]) -> Recipe:
    return dataclasses.replace(recipe, stages=[stage for stage in recipe.stages if stage.name in names])


def _killed(name: str) -> UserError:
    return UserError(
        f"The process of stage '{name}' was killed, probably for lack of memory: run with fewer --jobs; finished work "
        "is kept."
    )


def _begin() -> None:
    """What a process does before its stage."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    log.configure()
    progress.shares_terminal = True
    resources.PATIENCE_MINUTES = PATIENCE_MINUTES


def _run_last(recipe: Recipe, quiet: bool, retry: bool) -> Outcome:
    """Run the last stage of a recipe, all others of which are finished."""

    def run(stage: Stage, spec: StageSpec) -> Artifact:
        again = retry and stage == recipe.stages[-1]
        return run_stage(spec, recipe.out, quiet=quiet, retry=again, tracking=tracking_of(recipe, stage))

    ray_cluster.start()
    storage_of(recipe).check()
    return list(walk(recipe, run))[-1]
