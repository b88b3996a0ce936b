"""The cost of the engine at several numbers of planned ids, each with a small image that goes through a narrow
GANimation network of 32 pixels.

    python jobs/measure/measure_scale.py 20000 200000

Each size runs in a separate process. Prints one JSON object: for each size the milliseconds for each id, the peak of
the summed PSS of the driver and all of Ray's processes (without the object store), the number of files at the end and
at most, and the seconds of a second start that has nothing to do; and the ratio of the last size to the first for the
first two.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import torch
from measure_memory import pss

from twfer_dist.core import schema
from twfer_dist.core.status import OK
from twfer_dist.core.taxonomy import ACTION_UNITS
from twfer_dist.engine import ray_cluster
from twfer_dist.engine.shards import Step
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import run_stage
from twfer_dist.synthesis.networks import Generator

ROWS_PER_SHARD = 256  # as the animate stage
SIDE, WIDTH, IMAGES = 32, 4, 16  # pixels and width of the network; images, which repeat
ROWS = schema.stamped(
    ("id", pa.string()), ("path", pa.string()), ("image", pa.binary()), ("status", pa.string()), ("error", pa.string())
)


class Animate:
    def __init__(self) -> None:
        torch.set_num_threads(1)
        torch.manual_seed(0)
        self.network = Generator(WIDTH, blocks=1).eval()
        noise = np.random.default_rng(0).integers(0, 256, (IMAGES, SIDE, SIDE, 3), np.uint8)
        self.images = [cv2.imencode(".jpg", cv2.GaussianBlur(image, (0, 0), 3))[1] for image in noise]

    def __call__(self, table: pa.Table) -> pa.Table:
        kinds = [int(row_id, 16) % IMAGES for row_id in table["id"].to_pylist()]
        pixels = np.array([cv2.imdecode(self.images[kind], cv2.IMREAD_COLOR) for kind in kinds], np.uint8)
        units = torch.tensor(kinds)[:, None].expand(-1, len(ACTION_UNITS)) / IMAGES
        with torch.inference_mode():
            colour, _ = self.network(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1, units)
        images = ((colour + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
        columns = {
            "image": pa.array([cv2.imencode(".jpg", image)[1].tobytes() for image in images], pa.binary()),
            "status": pa.array([OK] * len(table)),
            "error": pa.array([""] * len(table)),
        }
        for name, values in columns.items():
            table = table.append_column(name, values)
        return table


def run_scale(out: str, size: int) -> None:
    """Run the stage at one size in this process; print its seconds and those of a second start."""
    plan = pa.table({"id": [f"{k:016x}" for k in range(size)], "path": [f"room/{k % 97}/{k}.jpg" for k in range(size)]})
    spec = StageSpec(
        "scale",
        1,
        {},
        {"size": size},
        {},
        {".": ROWS},
        lambda output: output.map(
            plan, [Step(Animate)], rows_per_shard=ROWS_PER_SHARD, reuse_key_columns=plan.column_names
        ),
    )
    ray_cluster.start()
    times = []
    for _ in range(2):
        started = time.monotonic()
        run_stage(spec, out, quiet=True)
        times.append(time.monotonic() - started)
    print(json.dumps(times))


def measure(size: int, folder: Path) -> dict[str, float]:
    """The figures of one size."""
    child = subprocess.Popen(
        [sys.executable, __file__, "--run", str(folder), str(size)], stdout=subprocess.PIPE, text=True
    )
    peak, most = 0.0, 0
    while child.poll() is None:
        peak = max(peak, pss(child.pid))
        most = max(most, sum(path.is_file() for path in folder.rglob("*")) if folder.exists() else 0)
        time.sleep(1)
    assert child.stdout
    if child.returncode:
        raise SystemExit(f"{size} ids ended with {child.returncode}")
    seconds, again = json.loads(child.stdout.read())
    files = sum(path.is_file() for path in folder.rglob("*"))
    return {
        "ms_per_id": 1000 * seconds / size,
        "peak_mb": peak,
        "files": files,
        "most_files": most,
        "nothing_to_do_s": again,
    }


def main(sizes: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        results = {size: measure(size, Path(folder) / str(size)) for size in sizes}
    first, last = results[sizes[0]], results[sizes[-1]]
    ratios = {f"{name}_ratio": round(last[name] / first[name], 3) for name in ("ms_per_id", "peak_mb")}
    rounded = {size: {name: round(value, 4) for name, value in values.items()} for size, values in results.items()}
    print(json.dumps({"ids": rounded, **ratios}))


if __name__ == "__main__":
    if sys.argv[1] == "--run":
        run_scale(sys.argv[2], int(sys.argv[3]))
    else:
        main([int(size) for size in sys.argv[1:]])
