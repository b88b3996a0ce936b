"""What a finished output holds already: which of its rows are kept, and how they become one with those that are made.

Rows are kept of the output whose failed rows are done again, and of another output of the same stage whose inputs
were others: photographs were added, a face was corrected. There a row is kept where all that decides it is the same.
"""

import hashlib
from collections.abc import Iterator, Sequence, Set
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from twfer_dist.core import schema
from twfer_dist.core.errors import UserError
from twfer_dist.core.status import TRANSIENT
from twfer_dist.engine import artifact, storage
from twfer_dist.engine.artifact import Artifact

ROW_KEYS = "_row_keys.parquet"  # who reads the directory as a data set skips names that begin so
"""The file of an output that holds, for each planned id, a digest of what decided its row."""

DIGEST = pa.binary(16)


class Reuse:
    """keep: ids of rows of the table `planned` of `before` that are kept, with their relatives."""

    def __init__(self, before: Artifact, keep: Set[str]) -> None:
        self.before, self.keep = before, keep

    def joined(
        self, name: str, expected: pa.Schema, bounds: Sequence[str | None], made: Iterator[pa.Table]
    ) -> Iterator[pa.Table]:
        """The table `name` in pieces: of each bound all rows with smaller ids that are left, kept ones and those `made`
        again.
        """
        kept, again = _Pieces(self._kept(name)), _Pieces(made)
        for bound in bounds:
            pieces = [piece.cast(expected) for piece in (*kept.below(bound), *again.below(bound))]
            yield pa.concat_tables([expected.empty_table(), *pieces]).sort_by(expected.names[0])

    def _kept(self, name: str) -> Iterator[pa.Table]:
        for entry in self.before.manifest.files:
            if entry.table != name:
                continue
            with storage.open_parquet(self.before.path(entry.path)) as file:
                for batch in file.iter_batches(batch_size=1024):
                    piece = pa.Table.from_batches([batch])
                    planned = (
                        name == self.before.manifest.planned_table
                    )  # there a relative is another row, which may be done again
                    stays = [
                        row_id in self.keep if planned else schema.descends(row_id, self.keep)
                        for row_id in piece[0].to_pylist()
                    ]
                    yield piece.filter(pa.array(stays, pa.bool_()))


def keep_permanent(before: Artifact, planned: str, expected: pa.Schema) -> Reuse:
    """All rows of an output but those that may come out otherwise (`schema.PASSING`). Problem where the output is
    damaged.
    """
    if fault := before.fault():
        raise UserError(f"{fault}: delete {before.uri} and run again, and it is made anew.")
    rows = before.table(planned, expected, columns=[expected.names[0], "status"])
    passing = pc.is_in(rows["status"], pa.array(TRANSIENT))
    return Reuse(before, set(rows.filter(pc.invert(passing))[0].to_pylist()))


def digest_rows(rows: pa.RecordBatch) -> pa.Array:
    """16 bytes for each row, which stand for its values."""
    found = []
    for values in zip(*(column.to_pylist() for column in rows.columns), strict=True):
        state = hashlib.blake2b(digest_size=16)
        for value in values:
            data = value if isinstance(value, bytes) else repr(value).encode()
            state.update(len(data).to_bytes(8, "little") + data)
        found.append(state.digest())
    return pa.array(found, DIGEST)


def row_digests(finished: Artifact, table: str, expected: pa.Schema, columns: Sequence[str]) -> pa.Table:
    """`digests` of these columns of a table, as `content` beside the table's id; it is read piece by piece."""
    key, pieces = expected.names[0], []
    for batch in finished.scan(table, expected).to_batches(columns=[key, *columns], batch_size=1024):
        pieces.append(pa.table({key: batch[key], "content": digest_rows(batch.select(list(columns)))}))
    return pa.concat_tables([pa.schema([(key, pa.string()), ("content", DIGEST)]).empty_table(), *pieces])


def reuse_candidates(fingerprint_payload: dict[str, Any], out: str, decided: pa.Table) -> Iterator[Reuse]:
    """The other outputs under `out` of the same stage, version, configuration and models that agree with some rows of
    `decided` (id, digest), and these rows.
    """
    for folder in storage.list_folders(out):
        if not folder.startswith(f"{fingerprint_payload['stage']}-") or not storage.exists(
            storage.join(out, folder, ROW_KEYS)
        ):
            continue
        try:
            other = artifact.open_artifact(storage.join(out, folder))
        except UserError:  # unfinished, or damaged
            continue
        if any(
            storage.digest(getattr(other.manifest, key)) != storage.digest(fingerprint_payload[key])
            for key in fingerprint_payload.keys() - {"inputs"}
        ):
            continue
        with storage.open_parquet(other.path(ROW_KEYS)) as file:
            theirs = file.read()
        if keep := same_keys(decided, theirs):
            yield Reuse(other, keep)


def same_keys(decided: pa.Table, theirs: pa.Table) -> set[str]:
    """The ids that both tables (id, digest) hold with the same digest."""
    there = theirs[1].take(pc.index_in(decided[0], theirs[0].combine_chunks()))
    return set(decided[0].filter(pc.fill_null(pc.equal(decided[1], there), False)).to_pylist())


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
