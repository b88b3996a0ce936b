"""The stage that measures rendered heads, as photographs might show them, on Ray Data: what the reader learns from."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import cv2
import numpy as np
import pyarrow as pa
import torch

from twfer_dist.core import images, schema
from twfer_dist.core.status import OK
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.config import Range, Settings
from twfer_dist.engine.kind import Input, InputFile, Request, StageKind
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.shards import Step
from twfer_dist.engine.spec import StageSpec
from twfer_dist.measurement import augmentation
from twfer_dist.measurement.analyzer import SHIPPED, open_analyzer
from twfer_dist.measurement.augmentation import Heads
from twfer_dist.measurement.face import Face

VERSION = 1
ROWS_PER_SHARD = 120

_RENDERED = ["image_id", "figure_id", "label", "intensity", "action_units", "landmarks68", "pose", "image", "status",
    "error"]  # fmt: skip
_WHOLE = np.eye(2, 3, dtype=np.float32)  # the framing of an image that is a crop already


@dataclass(frozen=True)
class MeasureConfig(Settings):
    """How rendered heads are photographed before they are measured."""

    seed: Annotated[int, Range(0, 2**32 - 1)] = 0  # of the crops, light and noise that the heads are measured with


class HeadMeasurer:
    """Photographs and measures the rendered heads of a shard: RENDERED rows to MEASURED rows."""

    def __init__(self, network: str, config: MeasureConfig) -> None:
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        self.analyzer = open_analyzer(network)
        self.config = config

    def __call__(self, rows: pa.Table) -> pa.Table:
        return pa.Table.from_pylist([self._row(row) for row in rows.to_pylist()], schema=schema.MEASURED)

    def _row(self, row: Mapping[str, Any]) -> dict[str, Any]:
        known = {name: row[name] for name in ("image_id", "figure_id", "label", "intensity", "status", "error")}
        face = self._measure(row) if row["status"] == OK else None
        return known | {"action_units_rendered": row["action_units"], **_measurements(face)}

    def _measure(self, row: Mapping[str, Any]) -> Face | None:
        grey = images.decode_grey(row["image"])
        assert grey is not None  # of our own table
        points = np.array(row["landmarks68"], np.float32).reshape(1, 68, 2) - 0.5
        units, pose = (np.array([row[name]], np.float32) for name in ("action_units", "pose"))
        head = Heads(grey[None], points, units, pose, np.array([row["figure_id"]]))
        seed = int(storage.sha256(row["image_id"].encode())[:16], 16)
        crop = augmentation.augmented(head, np.zeros((1, 2), int), (self.config.seed, seed)).crops[0].numpy()
        return self.analyzer.measure(images.to_rgb(crop), [_WHOLE])[0]


def _measurements(face: Face | None) -> dict[str, Any]:
    """The measured columns of MEASURED, all null where there is no face."""
    if face is None:
        return dict.fromkeys(("action_units", "action_units_half_width_90", "pose"))
    return {
        "action_units": face.units,
        "action_units_half_width_90": face.half_width_90,
        "pose": face.pose,
    }


def measure_spec(
    rendered: Artifact, config: MeasureConfig, *, network: str = SHIPPED, actors: int | None = None
) -> StageSpec:
    """Measure the heads of `rendered` with the weights `network`, each as one augmented photograph
    (`augmentation.augmented`). Table ".": MEASURED.
    """

    def do(output: StageOutput) -> None:
        plan = rendered.scan(".", schema.RENDERED).to_table(columns=["image_id"])
        fetch = Step(partial(read, rendered=rendered))
        measure = Step(HeadMeasurer, {"network": storage.absolute(network), "config": config}, actors=actors)
        output.map(plan, [fetch, measure], rows_per_shard=ROWS_PER_SHARD)

    models = {"network": open_analyzer(network).sha256, "opencv": cv2.__version__, "torch": torch.__version__}
    return StageSpec("measure", VERSION, {"rendered": rendered}, config, models, {".": schema.MEASURED}, do)


def read(plan: pa.Table, *, rendered: Artifact) -> pa.Table:
    """The RENDERED rows of a plan of image_ids."""
    ids = plan["image_id"].to_pylist()
    return rendered.table(".", schema.RENDERED, columns=_RENDERED, ids=ids).sort_by("image_id")


def _build(request: Request) -> StageSpec:
    network = request.files.get("network", SHIPPED)
    return measure_spec(request.one("rendered"), request.config, network=network, actors=request.compute.actors)


KIND = StageKind(
    "measure",
    makes="what the network measures on rendered heads",
    config=MeasureConfig,
    inputs=(Input("rendered", ("render",)),),
    files=(InputFile("network", "weights of the network that measures; the included one if left out"),),
    build=_build,
)
