"""A synthetic data set whose seven labels can be learned in a few steps."""

import cv2
import numpy as np
import pyarrow as pa

from twfer_dist.core import schema
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import run_stage
from twfer_dist.recognition.train_config import TrainConfig

SMALL = TrainConfig(network="resnet18", size=32, epochs=2, batch=14, learning_rate=1e-3)
"""Learns the images below in seconds."""

SPOTS = ((0.2, 0.2), (0.5, 0.2), (0.8, 0.2), (0.2, 0.5), (0.8, 0.5), (0.35, 0.8), (0.65, 0.8))


def picture(label: int, seed: int, size: int = 64) -> bytes:
    """A noisy grey square with a bright blob at the label's spot, as JPEG."""
    random = np.random.default_rng([label, seed])
    pixels = random.normal(90, 12, (size, size, 3))
    x, y = (int(size * v + random.integers(-3, 4)) for v in SPOTS[label - 1])
    cv2.circle(pixels, (x, y), size // 8, (230, 230, 230), -1)
    return cv2.imencode(".jpg", np.clip(pixels, 0, 255).astype(np.uint8))[1].tobytes()


def rows(counts: dict[str, int], figure_ids: int = 3) -> pa.Table:
    """DATASET rows: `counts[split]` images of each expression, from `figure_ids` figures in each split."""
    table = []
    for split, count in counts.items():
        for label in range(1, 8):
            for k in range(count):
                image_id = f"{split}-{label}-{k:03d}"
                table.append(
                    {
                        "image_id": image_id,
                        "split": split,
                        "label": label,
                        "figure_id": f"{split}-{k % figure_ids}",
                        "corpus": "synthetic",
                        "origin": "animated",
                        "intensity": 0.8,
                        "action_units": [0.0] * 17,
                        "groups": [("material", "paper")],
                        "image": picture(label, hash_of(image_id)),
                        "width": 64,
                        "height": 64,
                        "status": "ok",
                        "error": "",
                    }
                )
    return pa.Table.from_pylist(table, schema.DATASET)


def hash_of(name: str) -> int:
    return sum((k + 1) * ord(c) for k, c in enumerate(name))


def dataset(out: str, counts: dict[str, int], *, table: pa.Table | None = None) -> Artifact:
    """The output of a dataset stage in `out`."""
    table = rows(counts) if table is None else table

    def do(output: StageOutput) -> None:
        output.write_table(".", table)

    return run_stage(StageSpec("dataset", 1, {}, counts, {}, {".": schema.DATASET}, do), out, quiet=True)
