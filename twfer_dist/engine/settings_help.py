"""What settings mean, for people and for editors: read from the frozen dataclasses that hold them."""

import ast
import dataclasses
import inspect
import io
import textwrap
import tokenize
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from twfer_dist.engine.config import Range, Settings, either, shown


@dataclass(frozen=True)
class SettingHelp:
    """One setting. accepts, default: as they are written in a recipe. meaning: from its comment, may be empty."""

    name: str
    accepts: str
    default: str  # empty where a value must be given
    meaning: str
    schema: Mapping[str, Any]  # JSON Schema of its values
    inner: tuple["SettingHelp", ...] = ()  # of a setting that holds settings


def explain_settings(kind: type) -> list[SettingHelp]:
    """The settings that the dataclass `kind` holds, in its order."""
    hints = typing.get_type_hints(kind, include_extras=True)
    comments = _comments(kind)
    return [_setting(field, hints[field.name], comments.get(field.name, "")) for field in dataclasses.fields(kind)]


def schema_of(settings: list[SettingHelp] | tuple[SettingHelp, ...]) -> dict[str, Any]:
    """JSON Schema of a mapping of these settings, and of no others."""
    return {
        "type": "object",
        "properties": {setting.name: dict(setting.schema) for setting in settings},
        "additionalProperties": False,
    }


def _setting(field: dataclasses.Field, hint: Any, meaning: str) -> SettingHelp:
    default = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
    held = next(
        (one for one in (hint, *typing.get_args(hint)) if isinstance(one, type) and issubclass(one, Settings)), None
    )
    inner = tuple(explain_settings(held)) if held else ()
    schema = _schema(hint, inner)
    words = ""
    if default is not dataclasses.MISSING:
        plain = dataclasses.asdict(default) if dataclasses.is_dataclass(default) else default  # type: ignore[arg-type]
        schema["default"] = plain
        words = "as below" if held and default is not None else "null" if default is None else shown(plain)
    if meaning:
        schema["description"] = meaning
    return SettingHelp(field.name, _accepts(hint), words, meaning, schema, inner)


def _accepts(hint: Any) -> str:
    arguments = typing.get_args(hint)
    match typing.get_origin(hint):
        case typing.Union | types.UnionType:
            return f"{_accepts(next(a for a in arguments if a is not type(None)))}, or null"
        case typing.Annotated:
            return f"{'a whole number' if arguments[0] is int else 'a number'}, {arguments[1]}"
        case typing.Literal:
            return either([str(one) for one in arguments])
        case origin if origin is tuple:
            return f"a list; each: {_accepts(arguments[0])}"
    if issubclass(hint, Settings):
        return "settings of its own"
    return {bool: "true or false", str: "text"}[hint]


def _schema(hint: Any, inner: tuple[SettingHelp, ...]) -> dict[str, Any]:
    arguments = typing.get_args(hint)
    match typing.get_origin(hint):
        case typing.Union | types.UnionType:
            return {"anyOf": [_schema(next(a for a in arguments if a is not type(None)), inner), {"type": "null"}]}
        case typing.Annotated:
            return _number_schema(arguments[0], arguments[1])
        case typing.Literal:
            return {"enum": list(arguments)}
        case origin if origin is tuple:
            return {"type": "array", "items": _schema(arguments[0], inner)}
    return schema_of(inner) if inner else {"type": {bool: "boolean", str: "string"}[hint]}


def _number_schema(kind: type, limits: Range) -> dict[str, Any]:
    low = "exclusiveMinimum" if limits.above else "minimum"
    schema = {"type": "integer" if kind is int else "number", low: limits.low, "maximum": limits.high}
    return schema | ({"multipleOf": limits.multiple_of} if limits.multiple_of else {})


def _comments(kind: type) -> dict[str, str]:
    """The comment of each field, inherited ones too: on its own lines above it, or at the end of its line."""
    inherited = [_comments(base) for base in kind.__bases__ if dataclasses.is_dataclass(base)]
    source = textwrap.dedent(inspect.getsource(kind))
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    body = typing.cast(ast.ClassDef, ast.parse(source).body[0]).body
    found: dict[str, str] = {name: comment for known in inherited for name, comment in known.items()}
    end = 0
    for node in body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            lines = range(end + 1, typing.cast(int, node.end_lineno) + 1)
            found[node.target.id] = " ".join(comments[line] for line in lines if line in comments)
        end = typing.cast(int, node.end_lineno)
    return found
