"""A recipe file (YAML) -> `Recipe`, every word of it checked."""

import json
from pathlib import Path
from typing import Any

from twfer_dist.core.errors import UserError
from twfer_dist.engine import storage
from twfer_dist.engine.config import did_you_mean, fill, package_path, read_yaml
from twfer_dist.engine.journal import without_password
from twfer_dist.engine.mlflow_store import sqlite_path, sqlite_uri
from twfer_dist.engine.tracking import Tracking
from twfer_dist.recipe.kinds import INPUTS, TRACKED, check
from twfer_dist.recipe.recipe import Compute, Recipe, Stage


def load_recipe(path: str, *, out: str | None = None) -> Recipe:
    """Read a recipe. Problem naming the place of any word that it does not know."""
    given, text = read_yaml(path)
    if not isinstance(given, dict) or not given.get("stages"):
        raise UserError(f"{path} has no 'stages': a recipe names its stages, as jobs/demo.yaml does.")
    known = {"name", "out", "tracking", "compute", "corpora", "stages"}
    for key in ("compute", "corpora", "stages"):
        if given.get(key) is not None and not isinstance(given[key], dict):
            raise UserError(
                f"{path}: '{key}' is a {type(given[key]).__name__}: write names and what belongs to them, as "
                "jobs/demo.yaml does."
            )
    if empty := [key for key, value in (given.get("corpora") or {}).items() if not isinstance(value, str)]:
        raise UserError(
            f"{path}, corpora: '{empty[0]}' is {json.dumps(given['corpora'][empty[0]])}: give the path of its "
            "folder or manifest."
        )
    for key in ("name", "out", "tracking"):
        if given.get(key) is not None and not isinstance(given[key], str):
            raise UserError(
                f"{path}: '{key}' is {json.dumps(given[key], default=str)}: write a word, in quotes where it is a "
                "number."
            )
    if foreign := sorted(str(key) for key in given.keys() - known):
        near = did_you_mean(foreign[0], known)
        raise UserError(
            f"{path}: '{foreign[0]}' is not a part of a recipe, which has "
            f"{', '.join(sorted(known))}{near}{'' if near else '.'}"
        )
    name = given.get("name") or Path(path).stem
    out = storage.absolute(out or given.get("out") or f"runs/{name}")
    compute = fill(Compute, given.get("compute") or {}, f"{path}, compute")
    stages: list[Stage] = []
    corpora = {key: package_path(str(value)) for key, value in (given.get("corpora") or {}).items()}
    for key, settings in given["stages"].items():
        stages.append(_stage(path, str(key), settings, {s.name for s in stages}, set(corpora)))
        check(stages[-1], compute, {s.name: s.kind for s in stages}, f"{path}, stage '{key}'")
    learns = any(stage.kind in TRACKED for stage in stages)
    uri = given.get("tracking") or (sqlite_uri(storage.join(out, "mlflow.db")) if learns and "://" not in out else None)
    if uri and (database := sqlite_path(uri)):
        uri = sqlite_uri(str(database))  # workers have another working directory
    tracking = Tracking(uri, name) if uri else None
    return Recipe(name, out, corpora, stages, tracking, compute, without_password(text))


def _stage(path: str, name: str, settings: Any, above: set[str], corpora: set[str]) -> Stage:
    place = f"{path}, stage '{name}'"
    if "/" in name or name in ("", ".", ".."):
        raise UserError(f"{place}: a stage's name is the name of a folder too: choose another word.")
    if not isinstance(settings, dict) or str(settings.get("kind")) not in INPUTS:
        near = did_you_mean(str(settings.get("kind")), INPUTS) if isinstance(settings, dict) else ""
        raise UserError(f"{place}: 'kind' is one of {', '.join(INPUTS)}{near or '.'}")
    settings = dict(settings)
    kind = settings.pop("kind")
    inputs: dict[str, list[str]] = {}
    for key, takes in INPUTS[kind].items():
        named = settings.pop(key, None)
        if named is None:
            continue
        inputs[key] = [str(n) for n in named] if isinstance(named, list) else [str(named)]
        if len(inputs[key]) > 1 and not takes.several:
            raise UserError(f"{place}: '{key}' takes one name.")
        for one in inputs[key]:
            if one not in (corpora if key == "corpora" else above) and (key == "corpora" or "/" not in one):
                known = sorted(corpora if key == "corpora" else above)
                rest = "" if key == "corpora" else ", or the directory of a finished output"
                near = did_you_mean(one, known) or "."
                raise UserError(
                    f"{place}: '{one}' is not known there: '{key}' names {', '.join(known) or 'none'}{rest}{near}"
                )
    return Stage(name, kind, inputs, settings)
