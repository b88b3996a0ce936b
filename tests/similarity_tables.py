"""Small outputs of the embed stage, written without a network."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from twfer_dist.core import images
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import run_stage
from twfer_dist.similarity.tables import EMBEDDINGS


def picture(number: int) -> np.ndarray:
    """A smooth random picture, uint8 RGB (96, 96, 3); each number gives another."""
    coarse = np.random.default_rng(number).integers(0, 255, (24, 24, 3), np.uint8)
    return images.resize_square(coarse, 96)


def row(number: int, corpus: str, figure: str, vector: np.ndarray, **more: Any) -> dict[str, Any]:
    """A row of EMBEDDINGS; `crop` in `more` is its picture, else `picture(number)`."""
    crop = more.pop("crop", None)
    empty: dict[str, Any] = {
        "path": f"{number}.jpg",
        "label": None,
        "split": None,
        "groups": [],
        "status": "ok",
        "error": "",
    }
    known = {"image_id": f"{number:04d}-0", "corpus": corpus, "figure_id": figure, "network": "test network"}
    encoded = images.encode_jpeg(picture(number) if crop is None else crop, 90)
    vector = np.asarray(vector, np.float32)
    return {**empty, **known, "embedding": vector / np.linalg.norm(vector), "image": encoded, **more}


def embedded(out: str, rows: Sequence[dict[str, Any]]) -> Artifact:
    """A finished output of embed with these rows."""

    def do(output: StageOutput) -> None:
        output.write_table(".", pa.Table.from_pylist(list(rows), EMBEDDINGS))
        output.results["network"] = rows[0]["network"]

    key = [[r["image_id"], r["corpus"], r["network"]] for r in rows]
    return run_stage(StageSpec("embed", 1, {}, key, {}, {".": EMBEDDINGS}, do), out, quiet=True)
