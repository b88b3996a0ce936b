"""The kinds of stages that a recipe may have. Each is declared in its room; this file says where."""

import contextlib
import dataclasses
import functools
import importlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from twfer_dist.core.errors import UserError
from twfer_dist.engine import registry, storage
from twfer_dist.engine.config import either, fill, package_path
from twfer_dist.engine.kind import Input, Request, StageKind
from twfer_dist.engine.origin import origin_tags
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.tracking import Tracking
from twfer_dist.engine.workload import Content, Workload
from twfer_dist.recipe.recipe import Recipe, Stage

KINDS = {
    "render": "rendering.stage:KIND",
    "measure": "measurement.stage:KIND",
    "generator": "synthesis.train_stage:KIND",
    "face-network": "measurement.train_stage:KIND",
    "identity-network": "measurement.train_stage:IDENTITY_KIND",
    "faces": "faces.stage:KIND",
    "corrected": "annotation.corrections:KIND",
    "animate": "synthesis.stage:KIND",
    "strips": "synthesis.strips:KIND",
    "dataset": "dataset.stage:KIND",
    "train": "recognition.train_stage:KIND",
    "sweep": "recognition.sweep_stage:KIND",
    "predict": "recognition.stage:KIND",
    "embed": "similarity.stage:KIND",
    "similarity": "similarity.compare:KIND",
    "reader": "reading.train_stage:KIND",
    "read": "reading.stage:KIND",
    "explain-answers": "explanation.stage:KIND",
    "validity": "study.validity:KIND",
    "paper-tables": "study.paper.stage:KIND",
    "report": "study.report:KIND",
}


@functools.cache
def kind_of(name: str) -> StageKind:
    """The kind called `name`, one of KINDS. Its room is imported here: a recipe loads no more than it uses."""
    module, _, attribute = KINDS[name].partition(":")
    kind = getattr(importlib.import_module(f"twfer_dist.{module}"), attribute)
    assert isinstance(kind, StageKind) and kind.name == name
    return kind


def check_stage(stage: Stage, above: Mapping[str, str], location: str) -> None:
    """UserError where a stage lacks a key, names a stage of the wrong kind, or has settings that contradict each other.

    above: the kind of each stage above it.
    """
    kind = kind_of(stage.kind)
    request = _request(stage, location)
    for key in kind.inputs:
        names = stage.inputs.get(key.name, [])
        if not names and not key.optional:
            wanted = f"a stage of kind {either(key.kinds)}, or its output directory" if key.kinds else "a corpus"
            raise UserError(f"{location}: '{key.name}' is missing: name {wanted}.")
        for name in names:
            if name in above and key.kinds:
                check_input(key, f"stage '{name}'", above[name], location)
    for file in kind.files:
        if file.remedy and file.name not in request.files:
            raise UserError(f"{location}: '{file.name}' is missing: {file.remedy}.")
    with _located(location):
        kind.check(request)


def check_input(key: Input, what: str, kind: str, location: str) -> None:
    """UserError where a key names the output of a kind of stage that it does not take."""
    if kind not in key.kinds:
        raise UserError(
            f"{location}: '{key.name}' names {what}, which is of kind {kind}: name one of kind {either(key.kinds)}."
        )


def spec_of(recipe: Recipe, stage: Stage, inputs: Mapping[str, Sequence[Any]]) -> StageSpec:
    """What `run_stage` runs for a stage of a recipe. inputs: the artifacts (or corpora) that its keys name."""
    location = f"recipe {recipe.name}, stage '{stage.name}'"
    request = _request(stage, location)
    files = {key: file_of(recipe, uri) for key, uri in request.files.items()}
    request = dataclasses.replace(
        request, inputs=inputs, files=files, store=tracking_of(recipe, stage), recipe=recipe.text
    )
    with _located(location):
        return kind_of(stage.kind).build(request)


def tracking_of(recipe: Recipe, stage: Stage) -> Tracking | None:
    """Where a stage logs: its runs say which recipe and stage they are of."""
    if recipe.tracking is None:
        return None
    return dataclasses.replace(recipe.tracking, origin=origin_tags(recipe.name, stage.name), recipe=recipe.text)


def workload_of(recipe: Recipe, stage: Stage, inputs: Mapping[str, Sequence[Content]]) -> Workload | None:
    """How much work a stage is expected to be; None where its kind cannot tell. inputs: what its keys name holds."""
    request = _request(stage, f"recipe {recipe.name}, stage '{stage.name}'")
    return kind_of(stage.kind).workload(dataclasses.replace(request, inputs=inputs))


def file_of(recipe: Recipe, uri: str) -> str:
    """The file that a recipe names; of a registered model its weights. UserError where MLflow has no such model."""
    if not registry.is_registered(uri):
        return uri
    from twfer_dist.recognition.recogniser import WEIGHTS

    return storage.join(registry.fetch(uri, recipe.out, recipe.tracking), WEIGHTS)


def _request(stage: Stage, location: str) -> Request:
    """The stage with its settings sorted into files, options and the configuration of its kind."""
    kind = kind_of(stage.kind)
    config = fill(kind.config, stage.settings.without(*kind.keys), location, other_keys=(*kind.keys, "compute"))
    strings = {key: package_path(str(value)) for key, value in stage.settings.items() if value is not None}
    files = {file.name: strings[file.name] for file in kind.files if file.name in strings}
    options = {option.name: strings[option.name] for option in kind.options if option.name in strings}
    return Request(config, stage.compute, stage.inputs, files, options)


@contextlib.contextmanager
def _located(location: str) -> Iterator[None]:
    """Name the location in a UserError that passes."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{location}: {error}") from None
