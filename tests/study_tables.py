"""Small finished outputs of known content for the tests of the study: faces, animated faces, a data set, predictions,
models.
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image, ImageDraw

from twfer_dist.core.credit import Credit
from twfer_dist.core.schema import ANIMATED, DATASET, FACES, PHOTOGRAPHS, PREDICTIONS, photo_id
from twfer_dist.core.status import OK
from twfer_dist.core.taxonomy import EXPRESSIONS, POSTURES
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import run_stage
from twfer_dist.faces.credits import write_credits
from twfer_dist.recognition.calibration import threshold
from twfer_dist.recognition.search import SweepConfig
from twfer_dist.recognition.sweep_results import TRIALS
from twfer_dist.recognition.train_config import TrainConfig
from twfer_dist.study import metrics

Row = dict[str, Any]
NASTY = '"><script>alert(1)</script>&lt;脸.jpg'


def output(
    out: str,
    stage: str,
    tables: Mapping[str, tuple[pa.Schema, list[Row]]],
    inputs: Sequence[Artifact] = (),
    **results: object,
) -> Artifact:
    """A finished stage with these tables, made by the engine; fields that a row lacks are null."""

    def do(stage_output: StageOutput) -> None:
        stage_output.results = results
        for name, (schema, rows) in tables.items():
            whole = [{key: row.get(key) for key in schema.names} for row in rows]
            stage_output.write_table(name, pa.Table.from_pylist(whole, schema=schema))

    config = {"rows": storage.digest([[str(row) for row in rows] for _, rows in tables.values()]), "results": results}
    schemas = {name: schema for name, (schema, _) in tables.items()}
    named = {f"input-{k}": artifact for k, artifact in enumerate(inputs)}
    return run_stage(StageSpec(stage, 1, named, config, {}, schemas, do), out, quiet=True)


def face_picture(number: int, label: int) -> bytes:
    """A drawn face: the mouth follows the label."""
    picture = Image.new("RGB", (96, 96), (150 + number % 40, 110, 80))
    draw = ImageDraw.Draw(picture)
    draw.ellipse((12, 6, 84, 92), fill=(196, 150, 112))
    for x in (34, 62):
        draw.ellipse((x - 5, 36, x + 5, 44), fill=(60, 40, 30))
    bend = (label - 4) * 4
    draw.line([(32, 68), (48, 68 + bend), (64, 68)], fill=(90, 40, 30), width=4)
    sink = io.BytesIO()
    picture.save(sink, "PNG")
    return sink.getvalue()


def answer_to(truth: int, number: int, skill: float) -> Row:
    """The prediction of a model of this skill: the truth, or its neighbour, decided by the number alone."""
    random = np.random.default_rng(number)
    predicted = truth if random.random() < skill else truth % 7 + 1
    probabilities = random.dirichlet(np.ones(7)).astype(np.float32) * 0.4
    probabilities[predicted - 1] += 0.6
    return {
        "predicted": predicted,
        "probabilities": probabilities.tolist(),
        "confidence": float(probabilities[predicted - 1]),
    }


def make_faces(
    out: str, *, corpus: str = "warriors", figures: int = 60, labelled: bool = True, action_units: bool = True
) -> Artifact:
    """A faces stage: `figures` photographs with one face each in five postures, one broken file, one without a face."""
    photographs: list[Row] = []
    faces: list[Row] = []
    for k in range(figures):
        label = k % 7 + 1
        path = NASTY if k == 3 else f"figure {k:03d}.jpg"
        shared = {
            "photo_id": photo_id(corpus, path),
            "corpus": corpus,
            "path": path,
            "figure_id": f"figure-{k:03d}",
            "label": label if labelled else None,
            "groups": [("posture", POSTURES[min(k // 12, 4)]), ("number", str(k))],
            "action_units": (np.eye(17)[label] * 4).tolist() if action_units else None,
            "width": 96,
            "height": 96,
            "status": OK,
        }
        image = face_picture(k, label)
        photographs.append({**shared, "faces": 1})
        face_id = f"{shared['photo_id']}-0"
        faces.append({**shared, "face_id": face_id, "rank": 0, "detector": "drawn", "score": 1.0, "image": image})
    for path, status, error in (
        ("broken.jpg", "unreadable", f"{NASTY} ends early"),
        ("vase.jpg", "no_face", "no face was found"),
    ):
        failed = {"photo_id": photo_id(corpus, path), "corpus": corpus, "path": path, "status": status, "error": error}
        photographs.append(failed)
    tables = {"photographs": (PHOTOGRAPHS, photographs), "faces": (FACES, faces)}
    return output(out, "faces", tables, detector="drawn 1: by hand")


def make_animated(out: str, faces: Artifact, figures: int = 20) -> Artifact:
    """The first faces at four levels of each expression."""
    rows = []
    for number, face in enumerate(faces.table("faces", FACES).to_pylist()[:figures]):
        for label, expression in enumerate(EXPRESSIONS, 1):
            for level in range(1, 5):
                rows.append(
                    {
                        **{key: face[key] for key in ("face_id", "corpus", "figure_id", "groups")},
                        "image_id": f"{face['face_id']}-{expression}-1-{level}",
                        "label": label,
                        "level": level,
                        "intensity": level / 5,
                        "reference_id": "r",
                        "action_units": (np.eye(17)[label] * level).tolist(),
                        "image": face_picture(number + 10 * level, label),
                        "width": 96,
                        "height": 96,
                        "status": OK,
                    }
                )
    return output(out, "animate", {".": (ANIMATED, rows)}, [faces])


def make_dataset(out: str, animated: Artifact) -> Artifact:
    """The animated images, split by figure."""
    rows = animated.table(".", ANIMATED).to_pylist()
    figure_ids = sorted({row["figure_id"] for row in rows})
    split = {s: "test" if k % 5 == 0 else "validation" if k % 5 == 1 else "train" for k, s in enumerate(figure_ids)}
    rows = [{**row, "split": split[row["figure_id"]], "origin": "animated"} for row in rows]
    return output(out, "dataset", {".": (DATASET, rows)}, [animated])


def make_predictions(out: str, of: Sequence[Artifact], model: str, skill: float) -> Artifact:
    """A model's answers to data sets and to faces, in one table; every ninth face has low confidence."""
    rows = []
    for artifact in of:
        of_faces = artifact.manifest.stage == "faces"
        table = artifact.table("faces", FACES) if of_faces else artifact.table(".", DATASET)
        for number, row in enumerate(table.to_pylist()):
            unsure = {"status": "low_confidence", "error": "confidence 0.2 is under 0.5"}
            rows.append(
                {
                    **{key: row[key] for key in ("figure_id", "corpus", "split", "label", "groups")},
                    **(unsure if of_faces and number % 9 == 0 else {"status": OK}),
                    **answer_to(row["label"] or number % 7 + 1, number, skill),
                    "image_id": row["face_id"] if of_faces else row["image_id"],
                    "model": model,
                }
            )
    return output(out, "predict", {".": (PREDICTIONS, rows)}, of)


