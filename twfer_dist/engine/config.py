"""YAML to frozen dataclasses; a value that does not fit is refused with the values that would."""

import dataclasses
import difflib
import json
import math
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import yaml

from twfer_dist.core.errors import UserError
from twfer_dist.engine import storage

REPLACED = {"bfloat16": "'bfloat16' is now 'precision': write precision: auto, float32 or bfloat16"}
"""Settings of earlier versions, and what to write now."""


class Lines(dict[str, Any]):
    """A mapping of a YAML file that knows the line of each of its keys, counted from 1."""

    lines: Mapping[str, int] = {}

    def without(self, *keys: str) -> "Lines":
        """The mapping without some of its keys."""
        rest = Lines({key: value for key, value in self.items() if key not in keys})
        rest.lines = self.lines
        return rest


class _Loader(yaml.SafeLoader):
    """YAML without duplicate keys, of which PyYAML would silently drop the first. Its mappings are `Lines`."""

    def lined(self, node: yaml.MappingNode) -> Iterator[Lines]:
        mapping = Lines()
        yield mapping
        mapping.update(self.construct_mapping(node))
        mapping.lines = {str(key.value): key.start_mark.line + 1 for key, _ in node.value}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen: set[str] = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.YAMLError(f"line {key.start_mark.line + 1}: a name is a word, not a list or a mapping")
            if key.value in seen:
                raise yaml.YAMLError(f"line {key.start_mark.line + 1}: '{key.value}' appears twice")
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """YAMLError where PyYAML raises whatever a value of the wrong form leads to: 2024-13-45 looks like a date."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError):
            raise yaml.YAMLError(
                f"line {node.start_mark.line + 1}: '{node.value}' is not a valid {node.tag.rpartition(':')[2]}; put "
                "text in quotes"
            ) from None

    def whole_number(self, node: yaml.ScalarNode) -> int | str:
        """YAML 1.1 reads 7:1:2 as a time of day in seconds; here it stays text."""
        return node.value if ":" in node.value else self.construct_yaml_int(node)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.whole_number)
_Loader.add_constructor("tag:yaml.org,2002:map", _Loader.lined)


def read_yaml(path: str) -> tuple[Any, str]:
    """The contents of a YAML file (a path, URI or `package:` path), parsed and as text."""
    documents, text = read_documents(path)
    if len(documents) > 1:
        raise UserError(f"{path} holds {len(documents)} YAML documents: leave one.")
    return (documents[0] if documents else None), text


def read_documents(path: str) -> tuple[list[Any], str]:
    """All documents of a YAML file (a path, URI or `package:` path), parsed, and the file as text."""
    try:
        text = storage.read_bytes(package_path(path)).decode()
        return list(yaml.load_all(text, _Loader)), text
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(
            f"{path} does not exist or is a folder: name a recipe, such as package:recipes/demo.yaml."
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not YAML ({' '.join(str(error).split())}): correct it there.") from None


def package_path(path: str) -> str:
    """The path that a recipe names; `package:` stands for the installed package."""
    if path.startswith("package:"):
        return str(resources.files("twfer_dist").joinpath(path.removeprefix("package:")))
    return path


@dataclass(frozen=True)
class Range:
    """The numbers that a setting accepts: `batch: Annotated[int, Range(1, 4096)] = 32`. above: `low` is excluded."""

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
    """Base of the frozen dataclasses of settings: values are checked on construction, from a recipe or in code."""

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self), include_extras=True)
        for name in _names(type(self)):
            _read(hints[name], getattr(self, name), name)
        self.agree()

    def agree(self) -> None:
        """ValueError for values that contradict each other, as a sentence without its full stop."""


def fill(kind: type, settings: Mapping[str, Any], location: str, other_keys: Sequence[str] = ()) -> Any:
    """The frozen dataclass `kind` filled from YAML. UserError, which starts with `location`, for an unknown key or a
    value out of range.

    other_keys: keys of the same mapping that are read elsewhere, for the message.
    """
    try:
        return _filled(kind, settings, other_keys)
    except ValueError as error:
        line = error.line if isinstance(error, _Misfit) else None
        raise UserError(f"{location}{_line(line)}: {error}.") from None


def at(location: str, settings: Mapping[str, Any], key: str) -> str:
    """The location of a key: with its line where the settings come from a file."""
    return location + _line(_line_of(settings, key))


def _line_of(settings: Mapping[str, Any], key: str) -> int | None:
    return settings.lines.get(key) if isinstance(settings, Lines) else None


def _line(number: int | None) -> str:
    return f", line {number}" if number else ""


class _Misfit(ValueError):
    """A setting that does not fit, and its line in the file that it comes from."""

    def __init__(self, message: str, line: int | None) -> None:
        super().__init__(message)
        self.line = line


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """`; did you mean 'batch'?` where one of the words is similar, else empty."""
    near = difflib.get_close_matches(word, list(words), 1)
    return f"; did you mean '{near[0]}'?" if near else ""


def either(words: Sequence[str]) -> str:
    """`a`, `a or b`, `a, b or c`."""
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def shown(value: Any) -> str:
    """A value as it is written in a recipe."""
    return "empty" if value is None else json.dumps(value, ensure_ascii=False, default=str)


def _names(kind: type) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)]


def _filled(kind: type, settings: Mapping[str, Any], other_keys: Sequence[str] = ()) -> Any:
    hints, names = typing.get_type_hints(kind, include_extras=True), [*other_keys, *_names(kind)]
    values: dict[str, Any] = {}
    for key, value in settings.items():
        line = _line_of(settings, key)
        if key in REPLACED and "precision" in names:
            raise _Misfit(REPLACED[key], line)
        if key not in hints:
            near = did_you_mean(str(key), names)
            raise _Misfit(
                f"'{key}' is not a setting here{near or ';'} {'U' if near else 'u'}se {', '.join(names) or 'none'}",
                line,
            )
        try:
            values[key] = _read(hints[key], value, key)
        except ValueError as error:
            inner = error.line if isinstance(error, _Misfit) else None
            raise _Misfit(str(error), inner or line) from None
    return kind(**values)


def _read(hint: Any, value: Any, name: str) -> Any:
    """The value converted to the type of `hint`. ValueError naming the setting, its value and what it accepts."""
    arguments = typing.get_args(hint)
    match typing.get_origin(hint):
        case typing.Union | types.UnionType:
            return None if value is None else _read(next(a for a in arguments if a is not type(None)), value, name)
        case typing.Annotated:
            number = _number(arguments[0], value)
            if number is None or number not in arguments[1]:
                noun = "a whole number, " if arguments[0] is int else "a number, "
                raise ValueError(f"{name} is {shown(value)}; use {noun if number is None else ''}{arguments[1]}")
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
            raise _Misfit(f"{name}: {error}", error.line if isinstance(error, _Misfit) else None) from None
    if not isinstance(value, hint):
        raise ValueError(
            f"{name} is {shown(value)}; use {_NOUNS.get(hint, 'names and what belongs to them, as {name: value}')}"
        )
    return package_path(value) if isinstance(value, str) else value


_NOUNS = {bool: "true or false", str: "a word, in quotes where it is a number"}


def _number(kind: type, value: Any) -> float | None:
    """The value as an int or float; None where it is neither. Text is converted too: YAML 1.1 reads 3e-4 as text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        value = float(value) if isinstance(value, str) or kind is float else value
        if not math.isfinite(value):
            return None
    except (ValueError, OverflowError):  # not a number, or one of hundreds of digits
        return None
    if kind is float:
        return value
    return int(value) if value == int(value) else None
