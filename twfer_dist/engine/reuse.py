"""Rows of finished outputs that need not be computed again.

Rows are reused from the output whose failed rows are retried, and from another output of the same stage with different
inputs, for example after photographs were added or a face was corrected. There a row is reused where everything that
decides it is unchanged. Which rows these are is found by workers, a part of the plan at a time.
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from twfer_dist.core import schema
from twfer_dist.core.errors import UserError
from twfer_dist.core.status import TRANSIENT
from twfer_dist.engine import artifact, id_ranges, row_keys, storage
from twfer_dist.engine.artifact import WORK, Artifact
from twfer_dist.engine.id_ranges import IdRange, IdTable, read_range
from twfer_dist.engine.intact import fault
from twfer_dist.engine.shards import ROW_KEY

_CHOICE = "reused.json"  # in WORK: which output rows are reused from

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reuse:
    """Rows of the finished output `before` that are reused: none with a transient status, and, unless `before` is
    retried, only those whose row key is as planned.

    planned: the planned table of `before`.
    """

    planned: IdTable
    retried: bool = False

    @property
    def before(self) -> Artifact:
        return self.planned.output

    def keeps(self, plan: pa.Table) -> pa.Array:
        """Whether each row of a part of the plan is kept. The plan is sorted by id, and has row keys or is retried."""
        ids = plan.column(0).combine_chunks()
        within = IdRange.up_to(ids[0].as_py(), ids[-1].as_py())
        kept = pa.array([True] * len(ids))
        if self.retried or has_transient_rows(self.before):
            rows = read_range(self.planned, [self.planned.key, "status"], within)
            lasting = rows.filter(pc.invert(pc.is_in(rows["status"], pa.array(TRANSIENT))))
            kept = pc.is_in(ids, lasting[0].combine_chunks())
        if self.retried:
            return kept
        theirs = row_keys.read(self.before, within)
        planned, other = plan[ROW_KEY].combine_chunks(), theirs[ROW_KEY].combine_chunks()
        same = pc.equal(planned, other.take(pc.index_in(ids, theirs[0].combine_chunks())))
        return pc.and_(kept, pc.fill_null(same, False))

    def rows(
        self, table: str, expected: pa.Schema, kept: Set[str], columns: Sequence[str], ids: IdRange
    ) -> Iterator[pa.Table]:
        """The rows of a table of `before` in a range of ids that belong to the planned ids `kept`, piece by piece."""
        # In the planned table a relative is a row of its own, which may be computed.
        planned = table == self.planned.name
        for rows in id_ranges.scan_range(IdTable(self.before, table, expected), columns, ids):
            names = rows[expected.names[0]].to_pylist()
            mine = [name in kept if planned else schema.descends(name, kept) for name in names]
            yield rows.filter(pa.array(mine, pa.bool_()))


def has_transient_rows(output: Artifact) -> bool:
    """Whether some rows of an output are worth a retry."""
    planned = output.manifest.planned_table
    return planned is not None and bool(output.manifest.counts[planned].keys() & set(TRANSIENT))


def keep_permanent(before: Artifact, planned: str, expected: pa.Schema) -> Reuse:
    """Reuse all rows of an output except those with a transient status. UserError where the output is damaged."""
    if problem := fault(before):
        raise UserError(f"{problem}: delete {before.uri} and run again to make it from scratch.")
    return Reuse(IdTable(before, planned, expected), retried=True)


def candidates(fingerprint_payload: Mapping[str, Any], out: str, planned: str, expected: pa.Schema) -> Iterator[Reuse]:
    """The other outputs under `out` of the same stage, version, configuration and models with row keys."""
    for folder in storage.list_folders(out):
        if not folder.startswith(f"{fingerprint_payload['stage']}-"):
            continue
        try:
            other = artifact.open_artifact(storage.join(out, folder))
        except UserError:  # unfinished, damaged, or of another version of the program
            continue
        same = all(
            storage.digest(getattr(other.manifest, key)) == storage.digest(fingerprint_payload[key])
            for key in fingerprint_payload.keys() - {"inputs"}
        )
        if same and row_keys.files(other):
            yield Reuse(IdTable(other, planned, expected))


def forget_lost_choice(found: Sequence[Reuse], directory: str) -> None:
    """Delete the unfinished work in `directory` where it reuses rows of an output that is not among `found` any more,
    or is damaged.
    """
    chosen = _recorded(directory)
    if chosen and not any(reuse.before.build_id == chosen and _is_intact(reuse.before) for reuse in found):
        storage.delete_folder(storage.join(directory, WORK))


def forget_other_retry(before: Artifact, directory: str) -> None:
    """Delete the unfinished work in `directory` where it retries another build than `before`: other rows failed there,
    so that its shards hold other ids.
    """
    if _recorded(directory) != before.build_id:
        storage.delete_folder(storage.join(directory, WORK))


def choose(found: Sequence[Reuse], directory: str, count: Callable[[Sequence[Reuse]], Sequence[int]]) -> Reuse | None:
    """The undamaged one of `found` that keeps the most rows; None where no row is kept. count: how many each keeps.

    The first run of the stage records its choice in `directory`, and later runs stay with it, because the shards depend
    on it.
    """
    recorded = _recorded(directory)
    if recorded is not None:
        return next((reuse for reuse in found if reuse.before.build_id == recorded), None)
    numbers = count(found) if found else []
    order = sorted(range(len(found)), key=lambda k: numbers[k], reverse=True)
    best = next((found[k] for k in order if numbers[k] and _is_intact(found[k].before)), None)
    record(directory, best.before if best else None)
    return best


def record(directory: str, chosen: Artifact | None) -> None:
    """Note which output the unfinished work in `directory` reuses rows of."""
    storage.write_json(storage.join(directory, WORK, _CHOICE), {"build_id": chosen.build_id} if chosen else {})


def _recorded(directory: str) -> str | None:
    """The build id that an earlier run chose, empty where it chose none; None where there was no such run."""
    choice = storage.join(directory, WORK, _CHOICE)
    return json.loads(storage.read_bytes(choice)).get("build_id", "") if storage.exists(choice) else None


def _is_intact(output: Artifact) -> bool:
    problem = fault(output)
    if problem:
        logger.warning("%s: no rows of %s are reused.", problem, output.uri)
    return not problem


class SortedRows:
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
