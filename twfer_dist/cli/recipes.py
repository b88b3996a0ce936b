"""Commands that do the stages of a recipe: run, study, faces, sweep, train-gan, train-faces."""

import shlex
import time
from collections.abc import Callable
from typing import Any

import click

from twfer_dist.cli.group import json_option, main, out_option
from twfer_dist.cli.terminal import print_end, print_results, print_stage
from twfer_dist.core.errors import UserError
from twfer_dist.engine import storage
from twfer_dist.recipe.kinds import TRACKED
from twfer_dist.recipe.load import load_recipe
from twfer_dist.recipe.recipe import Recipe
from twfer_dist.recipe.run import plan_recipe, run_recipe
from twfer_dist.recipe.study import faces_recipe, study_recipe

retry_option = click.option(
    "--retry", type=click.Choice(["failed"]), help="Do rows of finished stages again that may come out otherwise."
)


corrections_option = click.option(
    "--corrections",
    metavar="FILE",
    help="What a person marked as wrong: the table that the page of `twfer inspect --html` saves.",
)


@main.command("run")
@click.argument("path", metavar="RECIPE")
@out_option
@click.option("--plan", "only_plan", is_flag=True, help="Say what is finished and what is to do, and do nothing.")
@retry_option
@json_option
def run_command(path: str, out: str | None, only_plan: bool, retry: str | None, as_json: bool) -> None:
    """Do the stages of a recipe in order; finished ones are skipped."""
    _run(load_recipe(path, out=out), only_plan=only_plan, retry=retry is not None, as_json=as_json)


def _faces_options(command: Callable) -> Callable:
    for option in (
        click.option(
            "--all/--largest", "every", default=True, help="Take all faces of a photograph (default), or the largest."
        ),
        click.option("--aligned", is_flag=True, help="The photographs are aligned crops of faces: detect nothing."),
        click.option("--detector-model", metavar="FILE", help="The detector's model file: YuNet's .onnx."),
        click.option("--detector", default="auto", show_default=True, help="auto, yunet, centerface or haar."),
    ):
        command = option(command)
    return command


def _faces_settings(detector: str, detector_model: str | None, aligned: bool, every: bool) -> dict[str, Any]:
    settings = {"detector": detector, "aligned": aligned, "keep": "all" if every else "largest"}
    return settings | ({"model": detector_model} if detector_model else {})


@main.command("study")
@click.argument("corpus", metavar="FOLDER")
@click.option(
    "--model",
    required=True,
    metavar="RUN",
    help="A recogniser: the output of a training, or the folder of a recipe; of several the best on validation images.",
)
@click.option(
    "--group",
    "groups",
    multiple=True,
    metavar="COLUMN",
    help="Compare by this column; by all that group, if none is named.",
)
@_faces_options
@corrections_option
@out_option
@json_option
def study_command(
    corpus: str,
    model: str,
    groups: tuple[str, ...],
    corrections: str | None,
    out: str | None,
    as_json: bool,
    **faces: Any,
) -> None:
    """Answer for a folder of anyone's photographs (or a table of them, CSV or Excel, or RAF-DB's layout): one
    report.
    """
    loaded = study_recipe(corpus, model, _faces_settings(**faces), groups, out, corrections)
    if not as_json:
        (asked,) = (stage.inputs["model"][0] for stage in loaded.stages if stage.kind == "predict")
        click.echo(f"asks {asked}")
    _run(loaded, as_json=as_json)
    _say_corrections(loaded, as_json)


@main.command("faces")
@click.argument("corpus", metavar="FOLDER")
@_faces_options
@corrections_option
@click.option("--out", required=True, metavar="DIR", help="Where the tables go: a folder or a URI.")
@retry_option
@json_option
def faces_command(
    corpus: str, corrections: str | None, out: str, retry: str | None, as_json: bool, **faces: Any
) -> None:
    """Find the faces in a folder of photographs: one table of photographs, one of faces, as Parquet and CSV."""
    loaded = faces_recipe(corpus, _faces_settings(**faces), out, corrections)
    _run(loaded, retry=retry is not None, as_json=as_json)
    _say_corrections(loaded, as_json)


def _say_corrections(loaded: Recipe, as_json: bool) -> None:
    if not as_json:
        page = f"twfer inspect {shlex.quote(loaded.out)} --html faces.html"
        click.echo(
            f"Wrong crops, points or labels? Mark them on the page of {page}, and run this again with --corrections "
            "corrections.csv"
        )


@main.command("sweep")
@click.argument("path", metavar="RECIPE")
@out_option
@json_option
def sweep_command(path: str, out: str | None, as_json: bool) -> None:
    """Do a recipe as far as its sweep, and print the sweep's trials."""
    loaded = load_recipe(path, out=out)
    _run(loaded, until=_stage_of_kind(loaded, "sweep"), as_json=as_json)


@main.command("train-gan")
@click.argument("path", metavar="RECIPE")
@out_option
@json_option
def train_gan_command(path: str, out: str | None, as_json: bool) -> None:
    """Do a recipe as far as its generator, and print the generator's scores."""
    loaded = load_recipe(path, out=out)
    _run(loaded, until=_stage_of_kind(loaded, "generator"), as_json=as_json)


@main.command("train-faces")
@click.argument("path", metavar="RECIPE")
@out_option
@json_option
def train_faces_command(path: str, out: str | None, as_json: bool) -> None:
    """Do a recipe as far as its network that measures faces, and print the network's scores."""
    loaded = load_recipe(path, out=out)
    _run(loaded, until=_stage_of_kind(loaded, "face-network"), as_json=as_json)


def _stage_of_kind(loaded: Recipe, kind: str) -> str:
    names = [s.name for s in loaded.stages if s.kind == kind]
    if not names:
        raise UserError(f"The recipe {loaded.name} has no stage of kind '{kind}': add one, as jobs/demo.yaml has.")
    return names[-1]


def _run(
    loaded: Recipe, *, until: str | None = None, only_plan: bool = False, retry: bool = False, as_json: bool = False
) -> None:
    started = time.monotonic()
    say: Callable[[str], None] = (lambda line: None) if as_json else click.echo
    planned = plan_recipe(loaded)
    to_do = sum(o.state == "to do" for o in planned)
    say(f"{loaded.name}: {len(planned)} stages, {len(planned) - to_do} finished, {to_do} to do, in {loaded.out}")
    for outcome in planned:
        say(f"  {outcome.state:<9} {outcome.stage.name} ({outcome.stage.kind})")
    outcomes = planned
    if not only_plan:
        say("")
        outcomes = []
        for outcome in run_recipe(loaded, until=until, quiet=as_json, retry=retry):
            outcomes.append(outcome)
            if not as_json:
                print_stage(outcome.summary())
                print_results(outcome)
    seconds = round(time.monotonic() - started, 1)
    reports = [
        storage.join(loaded.out, o.stage.name, "index.html")
        for o in outcomes
        if o.stage.kind == "report" and o.finished
    ]
    tracked = loaded.tracking and any(o.stage.kind in TRACKED for o in outcomes)
    interface = loaded.tracking.interface if loaded.tracking and tracked else None
    if as_json:
        summary = {
            "recipe": loaded.name,
            "out": loaded.out,
            "seconds": seconds,
            "stages": [o.summary() for o in outcomes],
        }
        click.echo(
            storage.json_text(summary | {"report": reports[-1] if reports else None, "mlflow": interface}, indent=2)
        )
    elif not only_plan:
        print_end(loaded, reports, interface, seconds)
