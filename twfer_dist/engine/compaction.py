"""The shards of a table joined into few Parquet files, each by one worker.

Which rows form a file, and which of them a row group, follows from the sizes of the pieces alone (`layout`), so that
any number of workers, and reused and computed rows, give the same bytes. A file that an interrupted run finished is
known by its note and kept.
"""

import itertools
import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from twfer_dist.core.errors import UserError
from twfer_dist.engine import hashed_file, ray_tasks, storage
from twfer_dist.engine.artifact import WORK, OutputFile
from twfer_dist.engine.digests import IMAGE, IMAGE_BYTES, digest_fields
from twfer_dist.engine.id_ranges import digest_file
from twfer_dist.engine.map import MappedRows, planned_ids
from twfer_dist.engine.progress import Follow

TARGET_FILE_BYTES = 256 << 20
TARGET_ROW_GROUP_BYTES = 8 << 20

Change = Callable[[pa.Table], pa.Table]
RowGroup = tuple[int, int]  # the number of its first piece, and of the first one after it


@dataclass(frozen=True)
class Part:
    """A file of a table: its row groups, what the manifest says of it, and the file with the digests of its images."""

    row_groups: Sequence[RowGroup]
    file: OutputFile
    last: str | None  # id
    counts: Mapping[str, int]  # of its rows by status
    digests: OutputFile | None


@dataclass(frozen=True)
class _Target:
    """A file to write."""

    table: str
    number: int
    row_groups: Sequence[RowGroup]

    @property
    def path(self) -> str:
        name = f"part-{self.number:05d}.parquet"
        return name if self.table == "." else f"{self.table}/{name}"


def compact(rows: MappedRows, changes: Mapping[str, Change], follow: Follow) -> list[Part]:
    """Have workers join the shards of all tables into files of about TARGET_FILE_BYTES; what these hold. changes: made
    to a table while it is written. UserError where the ids are not those of the plan.
    """
    directory, tables = rows.store.directory, rows.store.tables
    sizes: dict[str, list[int]] = {name: [] for name, _ in tables}
    measure = partial(_measure, rows=rows, changes=changes)
    parts_of_plan = range(len(rows.store.parts))
    for measured in follow("measuring", ray_tasks.run("measure shards", measure, parts_of_plan), len(parts_of_plan)):
        for name, of_part in measured.items():
            sizes[name] += of_part
    targets = [_Target(name, number, groups) for name, _ in tables for number, groups in enumerate(layout(sizes[name]))]
    _delete_others(directory, [name for name, _ in tables], {target.path for target in targets})
    join = partial(_join, rows=rows, changes=changes)
    parts = list(follow("joining", ray_tasks.run("join shards", join, targets), len(targets)))
    _check(rows, parts)
    return parts


def _check(rows: MappedRows, parts: Sequence[Part]) -> None:
    """Each file was compared with the plan when it was written; here, that they follow each other and are all."""
    directory, tables = rows.store.directory, rows.store.tables
    for name, _ in tables:
        of_table = [part for part in parts if part.file.table == name]
        total = sum(part.file.rows or 0 for part in of_table)
        in_order = all(a.last < b.file.first for a, b in itertools.pairwise(of_table) if a.last and b.file.first)
        if not in_order or (name == tables[0][0] and total != rows.rows):
            raise UserError(
                f"{storage.join(directory, name)} holds {total} rows and not the {rows.rows} ids of the plan in their "
                f"order: delete {directory}, and start again."
            )


def layout(sizes: Sequence[int]) -> list[list[RowGroup]]:
    """The row groups of each file, by the sizes of all pieces of a table. A table without rows is one empty file."""
    files: list[list[RowGroup]] = [[]]
    start = pending = in_file = 0
    for number, size in enumerate(sizes, start=1):
        pending, in_file = pending + size, in_file + size
        if pending >= TARGET_ROW_GROUP_BYTES:
            files[-1].append((start, number))
            start, pending = number, 0
        if in_file >= TARGET_FILE_BYTES and files[-1]:
            files.append([])
            in_file = 0
    if pending or files == [[]]:
        files[-1].append((start, len(sizes)))
    return [row_groups for row_groups in files if row_groups]


def _measure(index: int, rows: MappedRows, changes: Mapping[str, Change]) -> dict[str, list[int]]:
    """About the size of each piece of a part of the plan, from its values alone: its size in memory depends on how it
    was made. Images are not read.
    """
    sizes = {}
    for name, expected in rows.store.tables:
        texts = [f.name for f in expected if f.type in (pa.string(), pa.binary()) and f.name != IMAGE]
        others = 16 * (len(expected) - len(texts) - (IMAGE in expected.names))
        columns = texts + [IMAGE_BYTES] * (IMAGE in expected.names)
        change = changes.get(name, _unchanged)
        sizes[name] = [
            sum(_length(piece[column]) for column in columns) + others * len(piece)
            for piece in map(change, rows.pieces(name, index, columns=columns))
        ]
    return sizes


def _length(column: pa.ChunkedArray) -> int:
    return pc.sum(column if column.type == pa.int32() else pc.binary_length(column)).as_py() or 0


