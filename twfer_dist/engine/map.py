"""The rows of a stage: planned, reused where they are unchanged, and otherwise computed on Ray Data in shards."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import pyarrow as pa

from twfer_dist.core.status import OK
from twfer_dist.engine.progress import Progress
from twfer_dist.engine.ray_data import run_shards
from twfer_dist.engine.reuse import Reuse
from twfer_dist.engine.shards import ShardStore, Step


@dataclass(frozen=True)
class MappedRows:
    """The rows of a plan after `StageOutput.map`: `shards` computed shards, and reused rows."""

    store: ShardStore
    ids: pa.ChunkedArray  # of the whole plan, sorted
    rows_per_shard: int
    shards: int
    row_keys: pa.Table | None  # (id, row_key), see `reuse`
    reuse: Reuse | None

    def tables(self, name: str) -> Iterator[pa.Table]:
        """A table piece by piece, in the order of the ids."""
        computed = (self.store.read(name, shard) for shard in range(self.shards))
        if self.reuse is None:
            return computed
        starts = pa.array(range(self.rows_per_shard, len(self.ids), self.rows_per_shard), pa.int64())
        bounds = [*self.ids.take(starts).to_pylist(), None]
        return self.reuse.merge(name, dict(self.store.tables)[name], bounds, computed)


def compute_shards(
    store: ShardStore,
    plan: pa.Table,
    steps: Sequence[Step],
    rows_per_shard: int,
    open_progress: Callable[[int], AbstractContextManager[Progress]],
) -> None:
    """Carry every row of `plan` (sorted by id) through the steps. Shards that an earlier run finished are kept.

    open_progress: takes the number of rows; entered only if there is a shard to compute.
    """
    store.write_plan(plan, rows_per_shard)
    shards = set(range(-(-len(plan) // rows_per_shard)))
    finished = store.finished() & shards
    missing = sorted(shards - finished)
    if not missing:
        return
    missing_rows = sum(min(rows_per_shard, len(plan) - shard * rows_per_shard) for shard in missing)
    with open_progress(len(plan)) as progress:
        progress.start(len(plan) - missing_rows, dead=store.without_result(finished))
        for rows, counts in run_shards(missing, steps, store):
            progress.advance(rows, dead=sum(n for status, n in counts.items() if status != OK))
