"""The steps of a stage, and the files of its plan and shards in an unfinished output."""

import functools
import itertools
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from twfer_dist.core.conformity import conform
from twfer_dist.core.status import OK
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import WORK
from twfer_dist.engine.digests import digest_ids, with_image_digests
from twfer_dist.engine.plan import sort_by_id

ROW_KEY = "row_key"
"""The column of a written plan that holds a digest of what decides a row, see `reuse`."""

PLAN, REST = "plan", "rest"
"""The folders in WORK with the parts of the plan, and with those of their rows that are not reused."""

_LAYOUT = b"shards with digests of their images\n"
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
class PlannedPart:
    """A part of the plan as it is on storage: `rows` rows from the id `first` to the id `last`, of which `to_compute`
    are not reused.
    """

    number: int  # of its file
    rows: int
    first: str
    last: str
    to_compute: int


@dataclass(frozen=True)
class ShardStore:
    """The plan and the shards of an unfinished output; travels to the workers.

    tables: the planned one first. parts: of the plan, in the order of their ids; shards of `rows_per_shard` rows are
    cut within each of them and numbered through. A shard's file holds `digests.digest_fields` beside its images.
    """

    directory: str
    tables: tuple[tuple[str, pa.Schema], ...]
    rows_per_shard: int = 1
    parts: tuple[PlannedPart, ...] = ()

    def plan_file(self, number: int) -> str:
        """The file of a part of the plan, with a row group for every `rows_per_shard` rows."""
        return storage.join(self.directory, WORK, PLAN, f"plan-{number:05d}.parquet")

    def rest_file(self, number: int) -> str:
        """The rows of a part that are not reused, where some are; a row group is a shard."""
        return storage.join(self.directory, WORK, REST, f"plan-{number:05d}.parquet")

    @functools.cached_property
    def first_shards(self) -> Sequence[int]:
        """The number of the first shard of each part, and behind them how many shards there are."""
        shards = (-(-part.to_compute // self.rows_per_shard) for part in self.parts)
        return list(itertools.accumulate(shards, initial=0))

    def shard_rows(self, shard: int) -> int:
        """How many rows a shard has."""
        index = self._part_of(shard)
        before = (shard - self.first_shards[index]) * self.rows_per_shard
        return min(self.rows_per_shard, self.parts[index].to_compute - before)

    def planned(self, shard: int) -> pa.Table:
        """The planned rows of a shard."""
        index = self._part_of(shard)
        part = self.parts[index]
        whole = part.to_compute == part.rows
        with storage.open_parquet((self.plan_file if whole else self.rest_file)(part.number)) as file:
            columns = [name for name in file.schema_arrow.names if name != ROW_KEY]
            return file.read_row_group(shard - self.first_shards[index], columns=columns)

    def _part_of(self, shard: int) -> int:
        return bisect_right(self.first_shards, shard) - 1

    def read(self, table: str, shard: int, columns: Sequence[str] | None = None) -> pa.Table:
        """A finished shard of a table, with the digests of its images."""
        with storage.open_parquet(self._shard(table, shard)) as file:
            return file.read(columns=columns)

    def forget_other_layouts(self) -> None:
        """Delete what an engine left that kept its shards in another way, so that they are not resumed."""
        note = storage.join(self.directory, WORK, "layout.txt")
        if not storage.exists(note):
            storage.delete_folder(storage.join(self.directory, WORK))
            storage.write_bytes(note, _LAYOUT)

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
            statuses = self.read(planned, shard, ["status"])["status"]
            return len(statuses) - statuses.to_pylist().count(OK)

        with ThreadPoolExecutor(_READERS) as pool:
            return sum(pool.map(count, shards))

    def conform(self, result: pa.Table | Mapping[str, pa.Table]) -> dict[str, pa.Table]:
        """What the last step returned as the stage's tables, sorted by id."""
        tables = result if isinstance(result, Mapping) else {self.tables[0][0]: result}
        return {name: sort_by_id(conform(tables[name], expected)) for name, expected in self.tables}

    def write(self, shard: int, tables: Mapping[str, pa.Table], planned_ids: bytes) -> tuple[int, dict[str, int]]:
        """Write a shard's tables, the planned one last; return its rows and their counts by status. planned_ids: the
        digest of its ids in the plan.
        """
        (name, _), *_ = self.tables
        rows = tables[name]
        if digest_ids(rows) != planned_ids:
            raise ValueError(f"shard {shard} of {self.directory} does not hold exactly the planned ids")
        for table in reversed(list(tables)):
            storage.write_parquet(self._shard(table, shard), with_image_digests(tables[table]))
        statuses = rows["status"].to_pylist() if "status" in rows.column_names else []
        return len(rows), dict(Counter(statuses))

    def _shard(self, table: str, shard: int) -> str:
        return storage.join(self.directory, WORK, table, f"shard-{shard:06d}.parquet")
