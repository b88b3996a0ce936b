"""Files on disk and object storage: paths and URIs (all go through `resolve`), atomic writes, retries, digests."""

import contextlib
import dataclasses
import errno
import functools
import hashlib
import json
import os
import random
import time
import urllib.parse
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from twfer_dist.core.errors import UserError

RETRY_DELAYS_S = (0.5, 3.0)
"""About how many seconds to wait before each further try after a transient failure of storage."""

_OBJECT_STORES = (pafs.S3FileSystem, pafs.GcsFileSystem, pafs.AzureFileSystem)
_PERMANENT = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.ENAMETOOLONG)

T = TypeVar("T")


def resolve(uri: str) -> tuple[pafs.FileSystem, str]:
    """The file system of a path or URI (`runs/x`, `file:///x`, `s3://bucket/x?region=...`), and the path in it."""
    if "://" not in uri:
        return pafs.LocalFileSystem(), str(Path(uri).expanduser().absolute())
    try:
        if not uri.startswith("s3://"):
            return pafs.FileSystem.from_uri(uri)
        address, _, query = uri.partition("?")  # by hand: a # in a name, as frames of videos have, begins no fragment
        bucket, _, path = address.removeprefix("s3://").partition("/")
        name = bucket.rpartition("@")[2]
        return _bucket(bucket, query), urllib.parse.unquote(f"{name}/{path}").rstrip("/")
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{uri} cannot be reached ({error}): check the name and your access to it.") from error


@functools.cache
def _bucket(bucket: str, query: str) -> pafs.FileSystem:
    """The file system of an S3 bucket, cached because finding its region and making a client take time."""
    delayed = "allow_delayed_open=true"  # a small file is written in one request and not in three
    return pafs.FileSystem.from_uri(f"s3://{bucket}?{query}{'&' * bool(query)}{delayed}")[0]


def join(uri: str, *names: str) -> str:
    """A path or URI with names appended, before its query if it has one."""
    base, mark, query = uri.partition("?") if "://" in uri else (uri, "", "")
    return "/".join([base.rstrip("/"), *(n.strip("/") for n in names if n != ".")]) + mark + query


def name_of(uri: str) -> str:
    """The last name of a path or URI."""
    return uri.partition("?")[0].rstrip("/").rpartition("/")[2] if "://" in uri else uri.rstrip("/").rpartition("/")[2]


def absolute(uri: str) -> str:
    """`uri` as an absolute path or URI: workers have another working directory."""
    return uri if "://" in uri else str(Path(uri).expanduser().absolute())


def exists(uri: str) -> bool:
    return _kind(uri) != pafs.FileType.NotFound


def is_file(uri: str) -> bool:
    return _kind(uri) == pafs.FileType.File


def _kind(uri: str) -> pafs.FileType:
    fs, path = resolve(uri)
    with reading(uri):
        return with_retries(lambda: fs.get_file_info(path)).type


def read_bytes(uri: str) -> bytes:
    """The bytes of a file; FileNotFoundError or IsADirectoryError where there is none."""
    fs, path = resolve(uri)

    def read() -> bytes:
        try:
            with fs.open_input_stream(path) as stream:
                return stream.read()
        except OSError as error:
            if fs.get_file_info(path).type == pafs.FileType.Directory:
                raise IsADirectoryError(path) from error
            raise

    with reading(uri):
        return with_retries(read)


@contextlib.contextmanager
def reading(uri: str) -> Iterator[None]:
    """Turn a failure to read into a UserError that names `uri`, except for a file that does not exist."""
    try:
        yield
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise
    except (OSError, pa.ArrowInvalid) as error:
        words = " ".join(str(error).split())
        raise UserError(
            f"{uri} cannot be read ({words}): check that its storage is reachable, or delete it if it is damaged, and "
            "start again."
        ) from error


def with_retries(call: Callable[[], T]) -> T:
    """What `call` returns; after a transient failure of storage it is called again after each of `RETRY_DELAYS_S`.
    OSError at once where waiting cannot help (no such file, no permission, no space), else after the last try.
    """
    for delay in RETRY_DELAYS_S:
        try:
            return call()
        except OSError as error:
            if isinstance(error, _PERMANENT) or error.errno in _FULL:
                raise
            time.sleep(delay * random.uniform(0.5, 1.5))  # not all workers at once
    return call()


def write_bytes(uri: str, data: bytes | pa.Buffer) -> None:
    """Write an `atomic_stream`. UserError where the file cannot be written (no space, no permission, no answer)."""

    def write() -> None:
        with atomic_stream(uri) as stream:
            stream.write(data)

    with writing(uri):
        with_retries(write)


