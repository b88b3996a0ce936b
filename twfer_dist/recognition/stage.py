"""The stage that predicts expressions on Ray Data: for faces of photographs, animated faces, or a data set."""

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
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.dataset import loader
from twfer_dist.engine import resources
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

IMAGE_TABLES = {
    "faces": ("faces", FACES),
    "corrected": ("faces", FACES),
    "animate": (".", ANIMATED),
    "dataset": (".", DATASET),
}
"""The stages whose images can be predicted, with the table and the schema that hold the images."""


@dataclass(frozen=True)
class PredictConfig(Settings):
    """How images are predicted."""

    batch: Annotated[int, Range(1, 4096)] = 32  # images that the network processes together


def predict_spec(
    inputs: Sequence[Artifact], model: Artifact, config: PredictConfig, *, actors: int | None = None, gpus: float = 0
) -> StageSpec:
    """Predictions of the recogniser `model`, the output of a training, for every row of `inputs`: table PREDICTIONS.

    inputs: outputs of faces, animate or dataset. A row without an image keeps its status; an image that cannot be
    decoded is "unreadable". All others have probabilities, predicted and confidence, and their status is
    "out_of_distribution" (farther from the training images than the 99th percentile of the validation images), else
    "low_confidence" (below the model's threshold), else "ok". The groups of images that the network processes together
    are fixed, so predictions do not depend on the number of actors. gpus: for each actor; an actor with a GPU computes
    on it. Raises UserError where there is no input, one is of another stage or named twice, or `model` is not a
    recogniser.
    """
    if not inputs:
        raise UserError("There are no images to predict: name 'inputs', outputs of faces, animate or dataset.")
    for artifact in inputs:
        if artifact.manifest.stage not in IMAGE_TABLES:
            raise UserError(
                f"{artifact.uri} is the output of stage '{artifact.manifest.stage}', which holds no images to "
                f"predict: name outputs of {', '.join(IMAGE_TABLES)}."
            )
    inputs = sorted(inputs, key=lambda artifact: artifact.digest)
    size = open_recogniser(model).size

    def do(output: StageOutput) -> None:
        plan = _plan(inputs, model)
        if len(plan) != pc.count_distinct(plan["image_id"]).as_py():
            raise UserError("The inputs hold the same images twice: name every output once.")
        fetch = Step(read, {"inputs": tuple(inputs), "size": size})
        predict = Step(Predictor, {"model": model, "batch": config.batch, "gpus": gpus}, gpus=gpus, actors=actors)
        reuse_key_columns = ["image_id", "row_digest", "model"]
        output.map(plan, [fetch, predict], rows_per_shard=ROWS_PER_SHARD, reuse_key_columns=reuse_key_columns)

    named = {"model": model, **{f"images_{k}": artifact for k, artifact in enumerate(inputs)}}
    versions = {"torch": torch.__version__, "opencv": cv2.__version__}
    return StageSpec("predict", VERSION, named, config, versions, {".": PREDICTIONS}, do)


def _plan(inputs: Sequence[Artifact], model: Artifact) -> pa.Table:
    """image_id and input (an index) of each image, and what decides its prediction: `row_digest` and `model`."""
    pieces = []
    for index, artifact in enumerate(inputs):
        table, expected = IMAGE_TABLES[artifact.manifest.stage]
        rows = row_digests(artifact, table, expected, _columns(expected)).rename_columns(["image_id", "row_digest"])
        pieces.append(rows.append_column("input", pa.array(np.full(len(rows), index, np.int16))))
    plan = pa.concat_tables(pieces)
    return plan.append_column("model", pa.array([model.digest] * len(plan), pa.string()))


def _columns(expected: pa.Schema) -> list[str]:
    """The columns of IMAGE_TABLES that decide a prediction's row."""
    split = ["split"] if "split" in expected.names else []
    return ["figure_id", "corpus", "label", "groups", "image", "status", "error", *split]