def _unchanged(table: pa.Table) -> pa.Table:
    return table


def _delete_others(directory: str, tables: Sequence[str], wanted: set[str]) -> None:
    """Delete what an interrupted run left of files that are not `wanted`, or do not belong to one that is."""
    wanted |= {digest_file(path) for path in wanted}
    for table in tables:
        for name in storage.list_files(storage.join(directory, table)):
            path = name if table == "." else f"{table}/{name}"
            if name.startswith(("part-", digest_file("part-"))) and path not in wanted:
                storage.delete_file(storage.join(directory, path))


def _join(target: _Target, rows: MappedRows, changes: Mapping[str, Change]) -> Part:
    """Write a file, unless its note says that an interrupted run finished it."""
    directory = rows.store.directory
    note = storage.join(directory, WORK, "joined", f"{target.path}.json")
    if storage.exists(note) and storage.exists(storage.join(directory, target.path)):
        finished = _from_json(json.loads(storage.read_bytes(note)))
        if list(map(tuple, finished.row_groups)) == list(target.row_groups):
            return finished
    with storage.writing(storage.join(directory, target.table)):
        part = storage.with_retries(lambda: _write(target, rows, changes.get(target.table, _unchanged)))
    storage.write_json(note, asdict(part))
    return part


def _from_json(values: dict[str, Any]) -> Part:
    files = {name: values[name] and OutputFile(**values[name]) for name in ("file", "digests")}
    return Part(**(values | files))


def _write(target: _Target, rows: MappedRows, change: Change) -> Part:
    directory, expected = rows.store.directory, dict(rows.store.tables)[target.table]
    joined = _Joined(expected)
    pieces = _pieces(rows, target)

    def row_groups() -> Iterator[pa.Table]:
        for start, stop in target.row_groups:
            for piece, planned in itertools.islice(pieces, stop - start):
                joined.add(change(piece), planned, directory)
            yield joined.take_row_group()

    sha256 = hashed_file.write_row_groups(storage.join(directory, target.path), expected, row_groups())
    file = OutputFile(target.path, sha256, target.table, joined.rows, joined.first)
    digests = None
    if fields := digest_fields(expected):
        path = digest_file(target.path)
        schema = pa.schema([expected.field(0), *fields]).remove_metadata()
        written = hashed_file.write_row_groups(storage.join(directory, path), schema, iter(joined.digests))
        digests = OutputFile(path, written)
    return Part(target.row_groups, file, joined.last, dict(joined.counts), digests)


def _pieces(rows: MappedRows, target: _Target) -> Iterator[tuple[pa.Table, list[str] | None]]:
    """The pieces of a file, with the ids of the plan where the table is the planned one."""
    number, stop = target.row_groups[0][0], target.row_groups[-1][1]
    firsts = list(itertools.accumulate(rows.pieces_of_parts, initial=0))
    is_planned = target.table == rows.store.tables[0][0]
    while number < stop:
        index = bisect_right(firsts, number) - 1
        start, step = number - firsts[index], rows.store.rows_per_shard
        ids = planned_ids(rows.store.plan_file(rows.store.parts[index].number)) if is_planned else None
        for k, piece in enumerate(rows.pieces(target.table, index, start), start=start):
            yield piece, ids and ids[k * step : (k + 1) * step]
            number += 1
            if number == stop:
                return


class _Joined:
    """The rows of a file: those of the next row group, and a summary of all."""

    def __init__(self, expected: pa.Schema) -> None:
        self._expected = expected
        self._pending: list[pa.Table] = []
        self.rows = 0
        self.first: str | None = None
        self.last: str | None = None
        self.counts: Counter[str] = Counter()
        self.digests: list[pa.Table] = []  # by row group

    def add(self, piece: pa.Table, planned: list[str] | None, directory: str) -> None:
        """UserError where the ids are not the `planned` ones, or do not follow those before."""
        if not len(piece) and not planned:
            return
        ids = piece[0].to_pylist()
        ordered = all(a < b for a, b in itertools.pairwise([self.last or "", *ids]))
        if not ordered or (planned is not None and ids != planned):
            raise UserError(
                f"A shard in {directory} does not hold the ids of the plan, from {(planned or ids)[0]} on: delete "
                "the directory, and start again."
            )
        self.first, self.last = self.first or ids[0], ids[-1]
        self.rows += len(ids)
        self._pending.append(piece)

    def take_row_group(self) -> pa.Table:
        # In one chunk: pages end where chunks end, and chunks depend on which rows were reused.
        names = self._expected.names
        pieces = [piece.select(names).cast(self._expected) for piece in self._pending]
        rows = pa.concat_tables([self._expected.empty_table(), *pieces]).combine_chunks()
        if "status" in names:
            self.counts.update({v["values"]: v["counts"] for v in pc.value_counts(rows["status"]).to_pylist()})
        if fields := [field.name for field in digest_fields(self._expected)]:
            digests = [piece.select([names[0], *fields]).replace_schema_metadata() for piece in self._pending]
            self.digests += [pa.concat_tables(digests).combine_chunks()] if digests else []
        self._pending = []
        return rows
