"""Parquet files that are hashed while they are written."""

import hashlib
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from twfer_dist.engine import storage


class HashedFile:
    """A file open for writing; `sha256` is of what was written."""

    closed = False

    def __init__(self, stream: Any) -> None:
        self._stream, self._state = stream, hashlib.sha256()

    @property
    def sha256(self) -> str:
        return self._state.hexdigest()

    def write(self, data: bytes) -> int:
        self._state.update(data)
        self._stream.write(data)
        return len(data)

    def tell(self) -> int:
        return self._stream.tell()

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


def write_row_groups(uri: str, schema: pa.Schema, row_groups: Iterator[pa.Table]) -> str:
    """Write a Parquet file with these row groups as `storage.atomic_stream` does; its sha256."""
    with storage.atomic_stream(uri) as stream:
        file = HashedFile(stream)
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for rows in row_groups:
                writer.write_table(rows, row_group_size=max(1, len(rows)))
    return file.sha256
