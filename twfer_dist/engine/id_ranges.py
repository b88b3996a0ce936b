"""Tables of finished outputs in ranges of ids, so that a worker plans a range without its driver reading a row."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact, OutputFile
from twfer_dist.engine.digests import IMAGE, IMAGE_BYTES, IMAGE_DIGEST, digest_rows, with_image_digests
from twfer_dist.engine.plan import ROWS_PER_PART

_READERS = 16  # threads that read footers on storage with high latency


@dataclass(frozen=True)
class IdTable:
    """A table of a finished output, whose schema begins with its id."""

    output: Artifact
    name: str
    schema: pa.Schema

    @property
    def key(self) -> str:
        return self.schema.names[0]


@dataclass(frozen=True)
class IdRange:
    """The ids from `low` on, and below `high` unless it is None."""

    low: str = ""
    high: str | None = None

    @classmethod
    def up_to(cls, low: str, last: str) -> "IdRange":
        """The ids from `low` to `last`, both included."""
        return cls(low, f"{last}\0")


def id_ranges(tables: Sequence[IdTable], rows: int = ROWS_PER_PART) -> list[IdRange]:
    """Ranges that together hold every id, each with about `rows` rows of all tables, or with a row group of each where
    these are larger. They depend on the tables alone.
    """
    starts = sorted(start for table in tables for start in _starts(table, rows))
    bounds, pending = [""], 0
    for first, count in starts:
        if pending >= rows and first > bounds[-1]:
            bounds.append(first)
            pending = 0
        pending += count
    return [IdRange(low, high) for low, high in zip(bounds, [*bounds[1:], None], strict=True)]


def _starts(table: IdTable, rows: int) -> Iterator[tuple[str, int]]:
    """The first id and the number of rows of each file, or of each row group of a file of more than `rows` rows."""
    large = []
    for file in table.output.files(table.name):
        if file.first is None or (file.rows or 0) > rows:
            large.append(file)
        else:
            yield file.first, file.rows or 0

    def groups(file: OutputFile) -> list[tuple[str, int]]:
        with storage.open_parquet(table.output.path(file.path)) as parquet:
            found = [parquet.metadata.row_group(k) for k in range(parquet.metadata.num_row_groups)]
            return [(group.column(0).statistics.min, group.num_rows) for group in found if group.num_rows]

    with ThreadPoolExecutor(_READERS) as pool:
        for found in pool.map(groups, large):
            yield from found


def read_range(table: IdTable, columns: Sequence[str], ids: IdRange) -> pa.Table:
    """What `scan_range` yields, as one table."""
    return pa.concat_tables(scan_range(table, columns, ids))


def scan_range(table: IdTable, columns: Sequence[str], ids: IdRange) -> Iterator[pa.Table]:
    """These columns of the rows in a range, sorted by id, piece by piece; at least one piece. `image_bytes` and
    `image_digest` may be among the columns: they are read from the files beside the parts, or made from the images of
    an output that has no such files.
    """
    digests = [name for name in columns if name in (IMAGE_BYTES, IMAGE_DIGEST)]
    plain = [name for name in columns if name not in digests]
    chosen = [file.path for file in table.output.files(table.name, ids.low, ids.high)]
    beside = [digest_file(path) for path in chosen]
    scanned = table.output.scan(table.name, table.schema, ids.low, ids.high)
    with table.output.readable(table.name):
        if not digests:
            yield from _pieces(scanned, plain, table.key, ids)
        elif not {file.path for file in table.output.manifest.files}.issuperset(beside):
            for piece in _pieces(scanned, list(dict.fromkeys([*plain, IMAGE])), table.key, ids):
                yield with_image_digests(piece).select(columns)
        else:
            fs, base = storage.resolve(table.output.uri)
            known = ds.dataset([f"{base}/{path}" for path in beside], filesystem=fs, format="parquet")
            found, done = known.to_table(columns=digests, filter=within(table.key, ids)), 0
            for piece in _pieces(scanned, plain, table.key, ids):
                part = found.slice(done, len(piece))
                done += len(piece)
                for name in digests:
                    piece = piece.append_column(part.schema.field(name), part[name])
                yield piece.select(columns)


def _pieces(scanned: ds.Dataset, columns: Sequence[str], key: str, ids: IdRange) -> Iterator[pa.Table]:
    scanner = scanned.scanner(list(columns), within(key, ids), batch_size=1024, batch_readahead=2, fragment_readahead=1)
    yield scanner.projected_schema.empty_table()
    for batch in scanner.to_batches():
        yield pa.Table.from_batches([batch])


def row_digests(table: IdTable, columns: Sequence[str], ids: IdRange, also: Sequence[str] = ()) -> pa.Table:
    """`image_id`, `row_digest` (of `columns`, where an image counts by its own digest) and the columns `also` of the
    rows in a range.
    """
    digested = [IMAGE_DIGEST if name == IMAGE else name for name in columns]
    rows = read_range(table, list(dict.fromkeys([table.key, *digested, *also])), ids)
    known = {name: rows[name] for name in also}
    return pa.table({"image_id": rows[table.key], "row_digest": digest_rows(rows.select(digested)), **known})


def digest_file(part: str) -> str:
    """The file with the digests of the images of the file `part`. Readers of a directory as a data set skip names with
    a leading underscore.
    """
    folder, mark, name = part.rpartition("/")
    return f"{folder}{mark}_digests-{name.removeprefix('part-')}"


def within(key: str, ids: IdRange) -> pc.Expression:
    """The filter for a range of the ids in the column `key`."""
    from_low = pc.field(key) >= ids.low
    return from_low if ids.high is None else from_low & (pc.field(key) < ids.high)
