"""`twfer bench`: speed, as ratios measured in one run."""

import click

from twfer_dist.cli.group import json_option, main
from twfer_dist.cli.terminal import print_facts


@main.group("bench")
def bench_group() -> None:
    """Measure speed as ratios within one run; takes minutes."""


images_option = click.option(
    "--images", type=click.IntRange(min=100), default=600, show_default=True, help="Rows of the larger run."
)


actors_option = click.option(
    "--actors",
    type=click.IntRange(min=1),
    help="Actors, and plain processes to compare with. Default: the cluster's CPUs.",
)


@bench_group.command("faces")
@images_option
@actors_option
@json_option
def bench_faces_command(images: int, actors: int | None, as_json: bool) -> None:
    """Photographs per second through the faces stage against the same code in plain loops."""
    from twfer_dist.bench.faces import bench_faces

    print_facts(bench_faces(images, actors), as_json)


@bench_group.command("animate")
@images_option
@actors_option
@json_option
def bench_animate_command(images: int, actors: int | None, as_json: bool) -> None:
    """Images per second through the animate stage against plain loops, and our generator against the public one."""
    from twfer_dist.bench.animate import bench_animate

    print_facts(bench_animate(images, actors), as_json)


@bench_group.command("io")
@click.option(
    "--images", type=click.IntRange(min=100), default=20000, show_default=True, help="Rows of the larger run."
)
@actors_option
@click.option(
    "--out",
    metavar="URI",
    help="Where to write, such as s3://bucket/folder; everything is deleted afterwards. Default: a temporary folder.",
)
@json_option
def bench_io_command(images: int, actors: int | None, out: str | None, as_json: bool) -> None:
    """Rows per second through a stage that only writes against plain loops, and MB per second written and read."""
    from twfer_dist.bench.io import bench_io

    print_facts(bench_io(images, actors, out), as_json)


@bench_group.command("train")
@click.option(
    "--images",
    type=click.IntRange(min=100),
    default=20000,
    show_default=True,
    help="Images of the data set whose reading is measured.",
)
@json_option
def bench_train_command(images: int, as_json: bool) -> None:
    """Images per second of a recogniser's training on one and two workers against a bare loop, of its loader alone, and
    how much workers read."""
    from twfer_dist.bench.train import bench_train

    print_facts(bench_train(images), as_json)
