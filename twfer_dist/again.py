"""A finished output of which the rows without a result are done again: what is kept of it, and how the two become one."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from twfer_dist import schema, storage
from twfer_dist.storage import Finished


class Again:
    """failed: the ids of the `planned` table whose status is not ok, sorted; they and their relatives are not kept."""

    def __init__(self, before: Finished, planned: str, expected: pa.Schema) -> None:
        self.before = before
        self._planned = planned
        rows = before.table(planned, expected, columns=[expected.names[0], "status"])
        self.failed = rows.filter(pc.not_equal(rows["status"], schema.OK))[0].combine_chunks()

    def joined(self, name: str, expected: pa.Schema, bounds: Sequence[str | None], made: Iterator[pa.Table]) -> Iterator[pa.Table]:
        """The table `name` in pieces: of each bound all rows with smaller ids that are left, kept ones and those `made` again."""
        kept, again = _Pieces(self._kept(name)), _Pieces(made)
        for bound in bounds:
            pieces = [piece.cast(expected) for piece in (*kept.below(bound), *again.below(bound))]
            yield pa.concat_tables([expected.empty_table(), *pieces]).sort_by(expected.names[0])

    def _kept(self, name: str) -> Iterator[pa.Table]:
        failed = set(self.failed.to_pylist())
        for entry in self.before.manifest["files"]:
            if entry.get("table") != name:
                continue
            with storage.open_parquet(self.before.path(entry["path"])) as file:
                for batch in file.iter_batches(batch_size=1024):
                    piece = pa.Table.from_batches([batch])
                    goes = [schema.descends(row_id, failed) for row_id in piece[0].to_pylist()]
                    yield piece.filter(pc.invert(pa.array(goes, pa.bool_())))


class _Pieces:
    """Pieces of a table that is sorted by id, to be taken from the front."""

    def __init__(self, pieces: Iterator[pa.Table]) -> None:
        self._pieces = pieces
        self._head: pa.Table | None = None

    def below(self, bound: str | None) -> Iterator[pa.Table]:
        """All rows that are left and whose id is smaller; all that are left where there is no bound."""
        while True:
            if self._head is None:
                self._head = next(self._pieces, None)
            if self._head is None:
                return
            smaller = len(self._head) if bound is None else pc.sum(pc.less(self._head[0], bound)).as_py() or 0
            yield self._head.slice(0, smaller)
            self._head = self._head.slice(smaller)
            if len(self._head):
                return
            self._head = None
