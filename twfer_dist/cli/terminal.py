"""What a person reads in the terminal of the stages of a recipe."""

import shlex
from typing import Any

import click

from twfer_dist.engine import storage
from twfer_dist.recipe.recipe import Outcome, Recipe

_PICTURES = 3  # of a stage that are named


def print_stage(stage: dict[str, Any]) -> None:
    """A stage (`Outcome.summary`) in one line."""
    rows = ", ".join(
        f"{count:,} {'rows' if name == '.' else name}{_dead(stage, name)}" for name, count in stage["rows"].items()
    )
    rows += f", of {stage['planned']:,} planned" if stage.get("planned") else ""
    seconds = f" in {stage['seconds']:.0f} s" if stage["state"] == "made" else ""
    place = storage.name_of(stage["output"] or "")
    kept = f", {stage['reused']['rows']:,} of them kept of {stage['reused']['from']}" if stage["reused"] else ""
    click.echo(f"  {stage['state']:<9} {stage['name']:<18} {place}{seconds}  {rows}{kept}")


def _dead(stage: dict[str, Any], table: str) -> str:
    """How many rows of a table have no result, and why, in brackets."""
    odd = [f"{count:,} {status}" for status, count in stage["counts"].get(table, {}).items() if status != "ok"]
    return f" ({', '.join(odd)})" if odd else ""


def print_results(outcome: Outcome) -> None:
    """What a person would ask of a stage at once; everything else is in the report."""
    assert outcome.finished
    for line in outcome.finished.results.get("summary", []):
        click.echo(f"            {line}")
    pictures = [file.path for file in outcome.finished.manifest.files if file.path.endswith((".jpg", ".png"))]
    for picture in sorted(pictures, key=lambda path: (path != "sheet.jpg", path))[:_PICTURES]:
        click.echo(f"            look at {outcome.finished.path(picture)}")
    if len(pictures) > _PICTURES:
        click.echo(f"            and {len(pictures) - _PICTURES} more in {outcome.finished.uri}")


def print_end(loaded: Recipe, reports: list[str], interface: str | None, seconds: float) -> None:
    """Where everything is, and what to do next."""
    click.echo(f"\nDone in {seconds:.0f} s. Everything is in {loaded.out}")
    if interface:
        click.echo(f"Runs:   {interface}")
    if reports:
        click.echo(f"Report: {reports[-1]}")
    else:
        click.echo(f"Next:   twfer status {shlex.quote(loaded.out)}")
