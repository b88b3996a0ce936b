"""Small stages that the engine's tests run, in a module of their own so that a child process can run them too."""

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from twfer_dist.core import schema
from twfer_dist.core.errors import UserError
from twfer_dist.core.status import OK
from twfer_dist.engine.artifact import Artifact, Manifest
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.shards import Step
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import run_stage

NUMBERS = schema.stamped(("id", pa.string()), ("value", pa.int64()), ("status", pa.string()))
DIGITS = schema.stamped(("digit_id", pa.string()), ("digit", pa.string()))


@dataclass(frozen=True)
class Config:
    rows: int = 200
    add: int = 1


def make_artifact(uri: str, **values: Any) -> Artifact:
    """A finished output without files, whose manifest has these values and is empty else."""
    empty: dict[str, Any] = {name: {} for name in ("inputs", "config", "models", "build_ids", "rows", "counts")}
    empty |= dict.fromkeys(("fingerprint", "stage", "build_id", "digest"), "")
    empty |= {"version": 1, "schema": schema.SCHEMA_VERSION, "planned_table": None, "reused": None}
    empty |= {"results": {}, "seconds": 0.0, "versions": {}, "files": ()}
    return Artifact(uri, Manifest(**(empty | values)))


def doubled(table: pa.Table) -> pa.Table:
    return table.set_column(1, "value", pa.array([2 * v for v in table["value"].to_pylist()]))


class Adder:
    """Adds, splits into digits, and marks multiples of seven as without result."""

    def __init__(self, add: int, seconds: float = 0.0) -> None:
        self.add, self.seconds = add, seconds

    def __call__(self, table: pa.Table) -> dict[str, pa.Table]:
        time.sleep(self.seconds)
        values = [v + self.add for v in table["value"].to_pylist()]
        ids = table["id"].to_pylist()
        status = [OK if v % 7 else "multiple_of_seven" for v in values]
        digits = [(f"{i}-{k}", d) for i, v in zip(ids, values, strict=True) for k, d in enumerate(str(v))]
        return {
            "numbers": pa.table({"id": ids, "value": values, "status": status}),
            "digits": pa.table({"digit_id": [i for i, _ in digits], "digit": [d for _, d in digits]}),
        }


class Fragile:
    """Ends its process over some values; what it gives for the others depends on how many rows it sees together."""

    def __init__(self, deadly: tuple[int, ...], by_id: bool = False) -> None:
        self.deadly, self.by_id = deadly, by_id

    def __call__(self, table: pa.Table) -> dict[str, pa.Table]:
        ids = table["id"].to_pylist()
        values = [2 * (199 - int(i)) for i in ids] if self.by_id else table["value"].to_pylist()
        if set(values) & set(self.deadly):
            os.abort()
        return Adder(1000 * len(table))(table)


class Stillborn:
    """Ends its process each time that it is built."""

    def __init__(self) -> None:
        os.abort()

    def __call__(self, table: pa.Table) -> dict[str, pa.Table]:
        raise AssertionError("it was built")


def fragile(table: pa.Table, deadly: tuple[int, ...]) -> pa.Table:
    """`doubled` as a function that ends its process over some values."""
    if set(table["value"].to_pylist()) & set(deadly):
        os.kill(os.getpid(), signal.SIGKILL)
    return doubled(table)


class Reaches:
    """Like Adder; what a file names is not reached, and what is asked for is noted beside it."""

    def __init__(self, unreached: str) -> None:
        self.unreached = Path(unreached)

    def __call__(self, table: pa.Table) -> dict[str, pa.Table]:
        ids = table["id"].to_pylist()
        with self.unreached.with_suffix(".asked").open("a") as file:
            file.write(" ".join(ids) + " ")
        away = set(self.unreached.read_text().split())
        tables = Adder(0)(table)
        status = pa.array(["unreachable" if row_id in away else OK for row_id in ids])
        there = pa.array([i[:5] not in away for i in tables["digits"]["digit_id"].to_pylist()])
        return {"numbers": tables["numbers"].set_column(2, "status", status), "digits": tables["digits"].filter(there)}


class Begins:
    """Notes in a file that it begins a part."""

    def __init__(self, log: str) -> None:
        self.log = log

    def __call__(self, table: pa.Table) -> pa.Table:
        _note(self.log, "begins")
        return table


def ends(table: pa.Table, log: str) -> pa.Table:
    """Notes in a file that it ends one."""
    _note(log, "ends")
    return table.append_column("status", pa.array([OK] * len(table)))


def _note(log: str, word: str) -> None:
    with Path(log).open("a") as file:
        file.write(f"{word}\n")


class Refuses:
    def __init__(self, where: str) -> None:
        self.where = where
        if where == "constructor":
            raise UserError("weights.bin is not a model: name another file.")

    def __call__(self, table: pa.Table) -> pa.Table:
        raise UserError("weights.bin is not a model: name another file.")


def numbers_job(
    config: Config,
    *,
    inputs=None,
    actors: int = 1,
    seconds: float = 0.0,
    rows_per_shard: int = 16,
    step=None,
    first=None,
) -> StageSpec:
    plan = pa.table({"id": [f"{i:05d}" for i in reversed(range(config.rows))], "value": list(range(config.rows))})
    steps = [
        first or Step(doubled),
        step or Step(Adder, {"add": config.add, "seconds": seconds}, cpus=0.5, actors=actors),
    ]

    def do(work: StageOutput) -> None:
        work.map(plan, steps, rows_per_shard=rows_per_shard)
        work.results["rows_per_second"] = "not measured here"

    return StageSpec("numbers", 1, inputs or {}, config, {}, {"numbers": NUMBERS, "digits": DIGITS}, do)


if __name__ == "__main__":  # <out> <seconds per part>: a run for a test to kill
    run_stage(numbers_job(Config(), seconds=float(sys.argv[2])), sys.argv[1])
