"""`twfer explain`: what a recipe may hold."""

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import click

from twfer_dist.cli.group import json_option, main
from twfer_dist.core.errors import UserError
from twfer_dist.engine import storage
from twfer_dist.recipe.explain import explain_kind, recipe_schema
from twfer_dist.recipe.kinds import KINDS

_WIDTH = 100


@main.command("explain")
@click.argument("kind", required=False)
@click.option("--json-schema", is_flag=True, help="Print the JSON Schema of recipes, for an editor, and nothing else.")
@json_option
def explain_command(kind: str | None, json_schema: bool, as_json: bool) -> None:
    """Explain a KIND of stage: its inputs, its settings, their defaults and what they accept. Without one, list all."""
    if json_schema:
        if kind:
            raise UserError("--json-schema describes all kinds at once: leave out the kind.")
        click.echo(storage.json_text(recipe_schema(), indent=2))
        return
    explained = [explain_kind(name) for name in ([kind] if kind else KINDS)]
    if as_json:
        click.echo(storage.json_text(explained[0] if kind else explained, indent=2))
    elif kind:
        click.echo("\n".join(_kind_lines(explained[0])))
    else:
        for one in explained:
            click.echo(f"  {one['kind']:<17} {one['makes']}")
        click.echo("\nNext: twfer explain KIND for its inputs and settings")


def _kind_lines(kind: Mapping[str, Any]) -> Iterator[str]:
    yield f"{kind['kind']}: {kind['makes']}"
    yield from ("", textwrap.fill(kind["about"].split("\n\n")[0], _WIDTH), *kind["about"].split("\n\n")[1:])
    if kind["inputs"] or kind["files"]:
        yield "\nInputs"
        for key in kind["inputs"]:
            yield from _key_lines(key, key["names"], key["optional"])
        for file in kind["files"]:
            yield from _key_lines(file, "a file", file["optional"])
        for option in kind["options"]:
            yield from _key_lines(option, "text", True)
    if kind["settings"]:
        yield "\nSettings"
        yield from _setting_lines(kind["settings"], "  ")
    yield f"\nIn a recipe: NAME: {{kind: {kind['kind']}, ...}}; twfer run RECIPE --plan checks it."


def _key_lines(key: Mapping[str, Any], takes: str, optional: bool) -> Iterator[str]:
    yield f"  {key['key']:<18} {takes}{' (optional)' if optional else ''}"
    if key["meaning"]:
        yield textwrap.fill(key["meaning"], _WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)


def _setting_lines(settings: list[Mapping[str, Any]], indent: str) -> Iterator[str]:
    for setting in settings:
        default = f"; default {setting['default']}" if setting["default"] else ""
        yield f"{indent}{setting['name']:<18} {setting['accepts']}{default}"
        if setting["meaning"]:
            yield textwrap.fill(
                setting["meaning"], _WIDTH, initial_indent=indent + " " * 4, subsequent_indent=indent + " " * 4
            )
        yield from _setting_lines(setting.get("settings", []), indent + "  ")
