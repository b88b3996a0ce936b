"""`twfer evaluate`: how good a network is where the truth is known."""

from collections.abc import Mapping
from typing import Any

import click

from twfer_dist.cli.group import _print_facts, json_option, main
from twfer_dist.engine import artifact, storage


@main.group("evaluate")
def evaluate_group() -> None:
    """How good a network is where the truth is known."""


@evaluate_group.command("faces")
@click.option("--weights", metavar="FILE", help="Weights of `twfer train-faces`; those that ship where not given.")
@click.option(
    "--rendered", metavar="DIR", help="Output of a stage of kind render, plan units; heads that ship where not given."
)
@json_option
def evaluate_faces_command(weights: str | None, rendered: str | None, as_json: bool) -> None:
    """Points and Action Units of rendered heads, from a detector's framing on."""
    from twfer_dist.measurement.analyzer import SHIPPED
    from twfer_dist.measurement.evaluate import TEST, evaluate

    heads = artifact.open_artifact(storage.absolute(rendered or TEST))
    _print_facts(evaluate(weights or SHIPPED, heads), as_json)


@evaluate_group.command("gan")
@click.option("--ours", required=True, metavar="FILE", help="The generator's weights.")
@click.option("--public", metavar="FILE", help="Weights of the public generator, to compare with.")
@click.option(
    "--rendered",
    required=True,
    metavar="DIR",
    help="Output of a stage of kind render, plan changes: figures new to all networks.",
)
@click.option(
    "--faces",
    multiple=True,
    metavar="DIR",
    help="Output of a stage of kind faces: sculpture. May be given several times.",
)
@click.option(
    "--reference-analyzer",
    metavar="FILE",
    help="Weights of `twfer train-faces`, instead of those that ship: none that a generator learned by.",
)
@click.option(
    "--secondary-analyzer",
    metavar="FILE",
    help="What measures Action Units too: MediaPipe's face_landmarker.task, or other weights.",
)
@click.option("--identity", required=True, metavar="FILE", help="Weights of a stage of kind identity-network.")
@click.option("--figures", type=click.IntRange(min=20), default=40, show_default=True, help="So many, of each output.")
@json_option
def evaluate_gan_command(rendered: str, faces: tuple[str, ...], as_json: bool, **networks: Any) -> None:
    """A generator on figures whose right picture is known, and on sculpture: nearness, control, identity."""
    from twfer_dist.synthesis.evaluation.evaluate import evaluate

    scenes, *photographed = (artifact.open_artifact(storage.absolute(uri)) for uri in (rendered, *faces))
    found = evaluate(rendered=scenes, faces=photographed, **networks)
    _print_facts(found if as_json else _flat(found), as_json)


def _flat(facts: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Facts within facts as one list: their names follow each other."""
    flat: dict[str, Any] = {}
    for key, value in facts.items():
        flat |= _flat(value, f"{before}{key} ") if isinstance(value, Mapping) else {f"{before}{key}": value}
    return flat
