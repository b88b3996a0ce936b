"""The stage that embeds faces on Ray Data: a network's features of every face, for all comparisons."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from twfer_dist.core import images
from twfer_dist.core.errors import UserError
from twfer_dist.core.landmarks import apply_affine
from twfer_dist.core.schema import FACES
from twfer_dist.core.status import OK, UNREADABLE
from twfer_dist.dataset.loader import LARGEST_SIDE
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.config import Settings
from twfer_dist.engine.id_ranges import IdTable
from twfer_dist.engine.input_plan import PlannedInput, plan_inputs, with_constants
from twfer_dist.engine.kind import Input, InputFile, Request, StageKind
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.plan import Plan
from twfer_dist.engine.shards import Step
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.workload import Workload, joined
from twfer_dist.recognition.stage import IMAGE_TABLES
from twfer_dist.similarity.networks import SHIPPED, NetworkFile, unit
from twfer_dist.similarity.tables import EMBEDDINGS

VERSION = 1
ROWS_PER_SHARD = 256
THUMBNAIL = 96
"""Side in pixels of the picture that is kept beside an embedding."""

_QUALITY = 85
_COLUMNS = ("corpus", "figure_id", "path", "label", "split", "groups", "image", "status", "error")
_POINTS = ("landmarks68", "crop_matrix")


@dataclass(frozen=True)
class EmbedConfig(Settings):
    """Embedding has no settings besides the network."""


def embed_spec(
    inputs: Sequence[Artifact],
    config: EmbedConfig,
    *,
    network: str = SHIPPED,
    model: Artifact | None = None,
    actors: int | None = None,
) -> StageSpec:
    """The features of every row of `inputs`: table EMBEDDINGS.

    inputs: outputs of faces, corrected, animate or dataset. network: the weights of an identity network
    (.safetensors) or of a face-recognition network for OpenCV (.onnx). model: the output of a training, whose features
    are taken instead. A row without a result keeps its status; an image that cannot be decoded is "unreadable". Each
    face is embedded by itself, so that the embeddings do not depend on the number of actors. Raises UserError where
    the network cannot be opened or an input holds no images.
    """
    for artifact in inputs:
        if artifact.manifest.stage not in IMAGE_TABLES:
            raise UserError(
                f"{artifact.uri} is the output of stage '{artifact.manifest.stage}', which holds no faces to embed: "
                f"name outputs of {', '.join(IMAGE_TABLES)}."
            )
    inputs = sorted(inputs, key=lambda artifact: artifact.digest)
    file = NetworkFile("" if model else storage.absolute(network), model)
    name, digest = file.open().name, file.digest

    def do(output: StageOutput) -> None:
        plan = _plan(inputs, digest)
        steps = [Step(fetch, {"inputs": tuple(inputs)}), Step(FaceEmbedder, {"file": file}, actors=actors)]
        output.map(plan, steps, rows_per_shard=ROWS_PER_SHARD, reuse_key_columns=["image_id", "row_digest", "network"])
        output.results |= {"network": name, "summary": [f"features of the {name}"]}

    named = {f"faces_{number}": artifact for number, artifact in enumerate(inputs)}
    named |= {"model": model} if model else {}
    models = {"torch": torch.__version__, "opencv": cv2.__version__} | ({} if model else {"network": digest})
    return StageSpec("embed", VERSION, named, config, models, {".": EMBEDDINGS}, do)


def _present(expected: pa.Schema) -> list[str]:
    """The columns that an embedding's row is made from, of those that a table has."""
    return [name for name in (*_COLUMNS, *_POINTS) if name in expected.names]


def _plan(inputs: Sequence[Artifact], network: str) -> Plan:
    """image_id and input (an index) of each face, and what decides its row: `row_digest` and `network`."""
    planned = []
    for artifact in inputs:
        table, expected = IMAGE_TABLES[artifact.manifest.stage]
        planned.append(PlannedInput(IdTable(artifact, table, expected), _present(expected)))
    return plan_inputs(planned, partial(with_constants, values={"network": network}))


def fetch(plan: pa.Table, *, inputs: Sequence[Artifact]) -> pa.Table:
    """image_id, _COLUMNS and _POINTS of the planned faces, sorted by id; null where a table has no such column."""
    pieces = []
    for index in plan["input"].unique().to_pylist():
        table, expected = IMAGE_TABLES[inputs[index].manifest.stage]
        key, present = expected.names[0], _present(expected)
        ids = plan.filter(pc.equal(plan["input"], index))["image_id"].to_pylist()
        rows = inputs[index].table(table, expected, columns=[key, *present], ids=ids)
        for name in (*_COLUMNS, *_POINTS):
            if name not in present:
                rows = rows.append_column(name, pa.nulls(len(rows), FACES.field(name).type))
        pieces.append(rows.rename_columns({key: "image_id"}).select(["image_id", *_COLUMNS, *_POINTS]))
    return pa.concat_tables(pieces).sort_by("image_id")


class FaceEmbedder:
    """An actor with the network, on one thread: embeds the faces of a shard one by one."""

    def __init__(self, file: NetworkFile) -> None:
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        self.network = file.open()

    def __call__(self, faces: pa.Table) -> pa.Table:
        return pa.Table.from_pylist([self._row(face) for face in faces.to_pylist()], schema=EMBEDDINGS)

    def _row(self, face: Mapping[str, Any]) -> dict[str, Any]:
        crop = images.decode(face["image"], LARGEST_SIDE) if face["image"] else None
        known = {name: value for name, value in face.items() if name in EMBEDDINGS.names}
        row = {**known, "network": self.network.name, "embedding": None, "image": None}
        if crop is None:
            broken = {"status": UNREADABLE, "error": "the image cannot be decoded"}
            return row | (broken if face["status"] == OK else {})
        row["image"] = images.encode_jpeg(images.resize_square(crop, THUMBNAIL), _QUALITY)
        if face["status"] == OK:
            row["embedding"] = unit(self.network.embed(crop, _points(face)))
        return row


def _points(face: Mapping[str, Any]) -> np.ndarray | None:
    """The 68 points in pixels of the crop, float32 (68, 2); None where they were not measured."""
    if not face["landmarks68"]:
        return None
    matrix = np.array(face["crop_matrix"], np.float32).reshape(2, 3)
    return apply_affine(np.array(face["landmarks68"], np.float32), matrix).astype(np.float32)


def _build(request: Request) -> StageSpec:
    return embed_spec(
        request.all("inputs"),
        request.config,
        network=request.files.get("network", SHIPPED),
        model=request.one("model"),
        actors=request.compute.actors,
    )


def _check(request: Request) -> None:
    if request.all("model") and "network" in request.files:
        raise UserError("'model' and 'network' both name what embeds the faces: name one of them.")


def _workload(request: Request) -> Workload | None:
    if request.files.get("network"):
        return None  # a network of the user's own
    images = joined(request.all("inputs"))
    rate = f"embed {request.one('model').model}" if request.one("model") else "embed"
    return Workload(rate, images.rows, "faces", images, request.compute.actors)


KIND = StageKind(
    "embed",
    makes="the features of every face, by which faces are compared",
    config=EmbedConfig,
    inputs=(
        Input("inputs", tuple(IMAGE_TABLES), several=True),
        Input("model", ("train",), optional=True),
    ),
    files=(InputFile("network", "SFace's .onnx, or the weights of an identity network; the included one if left out"),),
    build=_build,
    workload=_workload,
    check=_check,
)
