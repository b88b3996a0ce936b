"""The stage that predicts expressions on Ray Data: for faces of photographs, animated faces, or a data set."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from twfer_dist.core.errors import UserError
from twfer_dist.core.schema import ANIMATED, DATASET, FACES, PREDICTIONS
from twfer_dist.core.status import OK, UNREADABLE
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.dataset import loader
from twfer_dist.engine import resources
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.config import Range, Settings
from twfer_dist.engine.id_ranges import IdTable
from twfer_dist.engine.input_plan import PlannedInput, plan_inputs
from twfer_dist.engine.kind import Input, Request, StageKind
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.plan import Plan
from twfer_dist.engine.shards import Step
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.workload import Workload, joined
from twfer_dist.recognition import cross_fitting
from twfer_dist.recognition.cross_fitting import CrossFit, cross_fit
from twfer_dist.recognition.image_readers import FIGURE, count_figures, with_readers
from twfer_dist.recognition.recogniser import Recogniser, open_recogniser

VERSION = 2
ROWS_PER_SHARD = 256
REUSE_KEY_COLUMNS = ("image_id", "row_digest", "model")

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
    inputs: Sequence[Artifact],
    models: Sequence[Artifact],
    config: PredictConfig,
    *,
    datasets: Sequence[Artifact] = (),
    actors: int | None = None,
    gpus: float = 0,
) -> StageSpec:
    """Predictions of a recogniser, the output of a training, for every row of `inputs`: table PREDICTIONS.

    inputs: outputs of faces, animate or dataset. models: one training, or several of one network, which are
    cross-fitted: each image is read by one of them that saw its figure neither in training nor in validation;
    `datasets` are those that they were trained on, `results["cross_fitted"]` and `cross-fitting.csv` say which training
    read what.

    A row without an image keeps its status; an image that cannot be decoded is "unreadable". All others have
    probabilities, predicted and confidence, and their status is "out_of_distribution" (farther from the training images
    than the 99th percentile of the held-out images), else "low_confidence" (below the model's threshold), else "ok".
    The groups of images that the network processes together are fixed, so predictions do not depend on the number of
    actors. gpus: for each actor; an actor with a GPU computes on it. Raises UserError where there is no input, one is
    of another stage or named twice, a model is not a recogniser, or every model saw a figure.
    """
    _check_inputs(inputs)
    inputs = sorted(inputs, key=lambda artifact: artifact.digest)
    fit = cross_fit(models, datasets) if len(models) > 1 else None
    size = open_recogniser(models[0]).size

    def do(output: StageOutput) -> None:
        plan = _plan(inputs, models, fit, output)
        fetch = Step(read, {"inputs": tuple(inputs), "size": size})
        actor = {"models": tuple(models), "name": fit and fit.name, "batch": config.batch, "gpus": gpus}
        predict = Step(Predictor, actor, gpus=gpus, actors=actors)
        output.map(plan, [fetch, predict], rows_per_shard=ROWS_PER_SHARD, reuse_key_columns=REUSE_KEY_COLUMNS)

    named = {"model": models[0]} if fit is None else {f"model_{k}": model for k, model in enumerate(models)}
    named |= {f"images_{k}": artifact for k, artifact in enumerate(inputs)}
    named |= {f"dataset_{k}": artifact for k, artifact in enumerate(datasets)}
    versions = {"torch": torch.__version__, "opencv": cv2.__version__}
    return StageSpec("predict", VERSION, named, config, versions, {".": PREDICTIONS}, do)


def _check_inputs(inputs: Sequence[Artifact]) -> None:
    if not inputs:
        raise UserError("There are no images to predict: name 'inputs', outputs of faces, animate or dataset.")
    for artifact in inputs:
        if artifact.manifest.stage not in IMAGE_TABLES:
            raise UserError(
                f"{artifact.uri} is the output of stage '{artifact.manifest.stage}', which holds no images to "
                f"predict: name outputs of {', '.join(IMAGE_TABLES)}."
            )


def _plan(inputs: Sequence[Artifact], models: Sequence[Artifact], fit: CrossFit | None, output: StageOutput) -> Plan:
    """image_id, input and reader (indices of `inputs` and `models`) of each image, and what decides its prediction:
    `row_digest` and `model`. Which training reads which figure is written into `output`.
    """
    tables = [IdTable(artifact, *IMAGE_TABLES[artifact.manifest.stage]) for artifact in inputs]
    digests = pa.array([model.digest + (", cross-fitted" if fit else "") for model in models], pa.string())
    named, readers = pa.array([], pa.string()), np.zeros(0, np.int16)
    if fit:
        named, images = count_figures(tables)
        readers = fit.assign(named)
        output.results |= fit.results(named, images, readers)
        output.write_file(cross_fitting.FILE, fit.as_csv(named, readers))
    planned = [PlannedInput(table, _columns(table.schema), FIGURE if fit else ()) for table in tables]
    return plan_inputs(planned, partial(with_readers, digests=digests, named=named, readers=readers))


def _columns(expected: pa.Schema) -> list[str]:
    """The columns of IMAGE_TABLES that decide a prediction's row."""
    split = ["split"] if "split" in expected.names else []
    return ["figure_id", "corpus", "label", "groups", "image", "status", "error", *split]


def read(plan: pa.Table, *, inputs: Sequence[Artifact], size: int) -> pa.Table:
    """The columns of PREDICTIONS known before, `reader` as planned, and `pixels`: RGB bytes of the image at `size`, or
    null.
    """
    pieces = []
    for index in plan["input"].unique().to_pylist():
        table, expected = IMAGE_TABLES[inputs[index].manifest.stage]
        key, columns = expected.names[0], _columns(expected)
        ids = plan.filter(pc.equal(plan["input"], index))["image_id"].to_pylist()
        rows = inputs[index].table(table, expected, columns=[key, *columns], ids=ids)
        if "split" not in columns:
            rows = rows.append_column("split", pa.nulls(len(rows), pa.string()))
        pieces.append(rows.rename_columns({key: "image_id"}))
    rows = pa.concat_tables(pieces).sort_by("image_id").append_column("reader", plan["reader"])
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
    """An actor with the networks, on one thread: predicts the rows of a shard, `batch` of one network at a time.

    name: of all models together in tables; None for a single model, which has its own.
    """

    def __init__(self, models: Sequence[Artifact], name: str | None, batch: int, gpus: float) -> None:
        torch.set_num_threads(1)
        self.device = resources.device(gpus)
        self.recognisers = [open_recogniser(model) for model in models]
        for recogniser in self.recognisers:
            recogniser.network.to(self.device)
        self.name = name or self.recognisers[0].name
        self.batch = batch

    def __call__(self, rows: pa.Table) -> pa.Table:
        pixels, readers = rows["pixels"].to_pylist(), rows["reader"].to_numpy()
        readable = np.array([p is not None for p in pixels])
        probabilities = np.zeros((len(pixels), len(EXPRESSIONS)), np.float32)
        distances = np.zeros(len(pixels), np.float32)
        for number in np.unique(readers):
            mine = np.flatnonzero(readers == number)
            predictions = self._predict(self.recognisers[number], [pixels[k] for k in mine])
            probabilities[mine], distances[mine] = predictions
        predicted, confidence = probabilities.argmax(1), probabilities.max(1)
        status, error = rows["status"].to_pylist(), rows["error"].to_pylist()
        for k in np.flatnonzero(readable):
            verdict, reason = self.recognisers[readers[k]].verdict(confidence[k], distances[k])
            if verdict != OK:
                status[k], error[k] = verdict, reason
        listed = [row if ok else None for row, ok in zip(probabilities.tolist(), readable, strict=True)]
        columns = {
            "model": pa.array([self.name] * len(pixels)),
            "probabilities": pa.array(listed, PREDICTIONS.field("probabilities").type),
            "predicted": pa.array(predicted.astype(np.int8) + 1, pa.int8(), mask=~readable),
            "confidence": pa.array(confidence, pa.float32(), mask=~readable),
            "status": pa.array(status, pa.string()),
            "error": pa.array(error, pa.string()),
        }
        kept = {name: rows[name] for name in rows.column_names if name in PREDICTIONS.names and name not in columns}
        return pa.table(kept | columns)

    def _predict(self, recogniser: Recogniser, pixels: Sequence[bytes | None]) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities (N, 7) and distances from the training images (N,), float32."""
        size = recogniser.size
        probabilities = np.zeros((len(pixels), len(EXPRESSIONS)), np.float32)
        distances = np.zeros(len(pixels), np.float32)
        black = bytes(3 * size * size)
        for start in range(0, len(pixels), self.batch):
            group = slice(start, start + self.batch)
            count = len(pixels[group])
            # Missing images and missing rows are filled with black: the batch size shows in a prediction's last bits.
            filled = [p or black for p in pixels[group]] + [black] * (self.batch - count)
            images = np.stack([np.frombuffer(p, np.uint8).reshape(size, size, 3) for p in filled])
            of_batch, distances_of_batch = recogniser.predict(images, self.device)
            probabilities[group], distances[group] = of_batch[:count], distances_of_batch[:count]
        return probabilities, distances


def _build(request: Request) -> StageSpec:
    compute = request.compute
    return predict_spec(
        request.all("inputs"),
        request.all("model"),
        request.config,
        datasets=request.all("datasets"),
        gpus=compute.gpus,
        actors=compute.actors,
    )


def _check(request: Request) -> None:
    if (len(request.all("model")) > 1) != bool(request.all("datasets")):
        raise UserError(
            "Several models are cross-fitted and need 'datasets', those that they were trained on, to know which faces "
            "each may read; a single model takes none: name both or neither."
        )


def _workload(request: Request) -> Workload:
    images = joined(request.all("inputs"))
    network, size = request.one("model").model.split()
    rate = f"predict {network}" + (" on a GPU" if request.compute.gpus else "")
    return Workload(rate, images.rows * int(size) ** 2 / 1e6, "megapixels", images, request.compute.actors)


KIND = StageKind(
    "predict",
    makes="an expression and a calibrated confidence for each image; several models are cross-fitted",
    config=PredictConfig,
    inputs=(
        Input("inputs", tuple(IMAGE_TABLES), several=True),
        Input("model", ("train",), several=True),
        Input("datasets", ("dataset",), several=True, optional=True),
    ),
    build=_build,
    workload=_workload,
    check=_check,
)
