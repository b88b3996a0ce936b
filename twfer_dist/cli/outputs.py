"""Commands that look at what lies in an output folder: status, inspect."""

import click

from twfer_dist.cli.group import _print_facts, json_option, main
from twfer_dist.cli.terminal import print_stage
from twfer_dist.engine import artifact, storage
from twfer_dist.recipe.status import find_faces, has_stages, recipe_status


@main.command("status")
@click.argument("folder", metavar="DIR")
@json_option
def status_command(folder: str, as_json: bool) -> None:
    """What lies in the output folder of a recipe: stages, rows, counts by status, seconds."""
    _print_status(folder, as_json)


def _print_status(folder: str, as_json: bool) -> None:
    summary = recipe_status(folder)
    if as_json:
        click.echo(storage.json_text(summary, indent=2))
        return
    for stage in summary["stages"]:
        print_stage(stage)
    click.echo(f"\n{summary['finished']} finished, {summary['unfinished']} unfinished, in {folder}")


@main.command("inspect")
@click.argument("folder", metavar="DIR")
@click.option("--html", metavar="FILE", help="Write a page of all faces, to mark on it what is wrong.")
@click.option(
    "--first",
    type=click.IntRange(min=0),
    default=0,
    help="The number of the first face of the page, which shows a thousand.",
)
@json_option
def inspect_command(folder: str, html: str | None, first: int, as_json: bool) -> None:
    """What came of every row of a stage: counts by status, with examples of what has no result. Of the folder of a
    recipe: its stages.
    """
    from twfer_dist.engine.inspect import inspect, is_output

    if html:
        from twfer_dist.annotation.page import AFTER, page

        storage.write_bytes(storage.absolute(html), page(artifact.open_artifact(find_faces(folder)), first).encode())
        _print_facts({"page": html, "next": f"mark on it what is wrong, and save it. {AFTER}"}, as_json)
        return
    if not is_output(folder) and has_stages(folder):
        _print_status(folder, as_json)
        return
    found = inspect(folder)
    if as_json:
        click.echo(storage.json_text(found, indent=2))
        return
    click.echo(f"{found['output']} ({found['state']})")
    for name, table in found["tables"].items():
        click.echo(f"\n{'rows' if name == '.' else name}: {table['rows']:,}")
        for status, count in table["counts"].items():
            click.echo(f"{count:>9,}  {status}")
            for example in table["examples"].get(status, []):
                click.echo(f"{'':>11}{example['id']}  {example['error']}")
