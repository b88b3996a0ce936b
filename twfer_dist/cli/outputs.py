"""Commands that look into output folders: status, inspect."""

from typing import Any

import click

from twfer_dist.cli.group import json_option, main
from twfer_dist.cli.terminal import print_facts, print_stage
from twfer_dist.engine import artifact, storage
from twfer_dist.engine.inspect import inspect, is_output
from twfer_dist.recipe.status import find_faces, has_stages, recipe_status


@main.command("status")
@click.argument("folder", metavar="DIR")
@json_option
def status_command(folder: str, as_json: bool) -> None:
    """List the stages in the output folder of a recipe, with rows, counts by status and seconds."""
    status = recipe_status(folder)
    if as_json:
        click.echo(storage.json_text(status, indent=2))
        return
    for stage in status["stages"]:
        print_stage(stage)
    outdated = f", {status['outdated']} of another version" if status["outdated"] else ""
    click.echo(f"\n{status['finished']} finished, {status['unfinished']} unfinished{outdated}, in {folder}")


@main.command("inspect")
@click.argument("folder", metavar="DIR")
@click.option("--html", metavar="FILE", help="Write a page of all faces on which to mark what is wrong.")
@click.option(
    "--first",
    type=click.IntRange(min=0),
    default=0,
    help="Number of the first face on the page, which shows a thousand.",
)
@json_option
@click.pass_context
def inspect_command(context: click.Context, folder: str, html: str | None, first: int, as_json: bool) -> None:
    """Count the rows of a stage by status, with examples of those without a result.

    Of the output folder of a recipe, list the stages, as `twfer status` does.
    """
    if html:
        _write_page(folder, html, first, as_json)
    elif not is_output(folder) and has_stages(folder):
        context.invoke(status_command, folder=folder, as_json=as_json)
    elif as_json:
        click.echo(storage.json_text(inspect(folder), indent=2))
    else:
        _print_tables(inspect(folder))


def _write_page(folder: str, html: str, first: int, as_json: bool) -> None:
    from twfer_dist.annotation.page import AFTER, page

    faces = artifact.open_artifact(find_faces(folder))
    storage.write_bytes(storage.absolute(html), page(faces, first).encode())
    print_facts({"page": html, "next": f"open it, mark what is wrong, and save. {AFTER}"}, as_json)


def _print_tables(output: dict[str, Any]) -> None:
    click.echo(f"{output['output']} ({output['state']})")
    for name, table in output["tables"].items():
        click.echo(f"\n{'rows' if name == '.' else name}: {table['rows']:,}")
        for status, count in table["counts"].items():
            click.echo(f"{count:>9,}  {status}")
            for example in table["examples"].get(status, []):
                click.echo(f"{'':>11}{example['id']}  {example['error']}")
