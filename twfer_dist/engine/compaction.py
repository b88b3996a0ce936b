"""The shards of a table joined into few Parquet files."""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from twfer_dist.core.errors import UserError
from twfer_dist.engine import storage

TARGET_FILE_BYTES = 256 << 20
TARGET_ROW_GROUP_BYTES = 8 << 20


def compact(
    directory: str, name: str, expected: pa.Schema, shards: Iterator[pa.Table], planned: pa.ChunkedArray | None
) -> None:
    """Join the shards of the table `name`, in order, into files of about `TARGET_FILE_BYTES`. planned: the ids that the
    table must hold, where known.
    """
    folder = storage.join(directory, name)
    for file in part_files(folder):  # left by a run that was interrupted here
        storage.delete_file(storage.join(folder, file))
    rows, last_id = 0, ""
    with _PartWriter(folder, expected) as writer:
        for shard, table in enumerate(shards):
            if not len(table):
                continue
            ids = table.column(0)
            if ids[0].as_py() <= last_id or (planned and not ids.equals(planned.slice(rows, len(ids)).cast(ids.type))):
                raise UserError(
                    f"shard {shard} of {folder} does not hold the ids of the plan: delete {directory}, and start again."
                )
            last_id = ids[-1].as_py()
            rows += len(table)
            writer.add(table)
        writer.finish()
    if planned and rows != len(planned):
        raise UserError(f"{folder} holds {rows} of {len(planned)} planned rows: delete {directory}, and start again.")


def part_files(folder: str) -> list[str]:
    """The names of the Parquet files of a table, sorted."""
    return [file for file in storage.list_files(folder) if file.startswith("part-") and file.endswith(".parquet")]


class _PartWriter:
    """Writes rows into files and row groups of about the target sizes. Their ends depend on the rows alone, so that
    reused and computed rows give the same bytes.
    """

    def __init__(self, folder: str, expected: pa.Schema) -> None:
        self._folder, self._expected = folder, expected
        self._number = self._file_bytes = self._pending_bytes = 0
        self._pending: list[pa.Table] = []
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> "_PartWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def add(self, table: pa.Table) -> None:
        size = _bytes(table)
        self._pending.append(table)
        self._pending_bytes += size
        self._file_bytes += size
        if self._pending_bytes >= TARGET_ROW_GROUP_BYTES:
            self._write_row_group()
        if self._file_bytes >= TARGET_FILE_BYTES and self._writer is not None:
            self._close()
            self._number, self._file_bytes = self._number + 1, 0

    def finish(self) -> None:
        """Write what is pending; a table without rows is one empty file."""
        if self._pending or (self._writer is None and self._number == 0):
            self._write_row_group()

    def _write_row_group(self) -> None:
        with storage.writing(self._folder):
            if self._writer is None:
                fs, path = storage.resolve(storage.join(self._folder, f"part-{self._number:05d}.parquet"))
                fs.create_dir(path.rsplit("/", 1)[0], recursive=True)
                self._writer = pq.ParquetWriter(path, self._expected, filesystem=fs, compression="zstd")
            # In one chunk: pages end where chunks end, and chunks depend on which rows were reused.
            table = pa.concat_tables(self._pending).combine_chunks() if self._pending else self._expected.empty_table()
            self._writer.write_table(table, row_group_size=1 << 20)
        self._pending, self._pending_bytes = [], 0

    def _close(self) -> None:
        if self._writer is not None:
            with storage.writing(self._folder):
                self._writer.close()
            self._writer = None


def _bytes(table: pa.Table) -> int:
    """About the size of a table, from its values alone: its size in memory depends on how it was made."""
    long = [column for column in table.columns if pa.types.is_binary(column.type) or pa.types.is_string(column.type)]
    return sum(pc.sum(pc.binary_length(column)).as_py() or 0 for column in long) + 16 * len(table) * (
        table.num_columns - len(long)
    )
