"""Kill runs at random points and compare what they leave with an undisturbed run.

    python jobs/chaos.py                      # 20 points of each kind
    python jobs/chaos.py --points 3 actor     # fewer, of one kind

driver: the process that runs the stage, alone or with all of Ray. worker, actor: the process of a function's or a
class's step. raylet: the second node of a cluster of two, and a new one comes. files: nothing is killed, but
photographs have bytes flipped, cut off and spliced. Prints one JSON object a kind, and ends with 1 where a row is lost,
there twice, or another than undisturbed. redone: steps of parts that were begun again, of two a part.
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
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa

from twfer_dist.core import schema
from twfer_dist.core.status import OK
from twfer_dist.engine import artifact
from twfer_dist.engine.shards import Step
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import run_stage

ROWS_PER_SHARD = 10
NUMBERS = schema.stamped(("id", pa.string()), ("value", pa.int64()), ("status", pa.string()))
DIGITS = schema.stamped(("digit_id", pa.string()), ("digit", pa.string()))


def doubled(table: pa.Table, log: str, seconds: float) -> pa.Table:
    _note(log, "worker", table)
    time.sleep(seconds)
    return table.set_column(1, "value", pa.array([2 * value for value in table["value"].to_pylist()]))


class Digits:
    """What a network is in a real stage; a row's value depends on its part, as a network's may."""

    def __init__(self, log: str, seconds: float) -> None:
        self.log, self.seconds = log, seconds

    def __call__(self, table: pa.Table) -> dict[str, pa.Table]:
        _note(self.log, "actor", table)
        time.sleep(self.seconds)
        ids, values = (
            table["id"].to_pylist(),
            [value + sum(table["value"].to_pylist()) for value in table["value"].to_pylist()],
        )
        digits = [
            (f"{row_id}-{k}", digit)
            for row_id, value in zip(ids, values, strict=True)
            for k, digit in enumerate(str(value))
        ]
        return {
            "numbers": pa.table({"id": ids, "value": values, "status": [OK if v % 7 else "seventh" for v in values]}),
            "digits": pa.table({"digit_id": [i for i, _ in digits], "digit": [d for _, d in digits]}),
        }


def _note(log: str, step: str, table: pa.Table) -> None:
    """One file for each time that a step begins a part."""
    (Path(log) / f"{step}-{table['id'][0].as_py()}-{uuid.uuid4().hex[:8]}").touch()


def make(out: str, log: str, parts: int, seconds: float) -> artifact.Artifact:
    """The stage that is disturbed: `parts` parts, two steps of `seconds` each."""
    Path(log).mkdir(parents=True, exist_ok=True)
    rows = parts * ROWS_PER_SHARD - 3
    plan = pa.table({"id": [f"{k:07d}" for k in range(rows)], "value": list(range(rows))})
    given = {"log": log, "seconds": seconds}
    # Where both ask for as much, Ray Data does both steps in one process.
    steps = [Step(doubled, given, cpus=0.25), Step(Digits, given, cpus=0.5, actors=2)]
    tables = {"numbers": NUMBERS, "digits": DIGITS}
    job = StageSpec(
        "numbers",
        1,
        {},
        {"parts": parts},
        {},
        tables,
        lambda work: work.map(plan, steps, rows_per_shard=ROWS_PER_SHARD),
    )
    return run_stage(job, out, quiet=True)


class Run:
    """A process of its own that makes the stage, whose parts can be counted, and who can be killed."""

    def __init__(self, folder: Path, *given: object, step: str = "") -> None:
        self.folder, self.log, self.step = folder, folder / "log", step
        self._command = [sys.executable, __file__, "--run", str(folder), *map(str, given)]
        self.child: psutil.Popen | None = None

    def start(self, **environment: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "said.txt").open("ab") as said:  # what Ray says of the deaths that it sees
            self.child = psutil.Popen(
                self._command, start_new_session=True, env=os.environ | environment, stdout=said, stderr=said
            )

    def ahead(self, points: list[int]) -> Iterator[int]:
        """Those of the points that the run has not gone past meanwhile: else it would be killed several times at
        one.
        """
        return (point for point in points if self.parts() <= point)

    def parts(self) -> int:
        """How many parts have come so far: are whole, or for a kill at the first step, which runs ahead, have begun
        it.
        """
        if self.step:
            return len({path.name.split("-")[1] for path in self.log.glob(f"{self.step}-*")})
        return len(list(self.folder.glob("numbers-*/_work/numbers/shard-*.parquet")))

    def reach(self, point: int) -> bool:
        """Wait until so many parts have come; False where the run ended before."""
        assert self.child
        while self.child.poll() is None:
            if self.parts() >= point:
                return True
            time.sleep(0.02)
        return False

    def kill(self, everything: bool) -> None:
        assert self.child
        below = self.child.children(recursive=True)
        self.child.kill()
        self.child.wait()
        if everything:
            for process in below:
                _kill(process)
        psutil.wait_procs(below, timeout=5)  # some of Ray's outlive what they belong to

    def end(self) -> None:
        assert self.child
        if code := self.child.wait():
            raise SystemExit(f"a run ended with {code}:\n{(self.folder / 'said.txt').read_text()[-4000:]}")


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
            run.end()  # it came to its end between two looks
            break
        run.kill(everything=number % 2 == 0)
        killed += 1
    run.start()
    run.end()
    return killed


def disturb_process(run: Run, points: list[int], title: str) -> int:
    """Kill a process whose title begins so, each time that another number of parts has come."""
    run.start()
    assert run.child
    killed = 0
    for point in run.ahead(points):
        if not run.reach(point):
            break
        found: list[psutil.Process] = []
        while not found and run.child.poll() is None:
            found = [process for process in run.child.children(recursive=True) if _title(process).startswith(title)]
        killed += bool(found) and _kill(random.choice(found))
    run.end()
    return killed


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def disturb_raylet(run: Run, points: list[int]) -> int:
    """Make the stage on two nodes of one CPU each, whose second one dies at each point, and a new one comes."""
    os.environ["RAY_AUTH_MODE"] = "disabled"  # these nodes are of this process alone
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
    "worker": functools.partial(disturb_process, title="ray::MapBatches("),
    "actor": functools.partial(disturb_process, title="ray::MapWorker("),
    "raylet": disturb_raylet,
}
KINDS = (*DISTURB, "files")


def _finished(folder: Path) -> artifact.Artifact:
    (manifest,) = folder.glob("numbers-*/_manifest.json")
    return artifact.open_artifact(str(manifest.parent))


def _compared(folder: Path, undisturbed: artifact.Artifact, parts: int) -> dict:
    """What a disturbed run left, against an undisturbed one."""
    finished = _finished(folder)
    rows = {row["id"]: row for row in undisturbed.table("numbers", NUMBERS).to_pylist()}
    found = finished.table("numbers", NUMBERS).to_pylist()
    begun = len(list((folder / "log").glob("worker-*"))) + len(list((folder / "log").glob("actor-*")))
    return {
        "rows": len(rows),
        "lost": len(rows.keys() - {row["id"] for row in found}),
        "twice": len(found) - len({row["id"] for row in found}),
        "differ": sum(rows.get(row["id"]) != row for row in found) + (finished.digest != undisturbed.digest),
        "redone": begun - 2 * parts,  # of two steps a part
    }


def files(count: int, seed: int) -> dict:
    """Find faces in photographs whose bytes were flipped, cut off and spliced: how many files there are of each
    status.
    """
    from twfer_dist.corpus.corpus import open_corpus
    from twfer_dist.faces.stage import FacesConfig, faces_job

    chance = random.Random(seed)
    originals = [
        p
        for p in sorted((Path(__file__).parent.parent / "tests/data/malformed").iterdir())
        if p.suffix not in (".csv", ".md")
    ]
    with tempfile.TemporaryDirectory() as folder:
        photographs = Path(folder) / "photographs"
        photographs.mkdir()
        for number in range(count):
            path = chance.choice(originals)
            (photographs / f"{number:04d}{path.suffix}").write_bytes(
                mutated(path.read_bytes(), chance.choice(originals), chance)
            )
        finished = run_stage(
            faces_job([open_corpus(str(photographs))], FacesConfig()), str(Path(folder) / "out"), quiet=True
        )
        table = finished.table("photographs", schema.PHOTOGRAPHS, columns=["path", "status"])
        found = Counter(table["path"].to_pylist())
        return {
            "rows": len(table),
            "lost": count - len(found),
            "twice": len(table) - len(found),
            "differ": 0,
            "status": dict(Counter(table["status"].to_pylist()).most_common()),
        }


def mutated(data: bytes, other: Path, chance: random.Random) -> bytes:
    """A picture's bytes with 1 to 40 of them changed, cut off, or with another picture's in their middle or at their
    end.
    """
    changed = bytearray(data)
    match chance.randrange(3):
        case 0:
            for _ in range(chance.randint(1, 40)):
                if changed:
                    changed[chance.randrange(len(changed))] = chance.randrange(256)
        case 1:
            del changed[chance.randint(0, len(changed)) :]
        case _:
            strange = other.read_bytes()
            start, stop = sorted(chance.randint(0, len(changed)) for _ in range(2))
            begin = chance.randint(0, len(strange))
            changed[start:stop] = strange[begin : begin + chance.randint(0, 4096)]
    return bytes(changed)


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill runs at random points and compare.")
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--points", type=int, default=20, help="kills of each kind")
    parser.add_argument("--parts", type=int, default=200, help="parts of the stage")
    parser.add_argument("--seconds", type=float, default=0.1, help="that a step takes over a part")
    parser.add_argument("--files", type=int, default=1000, help="mutated files")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--run", metavar="FOLDER", help=argparse.SUPPRESS)
    given = parser.parse_args()
    random.seed(given.seed)
    if given.run:
        make(given.run, str(Path(given.run) / "log"), given.parts, given.seconds)
        return 0
    faults = 0
    with tempfile.TemporaryDirectory() as temporary:
        undisturbed: artifact.Artifact | None = None
        for kind in given.kinds or KINDS:
            started = time.monotonic()
            if kind == "files":
                told = {"kind": kind, **files(given.files, given.seed)}
            else:
                if undisturbed is None:
                    plain = Run(Path(temporary) / "undisturbed", "--parts", given.parts, "--seconds", 0)
                    plain.start()
                    plain.end()
                    undisturbed = _finished(plain.folder)
                told = {"kind": kind, "runs": 0, "kills": 0, "rows": 0, "lost": 0, "twice": 0, "differ": 0, "redone": 0}
                while told["kills"] < given.points:  # a run may go past some of its points
                    points = sorted(random.sample(range(given.parts - 10), given.points - told["kills"]))
                    folder = Path(temporary) / f"{kind}-{told['runs']}"
                    step = "worker" if kind == "worker" else ""
                    run = Run(folder, "--parts", given.parts, "--seconds", given.seconds, step=step)
                    told["kills"] += DISTURB[kind](run, points)
                    told["runs"] += 1
                    for name, value in _compared(run.folder, undisturbed, given.parts).items():
                        told[name] += value
                told["redone_per_kill"] = round(told["redone"] / told["kills"], 2)
            print(json.dumps(told | {"seconds": round(time.monotonic() - started)}), flush=True)
            faults += told["lost"] + told["twice"] + told["differ"]
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
