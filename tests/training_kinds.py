"""A small training of each kind, for tests that start it in a process they kill: `python -m training_kinds`."""

import dataclasses
import sys

import recognition_data
import synthesis_tables
import tiny_head

from twfer_dist.engine import artifact
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import run_stage
from twfer_dist.engine.tracking import Tracking
from twfer_dist.measurement.train_stage import face_network_spec, identity_network_spec
from twfer_dist.measurement.training import MeasuringConfig
from twfer_dist.recognition.train_stage import train_spec
from twfer_dist.rendering.plan import ClayConfig
from twfer_dist.synthesis.train_stage import generator_spec
from twfer_dist.synthesis.training import GeneratorConfig

KINDS = ("generator", "face-network", "identity-network", "train")

FACES = MeasuringConfig(steps=30, batch=8, held_out=0.3)
GENERATOR = GeneratorConfig(width=4, critic_width=2, batch=4, supervised_steps=40, adversarial_steps=2, scored_pairs=4)
RECOGNISER = dataclasses.replace(recognition_data.SMALL, epochs=6, loss="softmax")


def data(kind: str, out: str) -> Artifact:
    """What a training of this kind learns from."""
    if kind == "train":
        return recognition_data.dataset(out, {"train": 6, "validation": 2})
    if kind == "generator":
        return synthesis_tables.rendered(out)
    return tiny_head.rendered(out, ClayConfig(figures=12, scenes=2, states=2, size=64))


def spec(kind: str, data: Artifact, tracking: Tracking, checkpoint_seconds: float) -> StageSpec:
    match kind:
        case "generator":
            return generator_spec([data], GENERATOR, tracking, checkpoint_seconds=checkpoint_seconds)
        case "face-network":
            return face_network_spec([data], FACES, tracking, checkpoint_seconds=checkpoint_seconds)
        case "identity-network":
            return identity_network_spec([data], FACES, tracking, checkpoint_seconds=checkpoint_seconds)
        case _:
            return train_spec(data, RECOGNISER, tracking, checkpoint_seconds=checkpoint_seconds)


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    kind, uri, mlflow_uri, out = sys.argv[1:]
    run_stage(spec(kind, artifact.open_artifact(uri), Tracking(mlflow_uri, "x"), 0), out, quiet=True)
