"""What a person reads in the terminal."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import click

from twfer_dist.core.status import OK
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.recipe.recipe import Outcome, Recipe
from twfer_dist.recognition.sweep_pictures import SCORE

_PICTURES = 3  # of a stage that are named


def print_plan(recipe: Recipe, planned: Sequence[Outcome]) -> None:
    """What is finished and what is to do, before any of it is done."""
    to_do = sum(outcome.state == "to do" for outcome in planned)
    click.echo(f"{recipe.name}: {len(planned)} stages, {len(planned) - to_do} finished, {to_do} to do, in {recipe.out}")
    for outcome in planned:
        click.echo(f"  {outcome.state:<9} {outcome.stage.name} ({outcome.stage.kind})")


def print_stage(stage: Mapping[str, Any]) -> None:
    """A stage (`Outcome.summary`) in one line."""
    rows = ", ".join(
        f"{count:,} {'rows' if name == '.' else name}{_failures(stage, name)}" for name, count in stage["rows"].items()
    )
    rows += f", of {stage['planned']:,} planned" if stage.get("planned") else ""
    seconds = f" in {stage['seconds']:.0f} s" if stage["state"] == "made" else ""
    reused = f", {stage['reused']['rows']:,} of them reused from {stage['reused']['from']}" if stage["reused"] else ""
    directory = storage.name_of(stage["output"] or "")
    click.echo(f"  {stage['state']:<9} {stage['name']:<18} {directory}{seconds}  {rows}{reused}")


def _failures(stage: Mapping[str, Any], table: str) -> str:
    """How many rows of a table have no result, and why, in brackets."""
    counts = [f"{count:,} {status}" for status, count in stage["counts"].get(table, {}).items() if status != OK]
    return f" ({', '.join(counts)})" if counts else ""


def print_results(outcome: Outcome) -> None:
    """The summary of a stage and its pictures; everything else is in the report."""
    assert outcome.artifact
    for line in outcome.artifact.results.get("summary", []):
        click.echo(f"            {line}")
    pictures = [file.path for file in outcome.artifact.manifest.files if file.path.endswith((".jpg", ".png"))]
    for picture in sorted(pictures, key=lambda path: (path != "sheet.jpg", path))[:_PICTURES]:
        click.echo(f"            see {outcome.artifact.path(picture)}")
    if len(pictures) > _PICTURES:
        click.echo(f"            and {len(pictures) - _PICTURES} more in {outcome.artifact.uri}")


def print_trials(sweep: Artifact) -> None:
    """The trials of a sweep in a table, the best first."""
    results, epochs = sweep.results, sweep.manifest.config["train"]["epochs"]
    rows = [["trial", *results["swept"], "epochs", "balanced accuracy", "state"]]
    trials = sorted(
        enumerate(results["trials"]), key=lambda one: (one[0] != results["best"], -one[1].get(SCORE, -1), one[0])
    )
    for number, trial in trials:
        settings = [f"{trial[name]:g}" for name in results["swept"]]
        if SCORE in trial:
            state = "all epochs" if trial["epochs"] >= epochs else f"stopped after {trial['epochs']} of {epochs} epochs"
            rows.append([str(number), *settings, str(trial["epochs"]), f"{100 * trial[SCORE]:.1f} %", state])
        else:
            rows.append([str(number), *settings, "", "", "diverged" if "diverged" in trial else "failed"])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row[:-1], widths, strict=False)]
        click.echo(f"            {'  '.join(cells)}  {row[-1]}".replace("_", " "))


def print_end(recipe: Recipe, pages: Mapping[str, Sequence[str]], mlflow: str | None, seconds: float) -> None:
    """Where everything is, and what to do next. pages: those of each kind."""
    click.echo(f"\nDone in {seconds:.0f} s. Everything is in {recipe.out}")
    if mlflow:
        click.echo(f"Runs:   {mlflow}")
        if recipe.tracking and (page := recipe.tracking.page()):
            click.echo(f"        {page}")
    for kind, paths in pages.items():
        for path in paths:
            click.echo(f"{kind + ':':<7} {path}")
    if not any(pages.values()):
        click.echo(f"Next:   twfer status {shlex.quote(recipe.out)}")


def print_facts(facts: Mapping[str, Any], as_json: bool) -> None:
    """A mapping as JSON, or one line for each key."""
    if as_json:
        click.echo(storage.json_text(facts, indent=2))
        return
    for key, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{name} {count}" for name, count in value.items() if count is not None)
        elif isinstance(value, list):
            value = ", ".join(map(str, value))
        click.echo(f"{key.replace('_', ' '):>25}  {'none' if value in ('', None) else value}")
