"""YAML to frozen dataclasses, with a clear word for whatever does not fit."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from importlib import resources
from typing import Any

import yaml

from twfer_dist import storage
from twfer_dist.errors import Problem


class _Loader(yaml.SafeLoader):
    """YAML in which no name stands twice: the first would be lost without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.YAMLError(f"line {key.start_mark.line + 1}: '{key.value}' is there twice")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: str) -> tuple[Any, str]:
    """What a YAML file holds, and its text."""
    try:
        text = storage.read_bytes(path).decode()
        return yaml.load(text, _Loader), text
    except (FileNotFoundError, IsADirectoryError):
        raise Problem(f"{path} is not there, or is a folder: name a recipe, such as jobs/demo.yaml.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Problem(f"{path} is not YAML ({' '.join(str(error).split())}): mend it there.") from None


def package_path(path: str) -> str:
    """A path as written in a recipe; `package:` is the installed package."""
    if path.startswith("package:"):
        return str(resources.files("twfer_dist").joinpath(path.removeprefix("package:")))
    return path


def fill(kind: type, settings: Mapping[str, Any], place: str) -> Any:
    """The frozen dataclass `kind` filled from YAML; Problem for a key that it does not have or a value of another type."""
    hints = typing.get_type_hints(kind)
    names = [f.name for f in dataclasses.fields(kind)]
    values: dict[str, Any] = {}
    for key, value in settings.items():
        if key not in names:
            raise Problem(f"{place}: '{key}' is not a setting there; there are {', '.join(names) or 'none'}.")
        values[key] = _value(hints[key], value, f"{place}: '{key}'")
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise Problem(f"{place}: {error}.") from None


def _value(hint: Any, value: Any, place: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _value(next(a for a in arguments if a is not type(None)), value, place)
    if origin is tuple and isinstance(value, list):
        return tuple(_value(arguments[0], one, place) for one in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return fill(typing.cast(type, hint), value, place)
    wanted = origin or hint
    if wanted is typing.Literal:
        if value not in arguments:
            raise Problem(f"{place} is {value!r} and must be one of {', '.join(map(str, arguments))}.")
    elif isinstance(wanted, type) and (not isinstance(value, wanted) or isinstance(value, bool) != (wanted is bool)):
        raise Problem(f"{place} is {value!r} and must be of type {wanted.__name__}.")
    return package_path(value) if isinstance(value, str) else value