@contextlib.contextmanager
def atomic_stream(uri: str) -> Iterator[Any]:
    """A file that exists as a whole or not at all, after a power loss too. OSError where it cannot be written."""
    fs, path = resolve(uri)
    if isinstance(fs, _OBJECT_STORES):  # an object appears once it is whole, and needs no folder
        with fs.open_output_stream(path) as stream:
            yield stream
        return
    fs.create_dir(path.rsplit("/", 1)[0], recursive=True)
    temporary = f"{path}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        with fs.open_output_stream(temporary) as stream:
            yield stream
        if isinstance(fs, pafs.LocalFileSystem):
            _fsync(temporary)
        fs.move(temporary, path)
        fsync(uri)
    finally:
        with contextlib.suppress(OSError):
            fs.delete_file(temporary)


def copy_file(source: str, target: str) -> None:
    """Copy a file of any size, within or between storages."""
    (fs, path), (target_fs, target_path) = resolve(source), resolve(target)
    with writing(target):
        with_retries(lambda: target_fs.create_dir(target_path.rsplit("/", 1)[0], recursive=True))
        with_retries(lambda: pafs.copy_files(path, target_path, fs, target_fs))


def fsync(uri: str) -> None:
    """Make a local file that was not written by `atomic_stream` survive a power loss."""
    fs, path = resolve(uri)
    if isinstance(fs, pafs.LocalFileSystem):
        _fsync(path)
        _fsync(os.path.dirname(path))


def _fsync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def writing(uri: str) -> Iterator[None]:
    """Turn a failure to write into a UserError that names `uri`."""
    try:
        yield
    except OSError as error:
        words = " ".join(str(error).split())
        raise UserError(
            f"{uri} cannot be written ({words}): free space or grant access, and start again; finished work is kept."
        ) from error


def write_parquet(uri: str, table: pa.Table, row_group_size: int | None = None) -> None:
    """Write a Parquet file as `write_bytes` does."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=row_group_size, compression="zstd")
    write_bytes(uri, sink.getvalue())


@contextlib.contextmanager
def open_parquet(uri: str) -> Iterator[pq.ParquetFile]:
    """A Parquet file to read from. UserError where it does not exist or cannot be read."""
    fs, path = resolve(uri)
    try:
        with reading(uri), with_retries(lambda: fs.open_input_file(path)) as source, pq.ParquetFile(source) as file:
            yield file
    except FileNotFoundError:
        raise UserError(f"{uri} is missing: delete the output it belongs to, and start again.") from None


def delete_file(uri: str) -> None:
    """Delete a file if it exists."""
    fs, path = resolve(uri)
    with writing(uri), contextlib.suppress(FileNotFoundError):
        with_retries(lambda: fs.delete_file(path))


def delete_folder(uri: str) -> None:
    """Delete a folder and its contents if it exists, even while an ending process still writes into it."""
    fs, path = resolve(uri)

    def delete() -> None:
        if fs.get_file_info(path).type == pafs.FileType.Directory:
            try:
                fs.delete_dir(path)
            except FileNotFoundError as error:  # a file in it was deleted meanwhile
                raise OSError(str(error)) from error

    with writing(uri):
        with_retries(delete)


def json_text(value: Any, indent: int | None = None) -> str:
    """JSON with dataclasses and numpy scalars as plain values; keys sorted, so that equal values give equal text."""
    return json.dumps(value, indent=indent, sort_keys=indent is None, ensure_ascii=False, default=_plain)


def write_json(uri: str, value: Any) -> None:
    write_bytes(uri, json_text(value, indent=2).encode() + b"\n")


def list_files(uri: str, *, recursive: bool = False) -> list[str]:
    """The files under `uri` as sorted relative paths, links included; empty where the directory does not exist."""
    fs, path = resolve(uri)
    selector = pafs.FileSelector(path, allow_not_found=True, recursive=recursive)
    with reading(uri):
        infos = with_retries(lambda: fs.get_file_info(selector))
    return sorted(info.path[len(path) :].lstrip("/") for info in infos if info.type == pafs.FileType.File)


def list_folders(uri: str) -> list[str]:
    """Names of the folders directly under `uri`, sorted."""
    fs, path = resolve(uri)
    with reading(uri):
        infos = with_retries(lambda: fs.get_file_info(pafs.FileSelector(path, allow_not_found=True)))
    return sorted(info.base_name for info in infos if info.type == pafs.FileType.Directory)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sha256_file(uri: str) -> str:
    """The sha256 of a file of any size, read in blocks. FileNotFoundError where it does not exist."""
    fs, path = resolve(uri)

    def read() -> str:
        state = hashlib.sha256()
        with fs.open_input_stream(path) as stream:
            while block := stream.read(1 << 22):
                state.update(block)
        return state.hexdigest()

    with reading(uri):
        return with_retries(read)


def digest(value: Any) -> str:
    """12 hex digits that identify `value` (JSON-like data and frozen dataclasses), independent of key order."""
    return sha256(json_text(value).encode())[:12]


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "item"):  # a numpy scalar
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be part of a digest")
