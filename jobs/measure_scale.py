"""What the engine itself costs at two numbers of planned ids, through a step that does next to nothing.

    python jobs/measure_scale.py 20000 200000

Each size runs in a process of its own. Prints one JSON object: for each size milliseconds an id, the peak of summed PSS of the
driver and all of Ray's processes (object store apart), the number of files that are left and the most that there were at a time,
and seconds until a second start knows that there is nothing to do; and each of the first two as a ratio of the last size to the first.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
from measure_memory import pss

from twfer_dist import cluster, engine, schema

ROWS_PER_PART = 64  # as the stage that finds faces
NUMBERS = schema.stamped(("id", pa.string()), ("path", pa.string()), ("status", pa.string()), ("error", pa.string()))


class Notes:
    def __call__(self, table: pa.Table) -> pa.Table:
        return table.append_column("status", pa.array([schema.OK] * len(table))).append_column("error", pa.array([""] * len(table)))


def make(out: str, size: int) -> None:
    """The stage at one size, in this process; prints its seconds, and those of a second start."""
    plan = pa.table({"id": [f"{k:016x}" for k in range(size)], "path": [f"room/{k % 97}/{k}.jpg" for k in range(size)]})
    job = engine.Job(
        "scale",
        1,
        {},
        {"size": size},
        {},
        {".": NUMBERS},
        lambda work: work.map(plan, [engine.Step(Notes)], rows_per_part=ROWS_PER_PART, decides=plan.column_names),
    )
    cluster.start()
    times = []
    for _ in range(2):
        started = time.monotonic()
        engine.run(job, out, quiet=True)
        times.append(time.monotonic() - started)
    print(json.dumps(times))


def measured(size: int, folder: Path) -> dict[str, float]:
    child = subprocess.Popen([sys.executable, __file__, "--make", str(folder), str(size)], stdout=subprocess.PIPE, text=True)
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
    return {"ms_per_id": 1000 * seconds / size, "peak_mb": peak, "files": files, "most_files": most, "nothing_to_do_s": again}


def main(sizes: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = {size: measured(size, Path(folder) / str(size)) for size in sizes}
    first, last = found[sizes[0]], found[sizes[-1]]
    ratios = {f"{name}_ratio": round(last[name] / first[name], 3) for name in ("ms_per_id", "peak_mb")}
    told = {size: {name: round(value, 4) for name, value in values.items()} for size, values in found.items()}
    print(json.dumps({"ids": told, **ratios}))


if __name__ == "__main__":
    if sys.argv[1] == "--make":
        make(sys.argv[2], int(sys.argv[3]))
    else:
        main([int(size) for size in sys.argv[1:]])
