"""Commands that run recipes: run, study, faces, similarity, sweep, train-gan, train-faces."""

import shlex
import time
from collections.abc import Callable, Sequence
from typing import Any

import click

from twfer_dist.cli.group import json_option, main, out_option
from twfer_dist.cli.terminal import print_end, print_plan, print_results, print_stage, print_trials
from twfer_dist.core.errors import UserError
from twfer_dist.core.language import LANGUAGES, Language
from twfer_dist.engine import storage
from twfer_dist.recipe.kinds import kind_of
from twfer_dist.recipe.load import load_recipe
from twfer_dist.recipe.recipe import Outcome, Recipe
from twfer_dist.recipe.run import plan_recipe, run_recipe
from twfer_dist.recipe.similarity import similarity_recipe
from twfer_dist.recipe.study import Method, faces_recipe, study_recipe
from twfer_dist.similarity import MAP

retry_option = click.option(
    "--retry", type=click.Choice(["failed"]), help="Retry rows that failed for a transient reason."
)
corrections_option = click.option(
    "--corrections", metavar="FILE", help="Corrections saved from the page that `twfer inspect --html` writes."
)


@main.command("run")
@click.argument("path", metavar="RECIPE")
@out_option
@click.option("--plan", "only_plan", is_flag=True, help="Check the recipe and list what is to do, without doing it.")
@click.option("--until", metavar="STAGE", help="Stop after this stage.")
@click.option(
    "--jobs",
    "-j",
    type=click.IntRange(min=1),
    default=1,
    metavar="N",
    help="On a cluster, run up to N stages at once that do not need each other.",
)
@retry_option
@json_option
def run_command(
    path: str, out: str | None, only_plan: bool, until: str | None, jobs: int, retry: str | None, as_json: bool
) -> None:
    """Run the stages of a recipe in order, skipping those that are finished."""
    recipe, again = load_recipe(path, out=out), retry is not None
    _run(recipe, until=until, jobs=jobs, only_plan=only_plan, retry=again, as_json=as_json)


def faces_options(command: Callable) -> Callable:
    for option in (
        click.option(
            "--all/--largest", "every", default=True, help="Every face of a photograph (default), or the largest."
        ),
        click.option("--aligned", is_flag=True, help="The photographs are aligned face crops: detect nothing."),
        click.option("--detector-model", metavar="FILE", help="The detector's model file: YuNet's .onnx."),
        click.option("--detector", default="auto", show_default=True, help="auto, yunet, centerface or haar."),
    ):
        command = option(command)
    return command


def faces_settings(detector: str, detector_model: str | None, aligned: bool, every: bool) -> dict[str, Any]:
    settings = {"detector": detector, "aligned": aligned, "keep": "all" if every else "largest"}
    return settings | ({"model": detector_model} if detector_model else {})


@main.command("study")
@click.argument("folders", metavar="FOLDER...", nargs=-1, required=True)
@click.option(
    "--model",
    metavar="RUN",
    help="A recogniser to use instead of the included reader: the output of a training, or the output folder of a "
    "recipe, of which the best is taken.",
)
@click.option(
    "--method",
    type=click.Choice(["reader", "paper"]),
    default="reader",
    show_default=True,
    help="reader: judge by the measured movements of the face. paper: also animate these faces, train recognisers on "
    "them, and read each face with one that never saw it; about a quarter of an hour for 60 faces on two cores.",
)
@click.option(
    "--references",
    metavar="CORPUS",
    help="With --method paper: copy expressions from the labelled faces of this corpus, not from the prototypes.",
)
@click.option(
    "--group",
    "groups",
    multiple=True,
    metavar="COLUMN",
    help="Compare by this column; may be repeated. Default: every column that groups the photographs.",
)
@click.option(
    "--language",
    type=click.Choice(LANGUAGES),
    default=LANGUAGES[0],
    show_default=True,
    help="The language of the report.",
)
@faces_options
@corrections_option
@out_option
@retry_option
@json_option
def study_command(
    folders: tuple[str, ...],
    model: str | None,
    method: Method,
    references: str | None,
    groups: tuple[str, ...],
    language: Language,
    corrections: str | None,
    out: str | None,
    retry: str | None,
    as_json: bool,
    **faces: Any,
) -> None:
    """Analyse a folder of photographs and write one report; several folders are compared with each other.

    FOLDER may also be a table of photographs (CSV or Excel), or a folder in RAF-DB's layout.
    """
    if references and method != "paper":
        raise UserError(
            "--references are the faces that --method paper copies expressions from: add it, or leave them out."
        )
    settings = faces_settings(**faces)
    roads: dict[str, Any] = {"model": model, "method": method, "references": references}
    recipe = study_recipe(folders, settings, groups, out, corrections, **roads, language=language)
    if model and not as_json:
        chosen = next(stage.inputs["model"][0] for stage in recipe.stages if stage.name == "read")
        click.echo(f"Recogniser: {chosen}")
    _run(recipe, retry=retry is not None, as_json=as_json)
    _print_corrections(recipe, as_json)


@main.command("faces")
@click.argument("corpus", metavar="FOLDER")
@faces_options
@corrections_option
@click.option("--out", required=True, metavar="DIR", help="Folder or URI for the tables.")
@retry_option
@json_option
def faces_command(
    corpus: str, corrections: str | None, out: str, retry: str | None, as_json: bool, **faces: Any
) -> None:
    """Find and measure the faces in a folder: tables of photographs and of faces, as Parquet and CSV."""
    recipe = faces_recipe(corpus, faces_settings(**faces), out, corrections)
    _run(recipe, retry=retry is not None, as_json=as_json)
    _print_corrections(recipe, as_json)


