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
@click.option("--ours", metavar="FILE", help="The generator's weights. Default: the weights that ship.")
@click.option("--public", metavar="FILE", help="Weights of the public generator, for comparison.")
@click.option(
    "--rendered",
    metavar="DIR",
    help="Output of a render stage with plan changes, of figures that no network was trained on. Default: the 30 "
    "figures that ship.",
)
@click.option(
    "--faces",
    multiple=True,
    metavar="DIR",
    help="Output of a faces stage, of sculpture; may be repeated. Default: the twelve terracottas that ship.",
)
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
@click.option(
    "--identity",
    metavar="FILE",
    help="Weights from an identity-network stage (jobs/generator-evaluation.yaml): also score whether figures are "
    "still recognised.",
)
@click.option(
    "--figures", type=click.IntRange(min=2), default=40, show_default=True, help="Figures taken from each output."
)
@json_option
def evaluate_gan_command(
    ours: str | None, rendered: str | None, faces: tuple[str, ...], as_json: bool, **others: Any
) -> None:
    """Measure a generator on rendered figures with known results, and on real sculpture.

    Does an expression rise with its intensity, are the requested Action Units there, how near is the truth? Without
    options, the generator that ships, on what ships: about two minutes on two cores.
    """
    from twfer_dist.synthesis import checkpoints
    from twfer_dist.synthesis.evaluation import answer, inputs
    from twfer_dist.synthesis.evaluation.evaluate import evaluate

    weights = ours or checkpoints.SHIPPED
    scenes, *sculpture = (artifact.open_artifact(storage.absolute(uri)) for uri in (rendered or inputs.TEST, *faces))
    scores = evaluate(weights, rendered=scenes, faces=sculpture, quiet=as_json, **others)
    if as_json:
        print_facts(scores, as_json)
        return
    click.echo("\n".join(answer.answer(scores)))
    for system in ("public", "ours"):
        if system in scores["psnr"]:
            click.echo("\n" + "\n".join(answer.table(scores, system)))
    click.echo(f"\nGenerator: {weights}\nRendered:  {scenes.uri}")
    click.echo("\n".join(f"Sculpture: {uri}" for uri in faces or (inputs.SCULPTURE,)))
    click.echo(_NEXT)


_NEXT = (
    "Next: `twfer faces FOLDER --out runs/mine`, then `twfer evaluate gan --faces runs/mine/faces-...`, does the same "
    "on sculpture of your own; --json prints every score."
)


def _flat(facts: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, their keys joined."""
    flat: dict[str, Any] = {}
    for key, value in facts.items():
        flat |= _flat(value, f"{prefix}{key} ") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
