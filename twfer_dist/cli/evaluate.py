"""`twfer evaluate`: how good a network is where the truth is known."""

from collections.abc import Mapping
from typing import Any

import click

from twfer_dist.cli.group import json_option, main
from twfer_dist.cli.terminal import print_facts
from twfer_dist.engine import artifact, storage


@main.group("evaluate")
def evaluate_group() -> None:
    """Measure a network where the truth is known."""


@evaluate_group.command("faces")
@click.option("--weights", metavar="FILE", help="Weights from `twfer train-faces`. Default: the weights that ship.")
@click.option(
    "--rendered",
    metavar="DIR",
    help="Output of a render stage with plan units. Default: the heads that ship, 600 of ICT-FaceKit and 240 of "
    "MakeHuman.",
)
@json_option
def evaluate_faces_command(weights: str | None, rendered: str | None, as_json: bool) -> None:
    """Measure rendered heads, framed as a detector frames them, against their true points and Action Units."""
    from twfer_dist.measurement.analyzer import SHIPPED
    from twfer_dist.measurement.evaluate import SECOND_TEST, TEST, evaluate

    def scores(uri: str) -> dict[str, Any]:
        return evaluate(weights or SHIPPED, artifact.open_artifact(storage.absolute(uri)))

    facts = scores(rendered) if rendered else {"ICT-FaceKit": scores(TEST), "MakeHuman": scores(SECOND_TEST)}
    print_facts(facts if as_json else _flat(facts), as_json)


@evaluate_group.command("gan")
@click.option("--ours", required=True, metavar="FILE", help="The generator's weights.")
@click.option("--public", metavar="FILE", help="Weights of the public generator, for comparison.")
@click.option(
    "--rendered",
    required=True,
    metavar="DIR",
    help="Output of a render stage with plan changes, of figures that no network was trained on.",
)
@click.option("--faces", multiple=True, metavar="DIR", help="Output of a faces stage, of sculpture; may be repeated.")
@click.option(
    "--reference-analyzer",
    metavar="FILE",
    help="Weights from `twfer train-faces` that measure the results; a generator must not have been trained with them. "
    "Default: the weights that ship.",
)
@click.option(
    "--secondary-analyzer",
    metavar="FILE",
    help="A second opinion on Action Units: MediaPipe's face_landmarker.task, or other weights.",
)
@click.option("--identity", required=True, metavar="FILE", help="Weights from an identity-network stage.")
@click.option(
    "--figures", type=click.IntRange(min=20), default=40, show_default=True, help="Figures taken from each output."
)
@json_option
def evaluate_gan_command(rendered: str, faces: tuple[str, ...], as_json: bool, **networks: Any) -> None:
    """Measure a generator on rendered figures with known results, and on sculpture: similarity, control, identity."""
    from twfer_dist.synthesis.evaluation.evaluate import evaluate

    scenes, *sculpture = (artifact.open_artifact(storage.absolute(uri)) for uri in (rendered, *faces))
    scores = evaluate(rendered=scenes, faces=sculpture, **networks)
    print_facts(scores if as_json else _flat(scores), as_json)


def _flat(facts: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, their keys joined."""
    flat: dict[str, Any] = {}
    for key, value in facts.items():
        flat |= _flat(value, f"{prefix}{key} ") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