@main.command("similarity")
@click.argument("corpora", metavar="FOLDER...", nargs=-1, required=True)
@click.option("--by", default="corpus", show_default=True, metavar="COLUMN", help="Compare groups of this column.")
@click.option("--sample", type=click.IntRange(min=2), help="Compare this many random faces of each folder.")
@click.option(
    "--network", metavar="FILE", help="What compares the faces: SFace's .onnx, or the weights of an identity network."
)
@click.option("--model", metavar="RUN", help="Compare by the features of a trained recogniser, as in `twfer study`.")
@click.option("--language", type=click.Choice(LANGUAGES), default="en", show_default=True, help="Of the map.")
@faces_options
@out_option
@retry_option
@json_option
def similarity_command(
    corpora: tuple[str, ...],
    by: str,
    sample: int | None,
    network: str | None,
    model: str | None,
    language: Language,
    out: str | None,
    retry: str | None,
    as_json: bool,
    **faces: Any,
) -> None:
    """Say how alike the faces of one or several folders are, list near-duplicates, and draw a map of the faces.

    FOLDER may also be a table of photographs (CSV or Excel), or a folder in RAF-DB's layout.
    """
    comparison = {"by": by, "sample": sample, "language": language}
    embedder = {"network": network, "model": model}
    recipe = similarity_recipe(corpora, faces_settings(**faces), out, embedder, comparison)
    _run(recipe, retry=retry is not None, as_json=as_json)


def _print_corrections(recipe: Recipe, as_json: bool) -> None:
    if not as_json:
        click.echo(
            "To correct crops, points or labels: mark them on the page of "
            f"`twfer inspect {shlex.quote(recipe.out)} --html faces.html`, then run this command again with "
            "--corrections corrections.csv"
        )


@main.command("sweep")
@click.argument("path", metavar="RECIPE")
@out_option
@json_option
def sweep_command(path: str, out: str | None, as_json: bool) -> None:
    """Run a recipe up to its sweep and print the trials."""
    _run_until("sweep", path, out, as_json)


@main.command("train-gan")
@click.argument("path", metavar="RECIPE")
@out_option
@json_option
def train_gan_command(path: str, out: str | None, as_json: bool) -> None:
    """Run a recipe up to its generator and print the generator's scores."""
    _run_until("generator", path, out, as_json)


@main.command("train-faces")
@click.argument("path", metavar="RECIPE")
@out_option
@json_option
def train_faces_command(path: str, out: str | None, as_json: bool) -> None:
    """Run a recipe up to the network that measures faces and print its scores."""
    _run_until("face-network", path, out, as_json)


def _run_until(kind: str, path: str, out: str | None, as_json: bool) -> None:
    """Run a recipe up to its last stage of a kind."""
    recipe = load_recipe(path, out=out)
    names = [stage.name for stage in recipe.stages if stage.kind == kind]
    if not names:
        raise UserError(f"The recipe {recipe.name} has no stage of kind '{kind}': add one to {path}.")
    _run(recipe, until=names[-1], as_json=as_json)


def _run(
    recipe: Recipe,
    *,
    until: str | None = None,
    jobs: int = 1,
    only_plan: bool = False,
    retry: bool = False,
    as_json: bool = False,
) -> None:
    started = time.monotonic()
    outcomes = plan_recipe(recipe)
    if not as_json:
        print_plan(recipe, outcomes)
    if not only_plan:
        outcomes = []
        if not as_json:
            click.echo("")
        for outcome in run_recipe(recipe, until=until, jobs=jobs, quiet=as_json, retry=retry):
            outcomes.append(outcome)
            if not as_json:
                print_stage(outcome.summary())
                print_results(outcome)
                if outcome.artifact and outcome.stage.kind == "sweep" and outcome.stage.name == until:
                    print_trials(outcome.artifact)
    seconds = round(time.monotonic() - started, 1)
    made = [(outcome.stage, outcome.artifact) for outcome in outcomes if outcome.artifact]
    pages = [(stage.name, page) for stage, _ in made for page in kind_of(stage.kind).shown[:1]]
    reports = [storage.join(recipe.out, name, page) for name, page in pages]
    maps = [artifact.path(MAP) for stage, artifact in made if stage.kind == "similarity"]
    tracked = any(kind_of(outcome.stage.kind).tracked for outcome in outcomes)
    mlflow = recipe.tracking.interface if recipe.tracking and tracked else None
    if as_json:
        facts = {"recipe": recipe.name, "out": recipe.out, "seconds": seconds, "stages": _summaries(outcomes, until)}
        facts |= {"report": reports[-1] if reports else None, "maps": maps, "mlflow": mlflow}
        click.echo(storage.json_text(facts, indent=2))
    elif not only_plan:
        print_end(recipe, {"Map": maps, "Report": reports}, mlflow, seconds)


def _summaries(outcomes: Sequence[Outcome], until: str | None) -> list[dict[str, Any]]:
    """The stages as JSON; of the last one that was asked for also its scores."""
    summaries = [outcome.summary() for outcome in outcomes]
    for outcome, summary in zip(outcomes, summaries, strict=True):
        if outcome.stage.name == until and outcome.artifact:
            summary["results"] = outcome.artifact.results
    return summaries