def images_of(*predictions: Artifact) -> pa.Table:
    """All predicted images, under their own split."""
    empty = pa.table({"image_id": pa.array([], pa.string()), "split": pa.array([], pa.string())})
    return pa.concat_tables([empty, *(p.table(".", PREDICTIONS, columns=["image_id", "split"]) for p in predictions)])


@dataclass(frozen=True)
class World:
    """Two models, a data set of animated faces, and photographs of which a third show figures of the data set."""

    out: str
    faces: Artifact
    animated: Artifact
    dataset: Artifact
    predictions: list[Artifact]


def make_world(out: str) -> World:
    faces = make_faces(out)
    animated = make_animated(out, faces)
    dataset = make_dataset(out, animated)
    skills = {"ARM": 0.8, "ResNet-18": 0.6}
    predictions = [make_predictions(out, [dataset, faces], model, skill) for model, skill in skills.items()]
    return World(out, faces, animated, dataset, predictions)


def make_training(
    out: str, dataset: Artifact, config: TrainConfig, right: int, held_out: Row | None = None
) -> Artifact:
    """The output of a training as the report reads it, with `right` of the 32 validation images of each expression and
    the errors that it recorded.
    """
    confusion = (right * np.eye(7, dtype=int) + (32 - right) * np.roll(np.eye(7, dtype=int), 1, axis=1)).tolist()
    scores = {"loss": 0.1, "accuracy": right / 32, "balanced_accuracy": right / 32, "n": 224, "confusion": confusion}
    results = {
        "scores": dict.fromkeys(metrics.SPLITS, scores),
        "best_epoch": 2,
        "temperature": 1.1,
        "threshold": asdict(threshold(np.linspace(0.2, 1, 224), np.arange(224) > 60, 0.8)),
        "novelty": {"limit": 9.0, "percentile": 99.0, "images": 672},
        "images": {"train": 672, "validation": 224, "test": 224},
        "validation_held_out": False,
        "held_out": held_out,
    }

    def do(stage_output: StageOutput) -> None:
        stage_output.write_file("weights", f"{config.network} {config.seed}".encode())  # no two trainings end alike
        stage_output.results.update(results)

    return run_stage(StageSpec("train", 1, {"dataset": dataset}, config, {}, {}, do), out, quiet=True)


def credited(out: str, faces: Artifact, credits: dict[str, Credit]) -> Artifact:
    """The same faces with these credits of their photographs."""

    def do(made: StageOutput) -> None:
        for name, schema in (("photographs", PHOTOGRAPHS), ("faces", FACES)):
            made.write_table(name, faces.table(name, schema))
        write_credits(made, credits)
        made.results = faces.results

    schemas = {"photographs": PHOTOGRAPHS, "faces": FACES}
    return run_stage(StageSpec("faces", 1, {"before": faces}, {}, {}, schemas, do), out, quiet=True)


def make_sweep(out: str, dataset: Artifact) -> Artifact:
    def do(stage_output: StageOutput) -> None:
        scores = {"accuracy/validation": 56 / 112, "balanced_accuracy/validation": 0.5, "epochs": 2, "best_epoch": 1}
        trials = [{**scores, **point} for point in config.points()]
        trials[2] |= {"accuracy/validation": 84 / 112, "balanced_accuracy/validation": 0.75}
        histories = [trial | {"history": [{"epoch": 1, **trial}, {"epoch": 2, **scores}]} for trial in trials]
        stage_output.write_file(TRIALS, json.dumps(histories).encode())
        swept = [dimension.name for dimension in config.dimensions]
        stage_output.results = {"swept": swept, "trials": trials, "best": 2, "validation_images": 112}

    config = SweepConfig(train=TrainConfig(network="resnet18", size=64), trials=4)
    return run_stage(StageSpec("sweep", 1, {"dataset": dataset}, config, {}, {}, do), out)
