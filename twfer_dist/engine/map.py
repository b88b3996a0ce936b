"""The rows of a stage: planned by workers, reused where they are unchanged, and otherwise computed in shards."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from twfer_dist.core.status import OK
from twfer_dist.engine import ray_tasks, storage
from twfer_dist.engine.digests import digest_fields, digest_rows
from twfer_dist.engine.id_ranges import IdRange
from twfer_dist.engine.plan import Plan, sort_by_id
from twfer_dist.engine.progress import Follow, Progress
from twfer_dist.engine.ray_data import run_shards
from twfer_dist.engine.reuse import Reuse, SortedRows
from twfer_dist.engine.shards import ROW_KEY, PlannedPart, ShardStore, Step


@dataclass(frozen=True)
class MappedRows:
    """The rows of a plan after `StageOutput.map`, computed and reused; travels to the workers.

    A table is read in pieces: a piece holds the rows that belong to `rows_per_shard` planned ids, reused or not, and
    so does not depend on which rows are reused.
    """

    store: ShardStore
    reuse: Reuse | None = None

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.store.parts)

    @property
    def reused(self) -> int:
        return sum(part.rows - part.to_compute for part in self.store.parts)

    @property
    def pieces_of_parts(self) -> list[int]:
        """How many pieces each part of the plan has."""
        return [-(-part.rows // self.store.rows_per_shard) for part in self.store.parts]

    def pieces(
        self, table: str, index: int, start: int = 0, columns: Sequence[str] | None = None
    ) -> Iterator[pa.Table]:
        """The pieces of a table from the part `index` of the plan, in order, beginning with number `start`.

        columns: all, and those of `digests.digest_fields`, by default; the first is the id.
        """
        expected = dict(self.store.tables)[table]
        if columns is None:
            columns = [*expected.names, *(field.name for field in digest_fields(expected))]
        part, first = self.store.parts[index], self.store.first_shards[index]
        if part.to_compute == part.rows:
            shards = range(first + start, self.store.first_shards[index + 1])
            return (self.store.read(table, shard, columns) for shard in shards)
        return self._merged(table, expected, index, start, columns)

    def _merged(
        self, table: str, expected: pa.Schema, index: int, start: int, columns: Sequence[str]
    ) -> Iterator[pa.Table]:
        assert self.reuse
        step, part = self.store.rows_per_shard, self.store.parts[index]
        ids = planned_ids(self.store.plan_file(part.number))
        rest = planned_ids(self.store.rest_file(part.number)) if part.to_compute else []
        end = self.store.parts[index + 1].first if index + 1 < len(self.store.parts) else None
        low = ids[start * step] if start or index else ""
        bounds = [*ids[(start + 1) * step :: step], end]
        # Shards whose ids are all below the first piece are not read.
        before = max(0, sum(row_id <= low for row_id in rest[::step]) - 1)
        shards = range(self.store.first_shards[index] + before, self.store.first_shards[index + 1])
        computed = SortedRows(self.store.read(table, shard, columns) for shard in shards)
        kept = set(ids).difference(rest)
        reused = SortedRows(self.reuse.rows(table, expected, kept, columns, IdRange(low, end)))
        for _ in computed.below(low):
            pass
        for bound in bounds:
            pieces = [piece for source in (reused, computed) for piece in source.below(bound)]
            yield sort_by_id(pa.concat_tables(pieces)) if pieces else self._empty(expected, columns)

    def _empty(self, expected: pa.Schema, columns: Sequence[str]) -> pa.Table:
        fields = {field.name: field for field in (*expected, *digest_fields(expected))}
        return pa.schema([fields[name] for name in columns]).empty_table()


def planned_ids(file: str) -> list[str]:
    """The ids of a written part of a plan, sorted."""
    with storage.open_parquet(file) as parquet:
        return parquet.read(columns=[parquet.schema_arrow.names[0]])[0].to_pylist()


def write_plan(store: ShardStore, plan: Plan, key_columns: Sequence[str], follow: Follow) -> ShardStore:
    """Have workers make and write the parts of a plan; the store that knows them. key_columns: whose values decide a
    row. ValueError where an id is planned twice.
    """
    write = partial(_write_part, make=plan.make, store=store, key_columns=key_columns)
    parts: list[PlannedPart] = []
    for part in follow("planning", ray_tasks.run("plan", write, enumerate(plan.parts)), len(plan.parts)):
        if part is None:
            continue
        if parts and part.first <= parts[-1].last:
            raise ValueError(
                f"the plan of {store.directory} is not in the order of its ids, or holds {part.first} twice"
            )
        parts.append(part)
    return replace(store, parts=tuple(parts))


def _write_part(
    numbered: tuple[int, Any], make: Callable[[Any], pa.Table], store: ShardStore, key_columns: Sequence[str]
) -> PlannedPart | None:
    """None for a part without rows."""
    number, part = numbered
    rows = sort_by_id(make(part))
    if not len(rows):
        return None
    ids = rows.column(0)
    if len(rows) != pc.count_distinct(ids).as_py():
        raise ValueError(f"the plan of {store.directory} holds an id twice")
    if key_columns:
        rows = rows.append_column(ROW_KEY, digest_rows(rows.select(key_columns)))
    storage.write_parquet(store.plan_file(number), rows, store.rows_per_shard)
    return PlannedPart(number, len(rows), ids[0].as_py(), ids[-1].as_py(), len(rows))


def count_kept(store: ShardStore, found: Sequence[Reuse]) -> list[int]:
    """How many planned rows each of `found` keeps."""
    counts = [0] * len(found)
    for kept in ray_tasks.run("find rows to reuse", partial(_count_kept, store=store, found=found), store.parts):
        counts = [a + b for a, b in zip(counts, kept, strict=True)]
    return counts


def _count_kept(part: PlannedPart, store: ShardStore, found: Sequence[Reuse]) -> list[int]:
    with storage.open_parquet(store.plan_file(part.number)) as file:
        plan = file.read(columns=[file.schema_arrow.names[0], ROW_KEY])
    return [pc.sum(reuse.keeps(plan)).as_py() or 0 for reuse in found]


def set_reused_aside(store: ShardStore, reuse: Reuse) -> ShardStore:
    """Have workers write which rows of each part are left to compute; the store that knows it."""
    cut = partial(_set_reused_aside, store=store, reuse=reuse)
    return replace(store, parts=tuple(ray_tasks.run("set reused rows aside", cut, store.parts)))


def _set_reused_aside(part: PlannedPart, store: ShardStore, reuse: Reuse) -> PlannedPart:
    with storage.open_parquet(store.plan_file(part.number)) as file:
        plan = file.read()
    rest = plan.filter(pc.invert(reuse.keeps(plan)))
    if len(rest) < len(plan):
        storage.write_parquet(store.rest_file(part.number), rest, store.rows_per_shard)
    return replace(part, to_compute=len(rest))


def compute_shards(
    store: ShardStore, steps: Sequence[Step], open_progress: Callable[[int], AbstractContextManager[Progress]]
) -> None:
    """Carry every planned row that is not reused through the steps. Shards that an earlier run finished are kept.

    open_progress: takes the number of rows; entered only if there is a shard to compute.
    """
    shards = range(store.first_shards[-1])
    finished = store.finished().intersection(shards)
    missing = [shard for shard in shards if shard not in finished]
    if not missing:
        return
    rows = sum(part.to_compute for part in store.parts)
    with open_progress(rows) as progress:
        progress.start(rows - sum(map(store.shard_rows, missing)), dead=store.without_result(finished))
        for done, counts in run_shards(missing, steps, store):
            progress.advance(done, dead=sum(n for status, n in counts.items() if status != OK))
