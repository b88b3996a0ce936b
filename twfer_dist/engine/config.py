"""YAML to frozen dataclasses, with a clear word for whatever does not fit."""

import dataclasses
import difflib
import json
import math
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import yaml

from twfer_dist.core.errors import UserError
from twfer_dist.engine import storage

REPLACED = {"bfloat16": "'bfloat16' is now 'precision': write precision: auto, float32 or bfloat16"}
"""Keys of earlier recipes, and what became of them."""


class _Loader(yaml.SafeLoader):
    """YAML in which no name stands twice: the first would be lost without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.YAMLError(f"line {key.start_mark.line + 1}: a name is a word, not a list or other names")
            if key.value in seen:
                raise yaml.YAMLError(f"line {key.start_mark.line + 1}: '{key.value}' is there twice")
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def whole_number(self, node: yaml.ScalarNode) -> int | str:
        """YAML 1.1 reads 7:1:2 as a time of day, in seconds: here it stays what was written."""
        return node.value if ":" in node.value else self.construct_yaml_int(node)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.whole_number)


def read_yaml(path: str) -> tuple[Any, str]:
    """What a YAML file (path, URI or `package:` path) holds, and its text."""
    try:
        text = storage.read_bytes(package_path(path)).decode()
        return yaml.load(text, _Loader), text
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(
            f"{path} does not exist or is a folder: name a recipe, such as package:recipes/demo.yaml."
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not YAML ({' '.join(str(error).split())}): correct it there.") from None


def package_path(path: str) -> str:
    """A path as written in a recipe; `package:` is the installed package."""
    if path.startswith("package:"):
        return str(resources.files("twfer_dist").joinpath(path.removeprefix("package:")))
    return path


@dataclass(frozen=True)
class Range:
    """The numbers that a setting may have: `batch: Annotated[int, Range(1, 4096)] = 32`. above: `low` itself is too
    low.
    """

    low: float
    high: float
    above: bool = False
    multiple_of: int | None = None

    def __contains__(self, value: float) -> bool:
        inside = self.low < value <= self.high or (value == self.low and not self.above)
        return inside and not (self.multiple_of and value % self.multiple_of)

    def __str__(self) -> str:
        low, high = (
            f"{int(end):,}" if end == int(end) and abs(end) >= 10_000 else f"{end:g}" for end in (self.low, self.high)
        )
        if self.above:
            return f"more than {low}, up to {high}"
        return f"a multiple of {self.multiple_of} from {low} to {high}" if self.multiple_of else f"{low} to {high}"


class Settings:
    """What the frozen dataclasses of settings have in common: values are checked where they are made, from a recipe or
    in code.
    """

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self), include_extras=True)
        for name in _names(type(self)):
            _read(hints[name], getattr(self, name), name)
        self.agree()

    def agree(self) -> None:
        """ValueError where values do not go together, in a sentence without its full stop."""


def fill(kind: type, settings: Mapping[str, Any], place: str, beside: Sequence[str] = ()) -> Any:
    """The frozen dataclass `kind` filled from YAML; Problem for a key that it does not have or a value that it does not
    take.

    beside: what else may stand there.
    """
    try:
        return _filled(kind, settings, beside)
    except ValueError as error:
        raise UserError(f"{place}: {error}.") from None


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """`; did you mean 'batch'?` where a word is near; empty where none is."""
    near = difflib.get_close_matches(word, list(words), 1)
    return f"; did you mean '{near[0]}'?" if near else ""


def either(words: Sequence[str]) -> str:
    """`a`, `a or b`, `a, b or c`."""
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def shown(value: Any) -> str:
    """A value as a recipe would have it."""
    return "empty" if value is None else json.dumps(value, ensure_ascii=False, default=str)


def _names(kind: type) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)]


def _filled(kind: type, settings: Mapping[str, Any], beside: Sequence[str] = ()) -> Any:
    hints, names = typing.get_type_hints(kind, include_extras=True), [*beside, *_names(kind)]
    values: dict[str, Any] = {}
    for key, value in settings.items():
        if key in REPLACED and "precision" in names:
            raise ValueError(REPLACED[key])
        if key not in hints:
            near = did_you_mean(str(key), names)
            raise ValueError(
                f"'{key}' is not a setting there{near or ':'} {'T' if near else 't'}here are "
                f"{', '.join(names) or 'none'}"
            )
        values[key] = _read(hints[key], value, key)
    return kind(**values)


def _read(hint: Any, value: Any, name: str) -> Any:
    """A value as the hint wants it. ValueError naming the setting, its value and what it may be."""
    arguments = typing.get_args(hint)
    match typing.get_origin(hint):
        case typing.Union | types.UnionType:
            return None if value is None else _read(next(a for a in arguments if a is not type(None)), value, name)
        case typing.Annotated:
            number = _number(arguments[0], value)
            if number is None or number not in arguments[1]:
                whole = (
                    "a whole number, "
                    if arguments[0] is int and number is None
                    else "a number, "
                    if number is None
                    else ""
                )
                raise ValueError(f"{name} is {shown(value)}; use {whole}{arguments[1]}")
            return number
        case typing.Literal:
            if value not in arguments:
                near = did_you_mean(str(value), arguments)
                raise ValueError(f"{name} is {shown(value)}{f'{near} U' if near else '; u'}se {either(arguments)}")
            return value
        case origin if origin is tuple:
            if not isinstance(value, list | tuple):
                raise ValueError(f"{name} is {shown(value)}; use a list, such as [{value}]")
            return tuple(_read(arguments[0], one, f"{name}: one of {shown(list(value))}") for one in value)
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        try:
            return _filled(typing.cast(type, hint), value)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    if not isinstance(value, hint):
        raise ValueError(
            f"{name} is {shown(value)}; use {_NOUNS.get(hint, 'names and what belongs to them, as {name: value}')}"
        )
    return package_path(value) if isinstance(value, str) else value


_NOUNS = {bool: "true or false", str: "a word, in quotes where it is a number"}


def _number(kind: type, value: Any) -> float | None:
    """A number of the kind, int or float; None where it is none. YAML 1.1 reads 3e-4 as text, and a quoted number is
    one too.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        value = float(value) if isinstance(value, str) or kind is float else value
        if not math.isfinite(value):
            return None
    except (ValueError, OverflowError):  # no number, or one of hundreds of digits
        return None
    if kind is float:
        return value
    return int(value) if value == int(value) else None
