"""A recipe file (YAML) to a `Recipe`, with every key and value checked."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from twfer_dist.core.errors import UserError
from twfer_dist.engine import storage
from twfer_dist.engine.config import Lines, at, did_you_mean, fill, package_path, read_yaml
from twfer_dist.engine.journal import without_password
from twfer_dist.engine.kind import Compute, Input
from twfer_dist.engine.mlflow_store import sqlite_path, sqlite_uri
from twfer_dist.engine.tracking import Tracking
from twfer_dist.recipe.kinds import KINDS, check_stage, kind_of
from twfer_dist.recipe.recipe import Recipe, Stage

_STRINGS = ("name", "out", "tracking", "base")
_MAPPINGS = ("compute", "corpora", "stages")


def load_recipe(path: str, *, out: str | None = None) -> Recipe:
    """Read a recipe from a YAML file (path or URI; `package:` is the installed package). out: overrides the recipe's.

    UserError naming the file and the place of anything that a recipe cannot hold.
    """
    given, text = _read(path)
    if not isinstance(given, dict) or not given.get("stages"):
        raise UserError(f"{path} has no 'stages': list the stages of the recipe, as package:recipes/demo.yaml does.")
    given["name"] = given.get("name") or Path(path).stem
    return parse_recipe(given, path, text=text, out=out)


def _read(path: str, above: tuple[str, ...] = ()) -> tuple[Any, str]:
    """The recipe in a file, and its text; with a `base`, what the two give together.

    A recipe with a base says only what is different: stages and corpora of the same name are the base's with the
    settings that are written here, and a null takes one away. Stages that the base lacks follow its own.
    """
    given, text = read_yaml(path)
    base = given.get("base") if isinstance(given, dict) else None
    if base is None:
        return given, text
    if not isinstance(base, str) or base in above or base == path:
        raise UserError(
            f"{path}: 'base' is {json.dumps(base, default=str)}: name another recipe that this one changes."
        )
    whole = _changed(_read(base, (*above, path))[0], {key: value for key, value in given.items() if key != "base"})
    return whole, yaml.safe_dump(_plain(whole), sort_keys=False, allow_unicode=True, width=120)


def _plain(value: Any) -> Any:
    """A value of a YAML file in types that YAML can write: its mappings know their lines, which are another file's."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


def _changed(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    whole = {**base, **changes}
    for part in ("corpora", "stages"):
        named = dict(base.get(part) or {})
        for name, value in (changes.get(part) or {}).items():
            both = isinstance(value, dict) and isinstance(named.get(name), dict)
            named[name] = named[name] | value if both else value
        whole[part] = {name: value for name, value in named.items() if value is not None}
    return whole


def parse_recipe(given: Mapping[str, Any], location: str, *, text: str, out: str | None = None) -> Recipe:
    """A recipe from the mapping that its YAML holds, `name` and `stages` among its keys. location: named in errors.

    text: the YAML itself, which a report prints. UserError as in `load_recipe`.
    """
    _check_top_level(given, location)
    name = given["name"]
    out = storage.absolute(out or given.get("out") or f"runs/{name}")
    compute = _mapping(location, given, "compute")
    fill(Compute, compute, f"{location}, compute")
    corpora = {key: package_path(path) for key, path in (given.get("corpora") or {}).items()}
    stages: list[Stage] = []
    for key, settings in given["stages"].items():
        above = {stage.name: stage.kind for stage in stages}
        stages.append(_stage(f"{location}, stage '{key}'", str(key), settings, list(above), list(corpora), compute))
        check_stage(stages[-1], above, f"{location}, stage '{key}'")
    uri = given.get("tracking")
    if uri is None and "://" not in out and any(kind_of(stage.kind).tracked for stage in stages):
        uri = sqlite_uri(storage.join(out, "mlflow.db"))
    if uri and (database := sqlite_path(uri)):
        uri = sqlite_uri(str(database))  # absolute: workers have another working directory
    return Recipe(name, out, corpora, stages, Tracking(uri, name) if uri else None, without_password(text))


def _check_top_level(given: Mapping[str, Any], location: str) -> None:
    for key in _MAPPINGS:
        _mapping(location, given, key)
    for key, value in (given.get("corpora") or {}).items():
        if not isinstance(value, str):
            raise UserError(
                f"{at(f'{location}, corpora', given['corpora'], key)}: '{key}' is {json.dumps(value, default=str)}: "
                "give the path of its folder or manifest."
            )
    for key in _STRINGS:
        if given.get(key) is not None and not isinstance(given[key], str):
            value = json.dumps(given[key], default=str)
            raise UserError(
                f"{at(location, given, key)}: '{key}' is {value}: write a string, in quotes if it is a number."
            )
    known = (*_STRINGS, *_MAPPINGS)
    for key in sorted(str(key) for key in given):
        if key not in known:
            near = did_you_mean(key, known) or "."
            raise UserError(
                f"{at(location, given, key)}: '{key}' is not a key of a recipe, which has {', '.join(known)}{near}"
            )


def _mapping(location: str, given: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """What is under a key, or an empty mapping. UserError where it is something else."""
    value = given.get(key)
    if value is not None and not isinstance(value, dict):
        raise UserError(
            f"{at(location, given, key)}: '{key}' is {json.dumps(value, default=str)}: write `name: value` lines under "
            "it, as package:recipes/demo.yaml does."
        )
    return value or Lines()


def _stage(
    location: str, name: str, settings: Any, above: list[str], corpora: list[str], compute: Mapping[str, Any]
) -> Stage:
    if "/" in name or name in ("", ".", ".."):
        raise UserError(f"{location}: the name of a stage is also the name of a folder: choose another.")
    kind_name = str(settings.get("kind")) if isinstance(settings, dict) else ""
    if kind_name not in KINDS:
        near = did_you_mean(kind_name, KINDS) or "."
        raise UserError(f"{at(location, settings, 'kind')}: 'kind' must be one of {', '.join(KINDS)}{near}")
    kind = kind_of(kind_name)
    inputs = {
        key.name: _names(at(location, settings, key.name), key, settings[key.name], above if key.kinds else corpora)
        for key in kind.inputs
        if settings.get(key.name) is not None
    }
    settings = settings if isinstance(settings, Lines) else Lines(settings)
    own = _mapping(location, settings, "compute")
    fill(Compute, own, f"{location}, compute")  # with its lines, which the two together have not
    given = settings.without("kind", "compute", *(key.name for key in kind.inputs))
    return Stage(name, kind_name, inputs, given, fill(Compute, {**compute, **own}, f"{location}, compute"))


def _names(location: str, key: Input, value: Any, known: list[str]) -> list[str]:
    """The names under a key, each of a stage above, of a corpus, or the directory of an output."""
    names = [str(name) for name in value] if isinstance(value, list) else [str(value)]
    if len(names) > 1 and not key.several:
        raise UserError(f"{location}: '{key.name}' takes one name.")
    for name in names:
        if name not in known and not (key.kinds and "/" in name):
            otherwise = ", or the directory of an output" if key.kinds else ""
            near = did_you_mean(name, known) or "."
            raise UserError(
                f"{location}: '{key.name}' names '{name}', which is not defined above: there is "
                f"{', '.join(sorted(known)) or 'nothing'}{otherwise}{near}"
            )
    return names
