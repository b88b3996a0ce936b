"""Rows of finished outputs that need not be computed again, and how they are merged with the computed ones.

Rows are reused from the output whose failed rows are retried, and from another output of the same stage with different
inputs, for example after photographs were added or a face was corrected. There a row is reused where everything that
decides it is unchanged.
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from twfer_dist.core import schema
from twfer_dist.core.errors import UserError
from twfer_dist.core.status import TRANSIENT
from twfer_dist.engine import artifact, storage
from twfer_dist.engine.artifact import WORK, Artifact

ROW_KEYS = "_row_keys.parquet"  # readers of a directory as a data set skip names with a leading underscore
"""The file of an output that holds a digest of what decided each planned row: (id, row_key)."""

DIGEST = pa.binary(16)

_CHOICE = "reused.json"  # in WORK: which output rows are reused from

logger = logging.getLogger(__name__)


class Reuse:
    """Rows of `before` to reuse: those of its planned table with ids in `keep`, and their relatives in other tables."""

    def __init__(self, before: Artifact, keep: Set[str]) -> None:
        self.before, self.keep = before, keep

    def merge(
        self, table: str, expected: pa.Schema, bounds: Sequence[str | None], computed: Iterator[pa.Table]
    ) -> Iterator[pa.Table]:
        """Reused and `computed` rows of a table, sorted by id, in one piece for each of `bounds`: the remaining rows
        whose id is smaller (all of them for None).
        """
        sources = [_SortedRows(self._reused(table)), _SortedRows(computed)]
        for bound in bounds:
            pieces = [piece.cast(expected) for source in sources for piece in source.below(bound)]
            yield pa.concat_tables([expected.empty_table(), *pieces]).sort_by(expected.names[0])

    def _reused(self, table: str) -> Iterator[pa.Table]:
        # In the planned table a relative is a row of its own, which may be computed.
        planned = table == self.before.manifest.planned_table
        for entry in self.before.manifest.files:
            if entry.table != table:
                continue
            with storage.open_parquet(self.before.path(entry.path)) as file:
                for batch in file.iter_batches(batch_size=1024):
                    piece = pa.Table.from_batches([batch])
                    reused = [
                        row_id in self.keep if planned else schema.descends(row_id, self.keep)
                        for row_id in piece[0].to_pylist()
                    ]
                    yield piece.filter(pa.array(reused, pa.bool_()))


def keep_permanent(before: Artifact, planned: str, expected: pa.Schema) -> Reuse:
    """Reuse all rows of an output except those with a transient status. UserError where the output is damaged."""
    if fault := before.fault():
        raise UserError(f"{fault}: delete {before.uri} and run again to make it from scratch.")
    rows = before.table(planned, expected, columns=[expected.names[0], "status"])
    transient = pc.is_in(rows["status"], pa.array(TRANSIENT))
    return Reuse(before, set(rows.filter(pc.invert(transient))[0].to_pylist()))


def row_keys(plan: pa.Table, columns: Sequence[str]) -> pa.Table:
    """(id, row_key) of each planned row: a digest of the columns that decide it."""
    digests = [digest_rows(batch) for batch in plan.select(columns).to_batches(max_chunksize=1024)]
    return pa.table({plan.column_names[0]: plan.column(0), "row_key": pa.chunked_array(digests, DIGEST)})


def digest_rows(rows: pa.RecordBatch) -> pa.Array:
    """A digest of 16 bytes of the values of each row."""
    digests = []
    for values in zip(*(column.to_pylist() for column in rows.columns), strict=True):
        state = hashlib.blake2b(digest_size=16)
        for value in values:
            data = value if isinstance(value, bytes) else repr(value).encode()
            state.update(len(data).to_bytes(8, "little") + data)
        digests.append(state.digest())
    return pa.array(digests, DIGEST)


def row_digests(output: Artifact, table: str, expected: pa.Schema, columns: Sequence[str]) -> pa.Table:
    """(id, content) of each row of a table: a digest of these columns. The table is read in batches."""
    key, pieces = expected.names[0], []
    for batch in output.scan(table, expected).to_batches(columns=[key, *columns], batch_size=1024):
        pieces.append(pa.table({key: batch[key], "content": digest_rows(batch.select(list(columns)))}))
    return pa.concat_tables([pa.schema([(key, pa.string()), ("content", DIGEST)]).empty_table(), *pieces])


def choose_reuse(fingerprint_payload: Mapping[str, Any], out: str, directory: str, keys: pa.Table) -> Reuse | None:
    """The undamaged output under `out` with the most rows that a stage with these row keys can reuse; None without any.

    The first run of the stage records its choice in `directory`, and later runs stay with it, because the shards depend
    on it. Where the chosen output no longer exists, the unfinished work in `directory` is deleted.
    """
    candidates = sorted(reuse_candidates(fingerprint_payload, out, keys), key=lambda c: len(c.keep), reverse=True)
    choice = storage.join(directory, WORK, _CHOICE)
    if storage.exists(choice):
        chosen = json.loads(storage.read_bytes(choice))
        if not chosen:
            return None
        for candidate in candidates:
            if chosen == {"build_id": candidate.before.build_id} and _is_intact(candidate.before):
                return candidate
        storage.delete_folder(storage.join(directory, WORK))
    best = next((candidate for candidate in candidates if _is_intact(candidate.before)), None)
    storage.write_json(choice, {"build_id": best.before.build_id} if best else {})
    return best


def _is_intact(output: Artifact) -> bool:
    fault = output.fault()
    if fault:
        logger.warning("%s: no rows of %s are reused.", fault, output.uri)
    return not fault


def reuse_candidates(fingerprint_payload: Mapping[str, Any], out: str, keys: pa.Table) -> Iterator[Reuse]:
    """The other outputs under `out` of the same stage, version, configuration and models that share row keys with
    `keys` (id, row_key), and the rows they share.
    """
    for folder in storage.list_folders(out):
        directory = storage.join(out, folder)
        if not folder.startswith(f"{fingerprint_payload['stage']}-") or not storage.exists(
            storage.join(directory, ROW_KEYS)
        ):
            continue
        try:
            other = artifact.open_artifact(directory)
        except UserError:  # unfinished, damaged, or of another version of the program
            continue
        if any(
            storage.digest(getattr(other.manifest, key)) != storage.digest(fingerprint_payload[key])
            for key in fingerprint_payload.keys() - {"inputs"}
        ):
            continue
        with storage.open_parquet(other.path(ROW_KEYS)) as file:
            theirs = file.read()
        if keep := _shared_ids(keys, theirs):
            yield Reuse(other, keep)


def _shared_ids(ours: pa.Table, theirs: pa.Table) -> set[str]:
    """The ids that both tables (id, row_key) hold with the same key."""
    matching = theirs[1].take(pc.index_in(ours[0], theirs[0].combine_chunks()))
    return set(ours[0].filter(pc.fill_null(pc.equal(ours[1], matching), False)).to_pylist())


class _SortedRows:
    """The pieces of a table that is sorted by id, consumed from the front."""

    def __init__(self, pieces: Iterator[pa.Table]) -> None:
        self._pieces = pieces
        self._head: pa.Table | None = None

    def below(self, bound: str | None) -> Iterator[pa.Table]:
        """The remaining rows whose id is smaller than `bound`; all of them for None."""
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
