"""The cost of the engine at several numbers of planned ids, each with an image of random bytes that a step gives it.

    python jobs/measure/measure_scale.py 20000 200000 2000000
    python jobs/measure/measure_scale.py --bytes 30000 --milliseconds 15 100000
    python jobs/measure/measure_scale.py --plan 100000 100000000

Each size runs in a process of its own, the driver. Prints a JSON object for each: the milliseconds for each id, the
seconds of the finish and its share, the driver's peak memory beyond what Ray takes at its start, the megabytes that it
read and wrote, the number of files, and the seconds of a second start that has nothing to do. --milliseconds: the step
takes so long for each id (animating an image takes 15 on one core), asleep. --plan: plan only, where workers write the
ids, their paths and row keys.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from twfer_dist.core import schema
from twfer_dist.core.status import OK
from twfer_dist.engine import ray_cluster
from twfer_dist.engine.map import write_plan
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.plan import ROWS_PER_PART, Plan
from twfer_dist.engine.shards import ShardStore, Step
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import run_stage

ROWS_PER_SHARD = 256  # as the animate stage
KEY_COLUMNS = ("id", "path")
ROWS = schema.stamped(
    ("id", pa.string()), ("path", pa.string()), ("image", pa.binary()), ("status", pa.string()), ("error", pa.string())
)


def planned(start: int, size: int) -> pa.Table:
    """The rows of a part of the plan."""
    numbers = range(start, min(start + ROWS_PER_PART, size))
    return pa.table({"id": [f"{k:016x}" for k in numbers], "path": [f"room/{k % 97}/{k}.jpg" for k in numbers]})


def with_images(table: pa.Table, bytes_each: int, milliseconds: float) -> pa.Table:
    """The rows with images that do not compress, after `milliseconds` for each."""
    time.sleep(len(table) * milliseconds / 1000)
    rng = np.random.default_rng(int(table["id"][0].as_py(), 16))
    columns = {
        "image": pa.array([rng.bytes(bytes_each) for _ in range(len(table))], pa.binary()),
        "status": pa.array([OK] * len(table)),
        "error": pa.array([""] * len(table)),
    }
    for name, values in columns.items():
        table = table.append_column(name, values)
    return table


class Driver:
    """What this process used since it joined Ray."""

    def __init__(self) -> None:
        ray_cluster.start()
        self._memory, self._bytes, self._started = self._peak(), self._moved(), time.monotonic()

    def used(self) -> dict[str, float]:
        return {
            "seconds": time.monotonic() - self._started,
            "driver_peak_mb": self._peak() - self._memory,
            "driver_io_mb": (self._moved() - self._bytes) / 1e6,
        }

    @staticmethod
    def _peak() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    @staticmethod
    def _moved() -> int:
        values = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
        return int(values["rchar"]) + int(values["wchar"])


def run_scale(size: int, bytes_each: int, milliseconds: float, out: str) -> dict[str, float]:
    """Run the stage at one size in this process."""
    given: dict[str, Any] = {"bytes_each": bytes_each, "milliseconds": milliseconds}
    plan = Plan(partial(planned, size=size), range(0, size, ROWS_PER_PART))

    def do(output: StageOutput) -> None:
        step = Step(partial(with_images, **given))
        output.map(plan, [step], rows_per_shard=ROWS_PER_SHARD, reuse_key_columns=KEY_COLUMNS)
        output.finish = timed(output.finish, finishes)  # type: ignore[method-assign]

    finishes: list[float] = []
    spec = StageSpec("scale", 1, {}, {"size": size, **given}, {}, {".": ROWS}, do)
    driver = Driver()
    output = run_stage(spec, out, quiet=True)
    used, started = driver.used(), time.monotonic()
    run_stage(spec, out, quiet=True)
    again = time.monotonic() - started
    share = finishes[0] / used["seconds"]
    numbers = {"finish_s": finishes[0], "finish_share": share, "files": len(output.manifest.files)}
    return {"ms_per_id": 1000 * used["seconds"] / size, **used, **numbers, "nothing_to_do_s": again}


def timed(call: Callable[..., Any], seconds: list[float]) -> Callable[..., Any]:
    def wrapped(*arguments: Any) -> Any:
        started = time.monotonic()
        result = call(*arguments)
        seconds.append(time.monotonic() - started)
        return result

    return wrapped


def run_plan(size: int, out: str) -> dict[str, float]:
    """Plan in this process, and no more."""
    driver = Driver()
    store = ShardStore(out, ((".", ROWS),), ROWS_PER_SHARD)
    plan = Plan(partial(planned, size=size), range(0, size, ROWS_PER_PART))
    store = write_plan(store, plan, KEY_COLUMNS, lambda doing, parts, total: iter(parts))
    assert sum(part.rows for part in store.parts) == size
    used = driver.used()
    return {"ms_per_id": 1000 * used["seconds"] / size, **used, "parts": len(store.parts)}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the engine at several numbers of planned ids.")
    parser.add_argument("sizes", nargs="+", type=int, metavar="IDS")
    parser.add_argument("--bytes", type=int, default=100, help="of each image")
    parser.add_argument("--milliseconds", type=float, default=0, help="that the step takes for each id")
    parser.add_argument("--plan", action="store_true", help="only plan")
    parser.add_argument("--run", metavar="FOLDER", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        (size,) = options.sizes
        given = (size, options.bytes, options.milliseconds, options.run)
        used = run_plan(size, options.run) if options.plan else run_scale(*given)
        print(json.dumps({"ids": size, **{name: round(value, 4) for name, value in used.items()}}))
        return
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            step = ["--bytes", str(options.bytes), "--milliseconds", str(options.milliseconds)]
            command = [sys.executable, __file__, "--run", folder, *step, str(size)]
            subprocess.run([*command, *(["--plan"] if options.plan else [])], check=True)


if __name__ == "__main__":
    main()
