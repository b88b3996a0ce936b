"""The stage that lets a recogniser answer on Ray Data: faces of photographs, animated faces, or a data set."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from twfer_dist.core.errors import UserError
from twfer_dist.core.schema import ANIMATED, DATASET, FACES, PREDICTIONS
from twfer_dist.core.status import LOW_CONFIDENCE, OK, OUT_OF_DISTRIBUTION, UNREADABLE
from twfer_dist.dataset import loader
from twfer_dist.engine import ray_cluster
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.config import Range, Settings
from twfer_dist.engine.kind import Input, Request, StageKind
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.reuse import row_digests
from twfer_dist.engine.shards import Step
from twfer_dist.engine.spec import StageSpec
from twfer_dist.recognition.recogniser import open_recogniser

VERSION = 2
ROWS_PER_SHARD = 256

SOURCES = {
    "faces": ("faces", FACES),
    "corrected": ("faces", FACES),
    "animate": (".", ANIMATED),
    "dataset": (".", DATASET),
}
"""The stages whose images can be answered for, with the table and schema that the images are in."""

_SEVEN = PREDICTIONS.field("probabilities").type


@dataclass(frozen=True)
class PredictConfig(Settings):
    """How images are answered for."""

    batch: Annotated[int, Range(1, 4096)] = 32  # images that the network sees together


def predict_job(
    inputs: Sequence[Artifact], model: Artifact, config: PredictConfig, *, actors: int | None = None, gpus: float = 0
) -> StageSpec:
    """Answers of the recogniser `model` (the output of a training) for every row of `inputs`: table ".": PREDICTIONS.

    inputs: outputs of faces, animate or dataset. A row without an image keeps its status; an image that cannot be
    decoded is "unreadable". All others have probabilities, predicted and confidence, and the status says what these are
    worth: "out_of_distribution" (further from the training images than their own 99th percentile), "low_confidence" (a
    confidence below the threshold of the training), else "ok". Groups of images that the network sees together are
    fixed, so the answers do not depend on how many actors there are. gpus: of each actor; an actor that asks for one
    computes on it. Problem where there is no input, one is of another stage or given twice, or `model` is no
    recogniser.
    """
    if not inputs:
        raise UserError("There are no images to answer for: name 'inputs', outputs of faces, animate or dataset.")
    for finished in inputs:
        if finished.manifest.stage not in SOURCES:
            raise UserError(
                f"{finished.uri} is the output of stage '{finished.manifest.stage}': images come from "
                f"{', '.join(SOURCES)}."
            )
    inputs = sorted(inputs, key=lambda finished: finished.digest)
    size = open_recogniser(model).size

    def do(work: StageOutput) -> None:
        plan = _plan(inputs, model)
        if len(plan) != pc.count_distinct(plan["image_id"]).as_py():
            raise UserError("The inputs hold the same images twice: name every finished output once.")
        fetch = Step(read, {"inputs": tuple(inputs), "size": size})
        answer = Step(Predictor, {"model": model, "batch": config.batch, "gpus": gpus}, gpus=gpus, actors=actors)
        work.map(
            plan, [fetch, answer], rows_per_shard=ROWS_PER_SHARD, reuse_key_columns=["image_id", "content", "model"]
        )

    named = {"model": model, **{f"images_{k}": finished for k, finished in enumerate(inputs)}}
    versions = {"torch": torch.__version__, "opencv": cv2.__version__}
    return StageSpec("predict", VERSION, named, config, versions, {".": PREDICTIONS}, do)


def _plan(inputs: Sequence[Artifact], model: Artifact) -> pa.Table:
    """image_id and input (an index) of each image, and what decides its answer: its row's content, and the model."""
    pieces = []
    for number, finished in enumerate(inputs):
        table, expected = SOURCES[finished.manifest.stage]
        rows = row_digests(finished, table, expected, _columns(expected)).rename_columns(["image_id", "content"])
        pieces.append(rows.append_column("input", pa.array(np.full(len(rows), number, np.int16))))
    plan = pa.concat_tables(pieces)
    return plan.append_column("model", pa.array([model.digest] * len(plan), pa.string()))


def _columns(expected: pa.Schema) -> list[str]:
    """What an answer takes from a row of a table of SOURCES."""
    split = ["split"] if "split" in expected.names else []
    return ["figure_id", "corpus", "label", "groups", "image", "status", "error", *split]


