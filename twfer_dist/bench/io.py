"""`twfer bench io`: a stage that computes nothing and only writes."""

import tempfile
import time
import uuid
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa

from twfer_dist.bench.compare import compare, even_size
from twfer_dist.core import schema
from twfer_dist.core.status import OK
from twfer_dist.engine import storage
from twfer_dist.engine.shards import Step
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import run_stage

IMAGE_BYTES = 8192  # about a crop of 128 pixels
ROWS_PER_SHARD = 256
ROWS = schema.stamped(("id", pa.string()), ("image", pa.binary()), ("status", pa.string()))


def bench_io(images: int, actors: int | None, out: str | None) -> dict[str, Any]:
    """A `compare.Comparison` of a stage that writes IMAGE_BYTES for each of at least `images` rows, with
    `pipeline_mb_per_second`, and `read_mb_per_second` of all rows read back.

    out: a path or URI, such as `s3://...`, to write under; a temporary folder by default. Nothing is left there.
    """
    size = even_size(images, actors, lambda rows: ROWS_PER_SHARD)
    with tempfile.TemporaryDirectory() as temporary:
        folder = storage.join(storage.absolute(out), f"bench-{uuid.uuid4().hex[:8]}") if out else temporary
        try:
            comparison = compare(lambda rows: _spec(rows, actors), size, folder)
            written = run_stage(_spec(images, actors), storage.join(folder, "read"), quiet=True)
            started = time.perf_counter()
            read_rate = written.table(".", ROWS).nbytes / (time.perf_counter() - started)
        finally:
            storage.delete_folder(folder)
    return asdict(comparison) | {
        "pipeline_mb_per_second": round(comparison.pipeline_rate * IMAGE_BYTES / 1e6, 1),
        "read_mb_per_second": round(read_rate / 1e6, 1),
        "image_bytes": IMAGE_BYTES,
        "out": "this disk" if out is None else out.partition("?")[0],
    }


def _spec(rows: int, actors: int | None) -> StageSpec:
    plan = pa.table({"id": [f"{k:09d}" for k in range(rows)]})
    step = Step(with_images, actors=actors)

    def do(output: Any) -> None:
        output.map(plan, [step], rows_per_shard=ROWS_PER_SHARD)

    return StageSpec("io", 1, {}, {"rows": rows}, {}, {".": ROWS}, do)


def with_images(plan: pa.Table) -> pa.Table:
    """The planned rows with images that do not compress."""
    images = np.random.default_rng(0).integers(0, 256, (len(plan), IMAGE_BYTES), np.uint8)
    return plan.append_column("image", pa.array([image.tobytes() for image in images])).append_column(
        "status", pa.array([OK] * len(plan))
    )
