"""A file that is written in pieces and hashed meanwhile, and exists as a whole or not at all."""

import contextlib
import hashlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
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


@contextlib.contextmanager
def create(uri: str) -> Iterator[HashedFile]:
    """A file to write. On a disk it gets its name once it is whole and durable; object storage shows no other files."""
    fs, path = storage.resolve(uri)
    on_disk = isinstance(fs, pafs.LocalFileSystem)
    target = f"{path}.{uuid.uuid4().hex[:8]}.tmp" if on_disk else path
    if on_disk:
        os.makedirs(os.path.dirname(path), exist_ok=True)
    try:
        with fs.open_output_stream(target) as stream:
            yield HashedFile(stream)
        if on_disk:
            storage.fsync(target)
            os.replace(target, path)
            storage.fsync(path)
    finally:
        if on_disk:
            Path(target).unlink(missing_ok=True)


def write_row_groups(uri: str, schema: pa.Schema, row_groups: Iterator[pa.Table]) -> str:
    """Write a Parquet file with these row groups; its sha256."""
    with create(uri) as file:
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for rows in row_groups:
                writer.write_table(rows, row_group_size=max(1, len(rows)))
        return file.sha256
