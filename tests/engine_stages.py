"""Small stages for the engine's tests, in a module of their own so that a child process can run them too."""

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from twfer_dist.core import schema
from twfer_dist.core.errors import UserError
from twfer_dist.core.status import OK
from twfer_dist.engine.artifact import Artifact, Manifest
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.shards import Step
from twfer_dist.engine.spec import HasDigest, StageSpec
from twfer_dist.engine.stage import run_stage

NUMBERS = schema.stamped(("id", pa.string()), ("value", pa.int64()), ("status", pa.string()))
DIGITS = schema.stamped(("digit_id", pa.string()), ("digit", pa.string()))
TABLES = {"numbers": NUMBERS, "digits": DIGITS}


@dataclass(frozen=True)
class Config:
    rows: int = 200
    add: int = 1


@dataclass(frozen=True)
class Input:
    """An input that is not the output of a stage."""

    digest: str


def make_artifact(uri: str, **values: Any) -> Artifact:
    """A finished output without files, with these values in an otherwise empty manifest."""
    empty: dict[str, Any] = dict.fromkeys(("inputs", "config", "models", "build_ids", "rows", "counts"), {})
    empty |= dict.fromkeys(("fingerprint", "stage", "build_id", "digest"), "")
    empty |= {"version": 1, "schema": schema.SCHEMA_VERSION, "planned_table": None, "reused": None}
    empty |= {"results": {}, "seconds": 0.0, "versions": {}, "files": ()}
    return Artifact(uri, Manifest(**(empty | values)))


def doubled(table: pa.Table) -> pa.Table:
    return table.set_column(1, "value", pa.array([2 * v for v in table["value"].to_pylist()]))


class Adder:
    """Adds, splits into digits, and gives multiples of seven another status than ok."""

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


class CrashOn:
    """Aborts its process on some values. What it returns for the others depends on how many rows it sees together."""

    def __init__(self, deadly: tuple[int, ...]) -> None:
        self.deadly = deadly

    def __call__(self, table: pa.Table) -> dict[str, pa.Table]:
        if set(table["value"].to_pylist()) & set(self.deadly):
            os.abort()
        return Adder(1000 * len(table))(table)


class CrashOnLoad:
    """Aborts its process each time that it is built."""

    def __init__(self) -> None:
        os.abort()

    def __call__(self, table: pa.Table) -> dict[str, pa.Table]:
        raise AssertionError("it was built")


def doubled_or_killed(table: pa.Table, deadly: tuple[int, ...]) -> pa.Table:
    """`doubled`, but its process is killed on some values."""
    if set(table["value"].to_pylist()) & set(deadly):
        os.kill(os.getpid(), signal.SIGKILL)
    return doubled(table)


class FlakyReader:
    """Like Adder, but ids listed in a file are unreachable. Which ids it saw is appended to a file beside that."""

    def __init__(self, unreached: str) -> None:
        self.unreached = Path(unreached)

    def __call__(self, table: pa.Table) -> dict[str, pa.Table]:
        ids = table["id"].to_pylist()
        with self.unreached.with_suffix(".seen").open("a") as file:
            file.write(" ".join(ids) + " ")
        away = set(self.unreached.read_text().split())
        tables = Adder(0)(table)
        status = pa.array(["unreachable" if row_id in away else OK for row_id in ids])
        reached = pa.array([i[:5] not in away for i in tables["digits"]["digit_id"].to_pylist()])
        numbers = tables["numbers"].set_column(2, "status", status)
        return {"numbers": numbers, "digits": tables["digits"].filter(reached)}


class LogStart:
    """Appends "start" to a file for each shard."""

    def __init__(self, log: str) -> None:
        self.log = log

    def __call__(self, table: pa.Table) -> pa.Table:
        _append(self.log, "start")
        return table


def log_end(table: pa.Table, log: str) -> pa.Table:
    """Appends "end" to a file for each shard."""
    _append(log, "end")
    return table.append_column("status", pa.array([OK] * len(table)))


def _append(log: str, word: str) -> None:
    with Path(log).open("a") as file:
        file.write(f"{word}\n")


class Refuse:
    """Raises a UserError in its constructor or in its call."""

    def __init__(self, where: str) -> None:
        if where == "constructor":
            raise UserError("weights.bin is not a model: name another file.")

    def __call__(self, table: pa.Table) -> pa.Table:
        raise UserError("weights.bin is not a model: name another file.")


def numbers_spec(
    config: Config,
    *,
    inputs: Mapping[str, HasDigest] | None = None,
    actors: int = 1,
    seconds: float = 0.0,
    rows_per_shard: int = 16,
    step: Step | None = None,
    first: Step | None = None,
    change: Callable[[pa.Table], pa.Table] | None = None,
) -> StageSpec:
    """Two steps, by default `doubled` and `Adder`, on `config.rows` rows. change: made while the digits are joined."""
    plan = pa.table({"id": [f"{i:05d}" for i in reversed(range(config.rows))], "value": list(range(config.rows))})
    steps = [
        first or Step(doubled),
        step or Step(Adder, {"add": config.add, "seconds": seconds}, cpus=0.5, actors=actors),
    ]

    def do(output: StageOutput) -> None:
        output.map(plan, steps, rows_per_shard=rows_per_shard)
        if change:
            output.revise("digits", change)
        output.results["rows_per_second"] = "not measured here"

    return StageSpec("numbers", 1, inputs or {}, config, {}, TABLES, do)


JOINED = 3  # files of digits


def unchanged(digits: pa.Table, *, out: str = "", fault: str = "", seconds: float = 0.0) -> pa.Table:
    """The same table, while something happens to the worker that joins it, once JOINED files are there.

    fault: a file; where it exists it is deleted, and the worker is killed, or, where it says so, there is no room.
    seconds: to wait for each piece.
    """
    time.sleep(seconds)
    if fault and Path(fault).exists() and len(list(Path(out).glob("numbers-*/digits/part-*.parquet"))) >= JOINED:
        if Path(fault).read_text() == "no room":
            raise UserError("there is no room.")
        Path(fault).unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    return digits


if __name__ == "__main__":  # <out> <seconds for each shard> [seconds to join each]: a run for a test to kill
    from twfer_dist.engine import compaction, log

    log.configure()
    if len(sys.argv) > 3:
        compaction.TARGET_ROW_GROUP_BYTES = compaction.TARGET_FILE_BYTES = 500
    slow = partial(unchanged, seconds=float(sys.argv[3])) if len(sys.argv) > 3 else None
    run_stage(numbers_spec(Config(), seconds=float(sys.argv[2]), change=slow), sys.argv[1])
