"""Kill runs at random points and compare their outputs with that of an undisturbed run.

    python jobs/measure/chaos.py                      # 20 points of each kind
    python jobs/measure/chaos.py --points 3 actor     # fewer, of one kind

driver: the process that runs the stage, alone or with all of Ray. worker, actor: the process of a function's or a
class's step. raylet: the second node of a cluster of two, which is then replaced. files: nothing is killed, but bytes
of photographs are changed, cut off and spliced (`damaged_files`). Prints one JSON object for each kind; the exit code
is 1 where a row is lost, duplicated or different. redone: steps that were started again, of two for each shard.
"""

import argparse
import functools
import json
import os
import random
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import damaged_files
import psutil
import pyarrow as pa

from twfer_dist.core import schema
from twfer_dist.core.status import OK
from twfer_dist.engine.artifact import Artifact, open_artifact
from twfer_dist.engine.shards import Step
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import run_stage

ROWS_PER_SHARD = 10
NUMBERS = schema.stamped(("id", pa.string()), ("value", pa.int64()), ("status", pa.string()))
DIGITS = schema.stamped(("digit_id", pa.string()), ("digit", pa.string()))


def doubled(table: pa.Table, log: str, seconds: float) -> pa.Table:
    _log_start(log, "worker", table)
    time.sleep(seconds)
    return table.set_column(1, "value", pa.array([2 * value for value in table["value"].to_pylist()]))


class Digits:
    """Stands for a network: a row's value depends on its shard, as a network's may."""

    def __init__(self, log: str, seconds: float) -> None:
        self.log, self.seconds = log, seconds

    def __call__(self, table: pa.Table) -> dict[str, pa.Table]:
        _log_start(self.log, "actor", table)
        time.sleep(self.seconds)
        ids, total = table["id"].to_pylist(), sum(table["value"].to_pylist())
        values = [value + total for value in table["value"].to_pylist()]
        digits = [
            (f"{row_id}-{k}", digit)
            for row_id, value in zip(ids, values, strict=True)
            for k, digit in enumerate(str(value))
        ]
        return {
            "numbers": pa.table({"id": ids, "value": values, "status": [OK if v % 7 else "seventh" for v in values]}),
            "digits": pa.table({"digit_id": [i for i, _ in digits], "digit": [d for _, d in digits]}),
        }


def _log_start(log: str, step: str, table: pa.Table) -> None:
    """One file for each time that a step starts a shard."""
    (Path(log) / f"{step}-{table['id'][0].as_py()}-{uuid.uuid4().hex[:8]}").touch()


def run_numbers(out: str, log: str, shards: int, seconds: float) -> Artifact:
    """The stage that is disturbed: two steps, each of `seconds` for a shard."""
    Path(log).mkdir(parents=True, exist_ok=True)
    rows = shards * ROWS_PER_SHARD - 3
    plan = pa.table({"id": [f"{k:07d}" for k in range(rows)], "value": list(range(rows))})
    arguments = {"log": log, "seconds": seconds}
    # With equal resources Ray Data would fuse the two steps into one process.
    steps = [Step(doubled, arguments, cpus=0.25), Step(Digits, arguments, cpus=0.5, actors=2)]
    spec = StageSpec(
        "numbers",
        1,
        {},
        {"shards": shards},
        {},
        {"numbers": NUMBERS, "digits": DIGITS},
        lambda output: output.map(plan, steps, rows_per_shard=ROWS_PER_SHARD),
    )
    return run_stage(spec, out, quiet=True)


class Run:
    """A child process that runs the stage in `folder` and can be killed."""

    def __init__(self, folder: Path, *arguments: object, step: str = "") -> None:
        self.folder, self.log, self.step = folder, folder / "log", step
        self._command = [sys.executable, __file__, "--run", str(folder), *map(str, arguments)]
        self.child: psutil.Popen | None = None

    def start(self, **environment: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "output.txt").open("ab") as output:  # Ray reports the deaths that it sees
            self.child = psutil.Popen(
                self._command, start_new_session=True, env=os.environ | environment, stdout=output, stderr=output
            )

    def ahead(self, points: list[int]) -> Iterator[int]:
        """The points that the run has not passed yet: it is killed at most once at each."""
        return (point for point in points if self.progress() <= point)

    def progress(self) -> int:
        """How many shards are finished, or, for a kill at the first step, which runs ahead, have started it."""
        if self.step:
            return len({path.name.split("-")[1] for path in self.log.glob(f"{self.step}-*")})
        return len(list(self.folder.glob("numbers-*/_work/numbers/shard-*.parquet")))

    def reach(self, point: int) -> bool:
        """Wait for this progress; False where the run ended before."""
        assert self.child
        while self.child.poll() is None:
            if self.progress() >= point:
                return True
            time.sleep(0.02)
        return False

    def kill(self, everything: bool) -> None:
        assert self.child
        descendants = self.child.children(recursive=True)
        self.child.kill()
        self.child.wait()
        if everything:
            for process in descendants:
                _kill(process)
        psutil.wait_procs(descendants, timeout=5)  # some processes of Ray outlive their parent

    def end(self) -> None:
        assert self.child
        if code := self.child.wait():
            raise SystemExit(f"a run ended with {code}:\n{(self.folder / 'output.txt').read_text()[-4000:]}")

    def artifact(self) -> Artifact:
        (manifest,) = self.folder.glob("numbers-*/_manifest.json")
        return open_artifact(str(manifest.parent))


