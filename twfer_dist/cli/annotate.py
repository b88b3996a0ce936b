"""People's labels: the page that collects them, and how far annotators agree."""

import shlex
from typing import Any

import click

from twfer_dist.annotation.answer import answer
from twfer_dist.annotation.answer import share as share_words
from twfer_dist.annotation.comparison import Comparison, compare
from twfer_dist.cli.group import json_option, main
from twfer_dist.cli.recipes import faces_options, faces_settings, retry_option
from twfer_dist.cli.terminal import print_facts, print_stage
from twfer_dist.core.errors import UserError
from twfer_dist.core.language import LANGUAGES, Language
from twfer_dist.corpus.agreement import Agreement
from twfer_dist.engine import artifact, storage
from twfer_dist.engine.inspect import is_output
from twfer_dist.recipe.run import run_recipe
from twfer_dist.recipe.status import corpus_roots, find_faces, has_stages
from twfer_dist.recipe.study import corpus_name, faces_recipe

language_option = click.option(
    "--language",
    type=click.Choice(LANGUAGES),
    default=LANGUAGES[0],
    show_default=True,
    help="Of the words on the page.",
)

LABELS, NUMBERS = "labels.csv", "agreement.json"


@main.command("annotate")
@click.argument("folder", metavar="FOLDER")
@click.option("--html", default="annotate.html", show_default=True, metavar="FILE", help="The page to write.")
@click.option(
    "--at-most", type=click.IntRange(min=1), help="A sample of the faces: one of every figure before a second."
)
@language_option
@faces_options
@click.option("--out", metavar="DIR", help="Folder or URI for the faces that are found. Default: runs/annotate-NAME.")
@retry_option
@json_option
def annotate_command(
    folder: str,
    html: str,
    at_most: int | None,
    language: Language,
    out: str | None,
    retry: str | None,
    as_json: bool,
    **faces: Any,
) -> None:
    """Write a page on which people label faces: one file, which needs no server and sends nothing.

    FOLDER: photographs, or a table of them, whose faces are found first; or the output of a faces stage or of a study.
    """
    from twfer_dist.annotation.label_page import label_page

    found = artifact.open_artifact(_faces(folder, faces_settings(**faces), out, retry is not None, as_json))
    page = label_page(found, corpus_roots(found), at_most=at_most, language=language)
    uri, data = storage.absolute(html), page.html.encode()
    storage.write_bytes(uri, data)
    facts = {
        "page": uri,
        "faces": page.faces,
        "figures": page.figures,
        "rejected, not shown": page.refused,
        "left out by --at-most": page.more,
        "megabytes": round(len(data) / 1e6, 1),
        "next": f"send {storage.name_of(uri)} to each annotator; then twfer agreement with the tables that they save",
    }
    print_facts(facts, as_json)


def _faces(folder: str, settings: dict[str, Any], out: str | None, retry: bool, as_json: bool) -> str:
    """The output of faces that `folder` is or holds; else of the photographs in it, whose faces are found."""
    uri = storage.absolute(folder)
    if is_output(uri) or has_stages(uri):
        return find_faces(uri)
    recipe = faces_recipe(folder, settings, out or f"runs/annotate-{corpus_name(folder)}", None)
    for outcome in run_recipe(recipe, quiet=as_json, retry=retry):
        if not as_json:
            print_stage(outcome.summary())
    return find_faces(recipe.out)


@main.command("agreement")
@click.argument("tables", metavar="CSV...", nargs=-1, required=True)
@click.option(
    "--predictions",
    multiple=True,
    metavar="DIR",
    help="Output of a stage that predicts or reads, or of a recipe, to compare with the annotators; may be repeated.",
)
@click.option("--out", metavar="DIR", help=f"Folder or URI for {LABELS} and {NUMBERS}.")
@json_option
def agreement_command(tables: tuple[str, ...], predictions: tuple[str, ...], out: str | None, as_json: bool) -> None:
    """Merge annotators' tables, and say how far the annotators agree with each other and with models.

    CSV: the tables that the page of `twfer annotate` saves, or any table of photographs with votes.
    """
    from twfer_dist.annotation.labels import labels_csv, read_answers, read_labels
    from twfer_dist.recipe.status import find_predictions
    from twfer_dist.study.words import at_start, called

    faces = read_labels([storage.absolute(uri) for uri in tables])
    answers = read_answers([output for folder in predictions for output in find_predictions(folder)], faces)
    if predictions and not answers:
        raise UserError(
            f"{predictions[0]} has an answer to none of the faces in {tables[0]}: name the predictions of the study "
            "whose faces were labelled."
        )
    found = compare(faces, answers)
    paragraphs = answer(found, lambda model: at_start(called(model)))
    facts = {"answer": paragraphs, **vars(found)}
    if out:
        storage.write_bytes(storage.join(storage.absolute(out), LABELS), labels_csv(faces))
        storage.write_json(storage.join(storage.absolute(out), NUMBERS), facts)
    if as_json:
        click.echo(storage.json_text(facts, indent=2))
        return
    click.echo("\n\n".join(paragraphs))
    _print_tables(found)
    click.echo(_next(tables, out))


def _next(tables: tuple[str, ...], out: str | None) -> str:
    if not out:
        return f"\nNext: add --out DIR to write {LABELS}, the labels that most annotators gave, and {NUMBERS}."
    table = shlex.quote(storage.join(out, LABELS))
    return (
        f"\nLabels: {storage.join(out, LABELS)}\nNumbers: {storage.join(out, NUMBERS)}\nNext: put {LABELS} beside the "
        f"photographs as manifest.csv, or add --corrections {table} to your twfer study command."
    )


def _print_tables(found: Comparison) -> None:
    width = max([10, *(len(one.name) for one in found.annotators), *(len(one.model) for one in found.models)])
    click.echo(f"\n{'annotator':<{width}}  faces  labels each  unsure  names the others' majority label")
    for one in found.annotators:
        click.echo(f"{one.name:<{width}}  {one.faces:>5,}  {one.labels:>11.2f}  {one.unsure:>6,}  {_share(one.rest)}")
    for model in found.models:
        click.echo(
            f"{model.model:<{width}}  {'':>26}  {_share(model.rest)}; the majority of all: {_share(model.majority)}"
        )
    click.echo(f"\n{'expression':<{width}}  majority  named  alpha")
    for row in found.expressions:
        alpha = _alpha(row["agreement"])
        click.echo(f"{row['expression']:<{width}}  {row['label']:>8,}  {row['named']:>5,}  {alpha}")
    pairs = sorted((pair for pair in found.pairs if pair["agreement"]), key=lambda pair: pair["agreement"].alpha)
    if pairs:
        click.echo("")
    for words, pair in (("most", pairs[-1]), ("least", pairs[0])) if pairs else ():
        click.echo(f"{words} alike: {pair['first']} and {pair['second']}, alpha {_alpha(pair['agreement']).strip()}")


def _alpha(found: Agreement | None) -> str:
    return f"{found.alpha:5.2f} ({found.interval})" if found else "    - (nothing varies)"


def _share(share: dict[str, Any]) -> str:
    return share_words(share) if share["n"] else "-"
