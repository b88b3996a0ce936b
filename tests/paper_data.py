"""The paper's tables on outputs of known content."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from study_tables import make_faces, make_predictions, make_training, make_world, output

from twfer_dist.core.schema import DATASET, FACES, PREDICTIONS
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.stage import run_stage
from twfer_dist.recognition.recogniser import name_of
from twfer_dist.recognition.train_config import TrainConfig
from twfer_dist.study.paper.numbers import PaperInputs
from twfer_dist.study.paper.stage import PaperConfig, paper_spec

CONFIG = PaperConfig(people_are="drawn faces", warriors_are="drawn warriors")
SKILLS = {"resnet18_people": 0.7, "arm_people": 0.9, "resnet18_animated": 0.5, "arm_1": 0.6, "arm_2": 0.8}
HELD_OUT = {"images": 490, "figures": 490, "design_effect": 1.0, "confusion": (50 * np.eye(7, dtype=int) + np.roll(
    20 * np.eye(7, dtype=int), 1, axis=1)).tolist()}  # fmt: skip
"""Each recogniser's errors on held-out images: 20 of 70 images of each expression are taken for the next."""


class Made(NamedTuple):
    inputs: PaperInputs
    tables: Artifact
    page: str
    content: dict[str, Any]


def people_set(out: str) -> Artifact:
    """Drawn people, three quarters of them for training."""
    faces = make_faces(out, corpus="people").table("faces", FACES).to_pylist()
    rows = [
        {**row, "image_id": row["face_id"], "origin": "photograph", "split": "train" if k % 4 else "test"}
        for k, row in enumerate(faces)
    ]
    return output(out, "dataset", {".": (DATASET, rows)})


def inputs_in(out: str) -> PaperInputs:
    """Five recognisers of known skill; each has read its data set and 60 warriors, of whom 12 to 20 were animated, and
    21 Han figures without labels.
    """
    world, people, han = make_world(out), people_set(out), make_faces(out, corpus="han", figures=21, labelled=False)
    models, predictions = {}, []
    for number, (role, skill) in enumerate(SKILLS.items()):
        dataset = people if role.endswith("people") else world.dataset
        config = TrainConfig(network="arm" if "arm" in role else "resnet18", seed=number)
        models[role] = make_training(out, dataset, config, 16 + number, HELD_OUT)
        for images in (dataset, world.faces, han):
            rows = make_predictions(out, [images], name_of(models[role]), skill).table(".", PREDICTIONS).to_pylist()
            predictions.append(output(out, "predict", {".": (PREDICTIONS, rows)}, [images, models[role]]))
    faces = {"warriors": world.faces, "postures": world.faces, "han": han}
    return PaperInputs(models, [people, world.dataset], predictions, faces)


def make_tables(out: str, inputs: PaperInputs, config: PaperConfig = CONFIG) -> Made:
    tables = run_stage(paper_spec(inputs, config), out, quiet=True)
    page = Path(tables.path("paper.html")).read_text()
    return Made(inputs, tables, page, json.loads(Path(tables.path("paper.json")).read_text()))


def answers(made: Made, role: str, images: Artifact, table: str) -> list[dict[str, Any]]:
    """A recogniser's answers to the images of one output, each with the image's own row."""
    schema, key = (FACES, "face_id") if table == "faces" else (DATASET, "image_id")
    own = {row[key]: row for row in images.table(table, schema).to_pylist()}
    read = [p for p in made.inputs.predictions if images.digest in p.manifest.inputs.values()]
    rows = [row for p in read for row in p.table(".", PREDICTIONS).to_pylist()]
    return [{**own[row["image_id"]], **row} for row in rows if row["model"] == name_of(made.inputs.models[role])]


def seen(made: Made, role: str) -> set[tuple[str, str]]:
    dataset = made.inputs.dataset_of(role).table(".", DATASET).to_pylist()
    return {(row["corpus"], row["figure_id"]) for row in dataset if row["split"] == "train"}


def read_warriors(made: Made, role: str) -> dict[bool, list[dict[str, Any]]]:
    """A recogniser's answers to the warriors by whether their figure is in its training images."""
    assert made.inputs.faces
    rows = answers(made, role, made.inputs.faces["warriors"], "faces")
    known = seen(made, role)
    return {was: [r for r in rows if ((r["corpus"], r["figure_id"]) in known) == was] for was in (False, True)}