def read(plan: pa.Table, *, inputs: Sequence[Artifact], size: int) -> pa.Table:
    """The columns of PREDICTIONS known before, and `pixels`: RGB bytes of the image at `size`, or null."""
    pieces = []
    for index in plan["input"].unique().to_pylist():
        table, expected = IMAGE_TABLES[inputs[index].manifest.stage]
        key, columns = expected.names[0], _columns(expected)
        ids = plan.filter(pc.equal(plan["input"], index))["image_id"].to_pylist()
        rows = inputs[index].table(table, expected, columns=[key, *columns], ids=ids)
        if "split" not in columns:
            rows = rows.append_column("split", pa.nulls(len(rows), pa.string()))
        pieces.append(rows.rename_columns({key: "image_id"}))
    rows = pa.concat_tables(pieces).sort_by("image_id")
    pixels, status, error = [], rows["status"].to_pylist(), rows["error"].to_pylist()
    for k, image in enumerate(rows["image"]):
        decoded = loader.decode(image.as_buffer(), size) if status[k] == OK and image.is_valid else None
        if status[k] == OK and decoded is None:
            status[k], error[k] = UNREADABLE, "the image cannot be decoded"
        pixels.append(None if decoded is None else decoded.tobytes())
    return (
        rows.drop_columns(["image", "status", "error"])
        .append_column("pixels", pa.array(pixels, pa.large_binary()))
        .append_column("status", pa.array(status, pa.string()))
        .append_column("error", pa.array(error, pa.string()))
    )


class Predictor:
    """An actor with the network, on one thread: predicts the rows of a shard, `batch` at a time."""

    def __init__(self, model: Artifact, batch: int, gpus: float) -> None:
        torch.set_num_threads(1)
        self.device = resources.device(gpus)
        self.recogniser = open_recogniser(model)
        self.recogniser.network.to(self.device)
        self.batch = batch

    def __call__(self, rows: pa.Table) -> pa.Table:
        pixels = rows["pixels"].to_pylist()
        readable = np.array([p is not None for p in pixels])
        probabilities, distances = self._predict(pixels)
        predicted, confidence = probabilities.argmax(1), probabilities.max(1)
        status, error = rows["status"].to_pylist(), rows["error"].to_pylist()
        for k in np.flatnonzero(readable):
            status[k], error[k] = self._status(confidence[k], distances[k], status[k], error[k])
        listed = [row if ok else None for row, ok in zip(probabilities.tolist(), readable, strict=True)]
        columns = {
            "model": pa.array([self.recogniser.name] * len(pixels)),
            "probabilities": pa.array(listed, PREDICTIONS.field("probabilities").type),
            "predicted": pa.array(predicted.astype(np.int8) + 1, pa.int8(), mask=~readable),
            "confidence": pa.array(confidence, pa.float32(), mask=~readable),
            "status": pa.array(status, pa.string()),
            "error": pa.array(error, pa.string()),
        }
        kept = {name: rows[name] for name in rows.column_names if name in PREDICTIONS.names and name not in columns}
        return pa.table(kept | columns)

    def _predict(self, pixels: Sequence[bytes | None]) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities (N, 7) and distances from the training images (N,), float32."""
        size = self.recogniser.size
        probabilities = np.zeros((len(pixels), len(EXPRESSIONS)), np.float32)
        distances = np.zeros(len(pixels), np.float32)
        black = bytes(3 * size * size)
        for start in range(0, len(pixels), self.batch):
            group = slice(start, start + self.batch)
            count = len(pixels[group])
            # Missing images and missing rows are filled with black: the batch size shows in a prediction's last bits.
            filled = [p or black for p in pixels[group]] + [black] * (self.batch - count)
            images = np.stack([np.frombuffer(p, np.uint8).reshape(size, size, 3) for p in filled])
            of_batch, distances_of_batch = self.recogniser.predict(images, self.device)
            probabilities[group], distances[group] = of_batch[:count], distances_of_batch[:count]
        return probabilities, distances

    def _status(self, confidence: float, distance: float, status: str, error: str) -> tuple[str, str]:
        """The status and error of a prediction; the given ones where it is accepted."""
        threshold = self.recogniser.threshold.confidence
        if distance > self.recogniser.novelty.limit:
            return OUT_OF_DISTRIBUTION, "the face is unlike the images that the model was trained on"
        if threshold is None or confidence < threshold:
            return LOW_CONFIDENCE, "the confidence is below the model's threshold"
        return status, error


def _build(request: Request) -> StageSpec:
    compute = request.compute
    return predict_spec(
        request.all("inputs"), request.one("model"), request.config, gpus=compute.gpus, actors=compute.actors
    )


KIND = StageKind(
    "predict",
    config=PredictConfig,
    inputs=(Input("inputs", tuple(IMAGE_TABLES), several=True), Input("model", ("train",))),
    build=_build,
)
