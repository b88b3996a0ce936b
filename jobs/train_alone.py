"""Train the networks of faces, or the generator, on a machine with a GPU that has PyTorch but neither Ray nor MLflow.

Here, after rendering (`twfer run jobs/faces.yaml --until makehuman_test`), pack what the training needs, and take the
file and this repository to that machine:

    python jobs/train_alone.py pack heads.npz runs/faces/render-0123456789ab runs/faces/render-ba9876543210

There, train with the settings of a stage, and bring the checkpoint back:

    python jobs/train_alone.py faces jobs/faces.yaml network heads.npz --out faces.pt
    python jobs/train_alone.py identity jobs/identity.yaml network heads.npz --trunk faces.pt --out identity.pt
    python jobs/train_alone.py generator jobs/generator.yaml generator pairs.npz --out generator.pt

Here, copied to `_work/checkpoint.pt` in the stage's unfinished directory, the checkpoint is one that the stage resumes
from: `twfer run jobs/faces.yaml` then only calibrates, scores and writes what it would have written itself. The packed
pictures are WebP at quality 90, so the weights differ a little from those that the stage would have trained.
"""

import argparse
import os
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import torch
import yaml

from twfer_dist.engine.artifact import open_artifact
from twfer_dist.measurement import identity, training
from twfer_dist.measurement.augmentation import Heads, aligned, load_heads
from twfer_dist.measurement.network import FaceNetwork
from twfer_dist.measurement.training import FaceNetworkConfig
from twfer_dist.synthesis import checkpoints
from twfer_dist.synthesis import training as synthesis
from twfer_dist.synthesis.checkpoints import load_generator
from twfer_dist.synthesis.pairs import Pairs, load_pairs
from twfer_dist.synthesis.training import GeneratorConfig
from twfer_dist.training.checkpoint import unpack
from twfer_dist.training.state import SteppedState

C = TypeVar("C")

QUALITY = 90
LOG_STEPS = 100
SAVE_STEPS = 500
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def pack(out: str, outputs: list[str]) -> None:
    """Heads (plan units) or pairs (plan changes) of render outputs in one file, the pictures as WebP."""
    artifacts = [open_artifact(uri) for uri in outputs]
    if artifacts[0].manifest.config["plan"] == "units":
        heads = Heads.joined([load_heads(artifact) for artifact in artifacts])
        values, pictures = vars(heads), heads.images
    else:
        pairs, _ = load_pairs(artifacts, artifacts[0].manifest.config["size"], 0.05)
        values = vars(pairs) | {"scenes": np.concatenate(pairs.scenes), "sizes": [len(scene) for scene in pairs.scenes]}
        pictures = pairs.images
    encoded = [cv2.imencode(".webp", picture, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])[1] for picture in pictures]
    lengths = [len(data) for data in encoded]
    np.savez(out, **values | {"images": np.concatenate(encoded), "lengths": lengths})


def unpacked(path: str) -> dict[str, Any]:
    """What `pack` wrote, with the pictures decoded: grey, or RGB as they were."""
    with np.load(path) as file:
        values = dict(file)
    ends = np.cumsum(values.pop("lengths"))
    flag = cv2.IMREAD_GRAYSCALE if "points" in values else cv2.IMREAD_COLOR
    values["images"] = np.stack([_decoded(data, flag) for data in np.split(values["images"], ends[:-1])])
    return values


def _decoded(data: np.ndarray, flag: int) -> np.ndarray:
    image = cv2.imdecode(data, flag)
    assert image is not None  # of our own file
    return image


def settings(kind: type[C], recipe: str, stage: str) -> C:
    """The settings of a stage in a recipe."""
    given = yaml.safe_load(Path(recipe).read_text())["stages"][stage]
    return kind(**{field.name: given[field.name] for field in fields(kind) if field.name in given})  # type: ignore[arg-type]


class Notes:
    """Notes the losses of a training every LOG_STEPS steps, and saves its state, with scores, every SAVE_STEPS."""

    def __init__(self, out: str, scores: Callable[[], Mapping[str, float]]) -> None:
        self.out, self.scores = out, scores

    def __call__(self, state: SteppedState, values: dict[str, float]) -> None:
        last = values.pop("progress") >= 1
        if state.step % LOG_STEPS and not last:
            return
        line = {"step": state.step, "seconds": state.seconds, **values}
        if state.step % SAVE_STEPS == 0 or last:
            line |= self.scores()
        state.log.append({key: float(f"{value:.5g}") for key, value in line.items()})
        print(state.log[-1], flush=True)
        if state.step % SAVE_STEPS == 0 or last:
            Path(self.out).write_bytes(state.to_bytes())


def train_faces(recipe: str, stage: str, packed: str, out: str, processes: int) -> None:
    config = settings(FaceNetworkConfig, recipe, stage)
    state = training.new_state(config, DEVICE)
    heads, held_out = training.split(Heads(**unpacked(packed)), config.held_out, config.seed)

    def scores() -> Mapping[str, float]:
        predictions = training.predict(state.network, aligned(held_out), 256)
        state.network.train()
        named = predictions.scores(training.interval_factors(predictions))
        return {name: value for name, value in named.items() if isinstance(value, float)}

    objective = training.measurement_objective(heads, config, DEVICE)
    training.fit(state, state.network, config, heads, objective, Notes(out, scores), processes)


def train_identity(recipe: str, stage: str, packed: str, out: str, processes: int, trunk: str) -> None:
    config = settings(FaceNetworkConfig, recipe, stage)
    face = FaceNetwork()
    face.load_state_dict(unpack(Path(trunk).read_bytes())["network"])
    network = identity.network_on(face)
    state = training.new_state(config, DEVICE, lambda: network)
    heads, held_out = training.split(Heads(**unpacked(packed)), config.held_out, config.seed)

    def scores() -> Mapping[str, float]:
        measured = identity.scores(network, held_out)
        state.network.train()
        return measured

    objective = identity.contrastive_objective(heads, config, DEVICE)
    training.fit(state, state.network, config, heads, objective, Notes(out, scores), processes)


def train_generator(recipe: str, stage: str, packed: str, out: str) -> None:
    config = settings(GeneratorConfig, recipe, stage)
    values = unpacked(packed)
    scenes = np.split(values["scenes"], np.cumsum(values["sizes"])[:-1])
    pairs = Pairs(values["images"], values["units"], values["labels"], scenes)
    state = synthesis.new_state(config, DEVICE, load_generator(checkpoints.SHIPPED).network)
    synthesis.fit(state, {"supervised": pairs}, config, Notes(out, dict))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack")
    packing.add_argument("out")
    packing.add_argument("outputs", nargs="+")
    for name in ("faces", "identity", "generator"):
        command = commands.add_parser(name)
        for argument in ("recipe", "stage", "packed"):
            command.add_argument(argument)
        command.add_argument("--out", required=True)
        command.add_argument("--processes", type=int, default=max(0, (os.cpu_count() or 1) - 3))
        command.add_argument("--trunk", default="")
    given = parser.parse_args()
    torch.backends.cudnn.benchmark = True
    if given.command == "pack":
        return pack(given.out, given.outputs)
    common = given.recipe, given.stage, given.packed, given.out
    if given.command == "faces":
        return train_faces(*common, given.processes)
    if given.command == "identity":
        return train_identity(*common, given.processes, given.trunk)
    train_generator(*common)


if __name__ == "__main__":
    main()
