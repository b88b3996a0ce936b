"""What a recipe may hold: the kinds of stages with their keys and settings, in words and as JSON Schema."""

import inspect
from collections.abc import Mapping
from typing import Any

from twfer_dist.core.errors import UserError
from twfer_dist.engine.config import did_you_mean, either
from twfer_dist.engine.kind import Compute, Input, StageKind
from twfer_dist.engine.settings_help import SettingHelp, explain_settings, schema_of
from twfer_dist.recipe.kinds import KINDS, kind_of

_TEXT = {"type": "string"}


def explain_kind(name: str) -> dict[str, Any]:
    """A kind of stage as JSON: kind, makes, about, inputs, files, options, settings. UserError for an unknown name."""
    if name not in KINDS:
        near = did_you_mean(name, KINDS) or f": there is {', '.join(KINDS)}."
        raise UserError(f"There is no kind of stage '{name}'{near}")
    kind = kind_of(name)
    return {
        "kind": name,
        "makes": kind.makes,
        "about": inspect.cleandoc(kind.config.__doc__ or ""),
        "inputs": [
            {"key": key.name, "names": input_words(key), "optional": key.optional, "meaning": key.meaning}
            for key in kind.inputs
        ],
        "files": [
            {"key": file.name, "optional": not file.remedy, "meaning": file.meaning, "remedy": file.remedy}
            for file in kind.files
        ],
        "options": [{"key": option.name, "meaning": option.meaning} for option in kind.options],
        "settings": [_as_json(setting) for setting in explain_settings(kind.config)],
    }


def input_words(key: Input) -> str:
    """What a key names."""
    if not key.kinds:
        return "corpora of the recipe" if key.several else "a corpus of the recipe"
    return f"{'stages' if key.several else 'a stage'} of kind {either(key.kinds)}"


def _as_json(setting: SettingHelp) -> dict[str, Any]:
    words = {name: getattr(setting, name) for name in ("name", "accepts", "default", "meaning")}
    return words | ({"settings": [_as_json(one) for one in setting.inner]} if setting.inner else {})


def recipe_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a recipe file, with which an editor completes and checks it."""
    kinds = {name: _stage_schema(kind_of(name)) for name in KINDS}
    stage = {
        "type": "object",
        "required": ["kind"],
        "properties": {"kind": {"enum": list(KINDS)}},
        "allOf": [
            {"if": {"properties": {"kind": {"const": name}}, "required": ["kind"]}, "then": schema}
            for name, schema in kinds.items()
        ],
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A recipe of twfer_dist",
        "type": "object",
        "required": ["stages"],
        "additionalProperties": False,
        "properties": {
            "name": {**_TEXT, "description": "default: the name of the file"},
            "out": {**_TEXT, "description": "folder or URI of the outputs; default: runs/NAME"},
            "tracking": {**_TEXT, "description": "an MLflow server; default: SQLite next to the outputs"},
            "base": {**_TEXT, "description": "a recipe that this one changes"},
            "compute": schema_of(explain_settings(Compute)),
            "corpora": {"type": "object"},
            "stages": {"type": "object"},
        },
        **_corpora_and_stages(stage),
    }


def _corpora_and_stages(stage: Mapping[str, Any]) -> dict[str, Any]:
    """Their JSON Schema: whole, or what a recipe changes of its base, some settings or null."""
    changes = {"type": "object", "additionalProperties": {"type": ["object", "null"]}}
    paths = {"type": "object", "additionalProperties": {"type": ["string", "null"]}}
    whole = {"type": "object", "minProperties": 1, "additionalProperties": stage}
    return {
        "if": {"required": ["base"]},
        "then": {"properties": {"corpora": paths, "stages": changes}},
        "else": {"properties": {"corpora": {"type": "object", "additionalProperties": _TEXT}, "stages": whole}},
    }


def _stage_schema(kind: StageKind) -> dict[str, Any]:
    """JSON Schema of a stage of one kind."""
    schema = schema_of(explain_settings(kind.config))
    keys = {key.name: _names_schema(key) for key in kind.inputs}
    words = [(file.name, file.meaning) for file in kind.files] + [(one.name, one.meaning) for one in kind.options]
    keys |= {name: {**_TEXT, "description": meaning} for name, meaning in words}
    required = [key.name for key in kind.inputs if not key.optional] + [f.name for f in kind.files if f.remedy]
    common = {"kind": {"const": kind.name}, "compute": schema_of(explain_settings(Compute))}
    return schema | {
        "description": kind.makes,
        "properties": common | keys | schema["properties"],
        "required": required,
    }


def _names_schema(key: Input) -> dict[str, Any]:
    """JSON Schema of one name or a list of names."""
    several = {"type": "array", "items": _TEXT, "minItems": 1} | ({} if key.several else {"maxItems": 1})
    return {"anyOf": [_TEXT, several], "description": "; ".join(filter(None, (input_words(key), key.meaning)))}
