"""The steps of a stage, and where its plan and its shards lie."""

import contextlib
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from twfer_dist.core import schema
from twfer_dist.core.errors import UserError
from twfer_dist.core.status import OK
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import WORK

MAX_TRIES = 2


_SHARDS_PER_FILE = 64  # of the plan: whoever reads a shard of it reads the index of its file


_READERS = 16  # of small files on storage that answers late


@dataclass(frozen=True)
class Step:
    """One step of a stage's work on a shard, Table -> Table with at least one row.

    call: a function, or a class that is built once per actor with `kwargs` (a network is loaded once) and then called.
    The last step returns a Table, or {table name: Table} where the stage has several. cpus: of a worker without a GPU;
    one with a GPU asks for no CPU, so that whatever feeds it finds one.
    """

    call: Callable[..., Any]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    cpus: float = 1
    gpus: float = 0
    actors: int | None = None  # of a class, at most; as many as the cluster has room for at the start where not given


@dataclass(frozen=True)
class ShardStore:
    """Where a stage's plan and shards lie, and how its tables look, the planned one first; travels to the workers."""

    directory: str
    tables: tuple[tuple[str, pa.Schema], ...]

    def lay_out(self, plan: pa.Table, rows_per_shard: int) -> None:
        """Write the plan, sorted by id, for the workers to read; forget how often workers died."""
        rows = rows_per_shard * _SHARDS_PER_FILE
        for number in range(-(-len(plan) // rows)):
            storage.write_parquet(self._plan(number), plan.slice(number * rows, rows), rows_per_shard)
        storage.delete_folder(self._tries)

    def planned_rows(self) -> int:
        """How many rows the plan has, as far as it was laid out."""
        rows = 0
        for name in storage.list_files(storage.join(self.directory, WORK, "plan")):
            if name.endswith(".parquet"):
                with storage.open_parquet(storage.join(self.directory, WORK, "plan", name)) as file:
                    rows += file.metadata.num_rows
        return rows

    def planned(self, shard: int) -> pa.Table:
        with storage.open_parquet(self._plan(shard // _SHARDS_PER_FILE)) as file:
            return file.read_row_group(shard % _SHARDS_PER_FILE)

    def shard(self, name: str, shard: int) -> str:
        """The URI of a shard of a table."""
        return storage.join(self.directory, WORK, name, f"shard-{shard:06d}.parquet")

    def done(self) -> set[int]:
        """The shards that are whole: whose files of all tables are there."""

        def written(name: str) -> set[int]:
            files = storage.list_files(storage.join(self.directory, WORK, name))
            return {int(f[6:-8]) for f in files if f.startswith("shard-") and f.endswith(".parquet")}

        return set.intersection(*(written(name) for name, _ in self.tables))

    def without_result(self, shards: Iterable[int]) -> int:
        """How many planned rows of these shards, which are done, have no result."""
        planned, expected = self.tables[0]
        if "status" not in expected.names:
            return 0

        def count(shard: int) -> int:
            with storage.open_parquet(self.shard(planned, shard)) as file:
                statuses = file.read(columns=["status"])["status"]
            return len(statuses) - statuses.to_pylist().count(OK)

        with ThreadPoolExecutor(_READERS) as pool:
            return sum(pool.map(count, shards))

    def conformed(self, result: pa.Table | Mapping[str, pa.Table]) -> dict[str, pa.Table]:
        """What a last step returned as the stage's tables, sorted by id."""
        tables = result if isinstance(result, Mapping) else {self.tables[0][0]: result}
        return {name: by_id(schema.conform(tables[name], expected)) for name, expected in self.tables}

    def write(self, shard: int, tables: dict[str, pa.Table]) -> tuple[int, dict[str, int]]:
        """Write a shard's tables, the planned one last; its rows and their counts by status."""
        (planned, _), *_ = self.tables
        if tables[planned].column(0).to_pylist() != self.planned(shard).column(0).to_pylist():
            raise ValueError(f"shard {shard} of {self.directory} does not hold exactly the planned ids")
        for name in reversed(list(tables)):
            storage.write_parquet(self.shard(name, shard), tables[name])
        statuses = tables[planned]["status"].to_pylist() if "status" in tables[planned].column_names else []
        return len(tables[planned]), dict(Counter(statuses))

    @contextlib.contextmanager
    def attempt(self, shard: int, what: str) -> Iterator[int]:
        """How many earlier attempts at this work on a shard came to no end, good or bad, because their process died."""
        beginning = f"{shard:06d}.{what}."
        mark = storage.join(self._tries, f"{beginning}{uuid.uuid4().hex[:8]}")
        earlier = sum(name.startswith(beginning) for name in storage.list_files(self._tries))
        storage.write_bytes(mark, b"")
        try:
            yield earlier
        finally:
            with contextlib.suppress(UserError):  # one that stays counts as an end without a word, and no more
                storage.delete_file(mark)

    def built(self, build: Callable[..., Callable], kwargs: Mapping[str, Any], most: int) -> Callable:
        """What `build` makes. Problem where `most` processes that ended over it, or are at it, have come since the last
        success.
        """
        beginning = f"{build.__name__}."
        mark = storage.join(self._tries, f"{beginning}{uuid.uuid4().hex[:8]}")
        # A mark that another process is just writing is its own to move.
        begun = [
            name for name in storage.list_files(self._tries) if name.startswith(beginning) and not name.endswith(".tmp")
        ]
        if len(begun) >= most:
            raise UserError(
                f"{self.directory}: building {build.__name__} ends its process, {len(begun)} times now, most often "
                "for want of memory: "
                "give it more, or ask for fewer actors, and start again; what is done is kept."
            )
        storage.write_bytes(mark, b"")
        try:
            made = build(**kwargs)
        finally:
            storage.delete_file(mark)
        for name in begun:
            storage.delete_file(storage.join(self._tries, name))
        return made

    @property
    def _tries(self) -> str:
        return storage.join(self.directory, WORK, "tries")

    def _plan(self, number: int) -> str:
        return storage.join(self.directory, WORK, "plan", f"plan-{number:05d}.parquet")


def by_id(table: pa.Table) -> pa.Table:
    return table.sort_by(table.column_names[0])
