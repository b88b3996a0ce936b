"""The steps of a stage, and the files of its plan and shards in an unfinished output."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from twfer_dist.core.conformity import conform
from twfer_dist.core.status import OK
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import WORK
from twfer_dist.engine.attempts import Attempts

_SHARDS_PER_FILE = 64  # of the plan: a worker that reads one shard of the plan reads the footer of its file
_READERS = 16  # threads that read small files on storage with high latency


@dataclass(frozen=True)
class Step:
    """One step of a stage's work on a shard, Table -> Table, each with at least one row.

    call: a function, or a class that each actor builds once with `kwargs` (loading a network, for example) and then
    calls. The last step returns a Table, or {table name: Table} where the stage has several tables. cpus: of a worker
    without a GPU; a worker with a GPU asks for no CPU, which leaves the CPUs to the steps that feed it. actors: the
    largest number of actors of a class; by default as many as the cluster has room for at the start.
    """

    call: Callable[..., Any]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    cpus: float = 1
    gpus: float = 0
    actors: int | None = None


@dataclass(frozen=True)
class ShardStore:
    """The plan and the shards of an unfinished output; travels to the workers. `tables`: the planned one first."""

    directory: str
    tables: tuple[tuple[str, pa.Schema], ...]

    @property
    def attempts(self) -> Attempts:
        return Attempts(self.directory)

    def write_plan(self, plan: pa.Table, rows_per_shard: int) -> None:
        """Write the plan, sorted by id, for the workers to read, and forget earlier deaths of workers."""
        rows = rows_per_shard * _SHARDS_PER_FILE
        for number in range(-(-len(plan) // rows)):
            storage.write_parquet(self._plan(number), plan.slice(number * rows, rows), rows_per_shard)
        self.attempts.clear()

    def planned(self, shard: int) -> pa.Table:
        """The planned rows of a shard."""
        with storage.open_parquet(self._plan(shard // _SHARDS_PER_FILE)) as file:
            return file.read_row_group(shard % _SHARDS_PER_FILE)

    def planned_rows(self) -> int:
        """How many rows the plan on storage has."""
        rows = 0
        folder = storage.join(self.directory, WORK, "plan")
        for name in storage.list_files(folder):
            if name.endswith(".parquet"):
                with storage.open_parquet(storage.join(folder, name)) as file:
                    rows += file.metadata.num_rows
        return rows

    def read(self, table: str, shard: int) -> pa.Table:
        """A finished shard of a table."""
        with storage.open_parquet(self._shard(table, shard)) as file:
            return file.read()

    def finished(self) -> set[int]:
        """The shards whose files of all tables exist."""

        def written(table: str) -> set[int]:
            files = storage.list_files(storage.join(self.directory, WORK, table))
            return {int(f[6:-8]) for f in files if f.startswith("shard-") and f.endswith(".parquet")}

        return set.intersection(*(written(table) for table, _ in self.tables))

    def without_result(self, shards: Iterable[int]) -> int:
        """How many planned rows of these finished shards have another status than ok."""
        planned, expected = self.tables[0]
        if "status" not in expected.names:
            return 0

        def count(shard: int) -> int:
            with storage.open_parquet(self._shard(planned, shard)) as file:
                statuses = file.read(columns=["status"])["status"]
            return len(statuses) - statuses.to_pylist().count(OK)

        with ThreadPoolExecutor(_READERS) as pool:
            return sum(pool.map(count, shards))

    def conform(self, result: pa.Table | Mapping[str, pa.Table]) -> dict[str, pa.Table]:
        """What the last step returned as the stage's tables, sorted by id."""
        tables = result if isinstance(result, Mapping) else {self.tables[0][0]: result}
        return {name: sort_by_id(conform(tables[name], expected)) for name, expected in self.tables}

    def write(self, shard: int, tables: Mapping[str, pa.Table]) -> tuple[int, dict[str, int]]:
        """Write a shard's tables, the planned one last; return its rows and their counts by status."""
        (planned, _), *_ = self.tables
        if tables[planned].column(0).to_pylist() != self.planned(shard).column(0).to_pylist():
            raise ValueError(f"shard {shard} of {self.directory} does not hold exactly the planned ids")
        for name in reversed(list(tables)):
            storage.write_parquet(self._shard(name, shard), tables[name])
        statuses = tables[planned]["status"].to_pylist() if "status" in tables[planned].column_names else []
        return len(tables[planned]), dict(Counter(statuses))

    def _plan(self, number: int) -> str:
        return storage.join(self.directory, WORK, "plan", f"plan-{number:05d}.parquet")

    def _shard(self, table: str, shard: int) -> str:
        return storage.join(self.directory, WORK, table, f"shard-{shard:06d}.parquet")


def sort_by_id(table: pa.Table) -> pa.Table:
    """The table sorted by its first column."""
    return table.sort_by(table.column_names[0])