def _kill(process: psutil.Process) -> bool:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return False
    return True


def disturb_driver(run: Run, points: list[int]) -> int:
    killed = 0
    for number, point in enumerate(run.ahead(points)):
        run.start()
        if not run.reach(point):
            run.end()  # it finished between two looks
            break
        run.kill(everything=number % 2 == 0)
        killed += 1
    run.start()
    run.end()
    return killed


def disturb_process(run: Run, points: list[int], title: str) -> int:
    """At each point kill a process whose title starts with `title`."""
    run.start()
    assert run.child
    killed = 0
    for point in run.ahead(points):
        if not run.reach(point):
            break
        processes: list[psutil.Process] = []
        while not processes and run.child.poll() is None:
            processes = [child for child in run.child.children(recursive=True) if _title(child).startswith(title)]
        killed += bool(processes) and _kill(random.choice(processes))
    run.end()
    return killed


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def disturb_raylet(run: Run, points: list[int]) -> int:
    """Run the stage on two nodes of one CPU each; at each point the second one dies and is replaced."""
    os.environ["RAY_AUTH_MODE"] = "disabled"  # the nodes are private to this process
    from ray.cluster_utils import Cluster

    node: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 100_000_000}
    soon = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 1000, "health_check_failure_threshold": 3}
    cluster = Cluster(initialize_head=True, head_node_args=node | {"include_dashboard": False, "_system_config": soon})
    second = cluster.add_node(**node)
    killed = 0
    try:
        run.start(RAY_ADDRESS=cluster.address)
        for point in run.ahead(points):
            if not run.reach(point):
                break
            cluster.remove_node(second, allow_graceful=False)
            killed += 1
            second = cluster.add_node(**node)
        run.end()
    finally:
        cluster.shutdown()
    return killed


DISTURB: dict[str, Callable[[Run, list[int]], int]] = {
    "driver": disturb_driver,
    "worker": functools.partial(disturb_process, title="ray::MapBatches(doubled)"),
    "actor": functools.partial(disturb_process, title="ray::MapWorker(MapBatches(Digits)"),
    "raylet": disturb_raylet,
}
KINDS = (*DISTURB, "files")


@dataclass
class Tally:
    """What the disturbed runs of one kind left, against an undisturbed one."""

    runs: int = 0
    kills: int = 0
    rows: int = 0
    lost: int = 0
    twice: int = 0
    differ: int = 0
    redone: int = 0

    def add(self, run: Run, kills: int, undisturbed: Artifact, shards: int) -> None:
        output = run.artifact()
        expected = {row["id"]: row for row in undisturbed.table("numbers", NUMBERS).to_pylist()}
        rows = output.table("numbers", NUMBERS).to_pylist()
        ids = {row["id"] for row in rows}
        self.runs += 1
        self.kills += kills
        self.rows += len(expected)
        self.lost += len(expected.keys() - ids)
        self.twice += len(rows) - len(ids)
        self.differ += sum(expected.get(row["id"]) != row for row in rows) + (output.digest != undisturbed.digest)
        started = len(list(run.log.glob("worker-*"))) + len(list(run.log.glob("actor-*")))
        self.redone += started - 2 * shards


def disturb(kind: str, folder: Path, undisturbed: Artifact, points: int, shards: int, seconds: float) -> dict[str, Any]:
    """Runs with `points` kills in all: a run may pass some of its points before it is killed there."""
    tally = Tally()
    while tally.kills < points:
        chosen = sorted(random.sample(range(shards - 10), points - tally.kills))
        step = "worker" if kind == "worker" else ""
        run = Run(folder / f"{kind}-{tally.runs}", "--shards", shards, "--seconds", seconds, step=step)
        tally.add(run, DISTURB[kind](run, chosen), undisturbed, shards)
    return asdict(tally) | {"redone_per_kill": round(tally.redone / tally.kills, 2)}


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill runs at random points and compare their outputs.")
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--points", type=int, default=20, help="kills of each kind")
    parser.add_argument("--shards", type=int, default=200, help="shards of the stage")
    parser.add_argument("--seconds", type=float, default=0.1, help="of a step for each shard")
    parser.add_argument("--files", type=int, default=1000, help="damaged files")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--run", metavar="FOLDER", help=argparse.SUPPRESS)
    options = parser.parse_args()
    random.seed(options.seed)
    if options.run:
        run_numbers(options.run, str(Path(options.run) / "log"), options.shards, options.seconds)
        return 0
    faults = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        plain = Run(folder / "undisturbed", "--shards", options.shards, "--seconds", 0)
        if kinds := [kind for kind in options.kinds or KINDS if kind != "files"]:
            plain.start()
            plain.end()
        for kind in options.kinds or KINDS:
            started = time.monotonic()
            if kind in kinds:
                result = disturb(kind, folder, plain.artifact(), options.points, options.shards, options.seconds)
            else:
                result = damaged_files.find_faces(folder / "files", options.files, options.seed)
            print(json.dumps({"kind": kind, **result, "seconds": round(time.monotonic() - started)}), flush=True)
            faults += result["lost"] + result["twice"] + result["differ"]
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