def read(plan: pa.Table, *, inputs: Sequence[Artifact], size: int) -> pa.Table:
    """What PREDICTIONS takes over from the planned rows, and `pixels`: RGB bytes of the image at `size`, or null."""
    pieces = []
    for number in plan["input"].unique().to_pylist():
        table, expected = SOURCES[inputs[number].manifest.stage]
        key, columns = expected.names[0], _columns(expected)
        ids = plan.filter(pc.equal(plan["input"], number))["image_id"].to_pylist()
        rows = inputs[number].table(table, expected, columns=[key, *columns], ids=ids)
        if "split" not in columns:
            rows = rows.append_column("split", pa.nulls(len(rows), pa.string()))
        pieces.append(rows.rename_columns({key: "image_id"}))
    rows = pa.concat_tables(pieces).sort_by("image_id")
    pixels, status, error = [], rows["status"].to_pylist(), rows["error"].to_pylist()
    for k, image in enumerate(rows["image"]):
        decoded = loader.decode(image.as_buffer(), size) if status[k] == OK and image.is_valid else None
        if status[k] == OK and decoded is None:
            status[k], error[k] = UNREADABLE, "the crop is not an image that can be decoded"
        pixels.append(None if decoded is None else decoded.tobytes())
    rows = rows.drop_columns(["image", "status", "error"])
    for name, values, kind in (
        ("pixels", pixels, pa.large_binary()),
        ("status", status, pa.string()),
        ("error", error, pa.string()),
    ):
        rows = rows.append_column(name, pa.array(values, kind))
    return rows


class Predictor:
    """An actor: the network, loaded once, on fixed groups of `batch` rows of a part, on one thread."""

    def __init__(self, model: Artifact, batch: int, gpus: float) -> None:
        torch.set_num_threads(1)
        self.device = ray_cluster.device(gpus)
        self.recogniser = open_recogniser(model)
        self.recogniser.network.to(self.device)
        self.batch = batch

    def __call__(self, rows: pa.Table) -> pa.Table:
        pixels, status, error = (rows[name].to_pylist() for name in ("pixels", "status", "error"))
        answered = np.array([p is not None for p in pixels])
        size, model = self.recogniser.size, self.recogniser
        probabilities = np.zeros((len(pixels), 7), np.float32)
        distances = np.zeros(len(pixels), np.float32)
        black = bytes(3 * size * size)
        for start in range(0, len(pixels), self.batch):
            group = slice(start, start + self.batch)
            count = len(pixels[group])
            # A row without an image, and a place without a row, take part as black: the size of a batch shows in an
            # answer's last bits.
            filled = [p or black for p in pixels[group]] + [black] * (self.batch - count)
            images = np.stack([np.frombuffer(p, np.uint8).reshape(size, size, 3) for p in filled])
            found, far = model.predict(images, self.device)
            probabilities[group], distances[group] = found[:count], far[:count]
        predicted = probabilities.argmax(1)
        confidence = probabilities.max(1)
        lowest = np.inf if model.threshold.confidence is None else model.threshold.confidence
        for k in np.flatnonzero(answered):
            if distances[k] > model.novelty.limit:
                status[k], error[k] = OUT_OF_DISTRIBUTION, "the face is unlike the images that the model was trained on"
            elif confidence[k] < lowest:
                status[k], error[k] = LOW_CONFIDENCE, "the model is not sure enough of its answer"
        columns = {
            "model": pa.array([model.name] * len(pixels)),
            "probabilities": pa.array(
                [row if ok else None for row, ok in zip(probabilities.tolist(), answered, strict=True)], _SEVEN
            ),
            "predicted": pa.array(predicted.astype(np.int8) + 1, pa.int8(), mask=~answered),
            "confidence": pa.array(confidence, pa.float32(), mask=~answered),
            "status": pa.array(status, pa.string()),
            "error": pa.array(error, pa.string()),
        }
        kept = {name: rows[name] for name in rows.column_names if name in PREDICTIONS.names and name not in columns}
        return pa.table(kept | columns)


def _build(request: Request) -> StageSpec:
    compute = request.compute
    return predict_job(
        request.all("inputs"), request.one("model"), request.config, gpus=compute.gpus, actors=compute.actors
    )


KIND = StageKind(
    "predict",
    config=PredictConfig,
    inputs=(Input("inputs", tuple(SOURCES), several=True), Input("model", ("train",))),
    build=_build,
)
