"""`twfer bench`: speed, in ratios of one run."""

import click

from twfer_dist.cli.group import _print_facts, json_option, main


@main.group("bench")
def bench_group() -> None:
    """How fast stages and networks are here, in ratios of one run. Minutes."""


images_option = click.option(
    "--images", type=click.IntRange(min=100), default=600, show_default=True, help="Rows of the larger run."
)


actors_option = click.option(
    "--actors", type=click.IntRange(min=1), help="Actors, and plain processes; the cluster's CPUs where not given."
)


@bench_group.command("faces")
@images_option
@actors_option
@json_option
def bench_faces_command(images: int, actors: int | None, as_json: bool) -> None:
    """Photographs a second through the faces stage, beside the same code in plain loops; faces a second through the
    network.
    """
    from twfer_dist.bench.faces import bench_faces

    _print_facts(bench_faces(images, actors), as_json)


@bench_group.command("animate")
@images_option
@actors_option
@json_option
def bench_animate_command(images: int, actors: int | None, as_json: bool) -> None:
    """Images a second through the animate stage, beside the same code in plain loops; our generator beside the public
    one.
    """
    from twfer_dist.bench.animate import bench_animate

    _print_facts(bench_animate(images, actors), as_json)


@bench_group.command("io")
@click.option(
    "--images", type=click.IntRange(min=100), default=20000, show_default=True, help="Rows of the larger run."
)
@actors_option
@click.option(
    "--out",
    metavar="URI",
    help="Where to, such as s3://bucket/folder; a temporary folder where not given. Nothing stays.",
)
@json_option
def bench_io_command(images: int, actors: int | None, out: str | None, as_json: bool) -> None:
    """Rows a second through a stage that only writes, beside the same in plain loops; megabytes a second written and
    read.
    """
    from twfer_dist.bench.io import bench_io

    _print_facts(bench_io(images, actors, out), as_json)
