"""Where tables and files lie: URIs, atomic writes, digests, and finished outputs.

Every output of a stage is a directory `<out>/<stage>-<fingerprint>/` that is finished when, and only when, it holds
`_manifest.json`, which is written last. Paths and `s3://`-like URIs go through one function, `resolve`.
"""

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
"""Seconds, about, before each further try where storage fails in a way that may pass."""

_PERMANENT = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.ENAMETOOLONG)

T = TypeVar("T")


def resolve(uri: str) -> tuple[pafs.FileSystem, str]:
    """The file system of a path or URI (`runs/x`, `file:///x`, `s3://bucket/x?endpoint_override=...`), and the path in
    it.
    """
    if "://" not in uri:
        return pafs.LocalFileSystem(), str(Path(uri).expanduser().absolute())
    try:
        if not uri.startswith("s3://"):
            return pafs.FileSystem.from_uri(uri)
        parts = urllib.parse.urlsplit(uri)
        return _bucket(parts.netloc, parts.query), urllib.parse.unquote(
            parts.netloc.rpartition("@")[2] + parts.path
        ).rstrip("/")
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(
            f"{uri} is not a place this program can reach ({error}): check the name and your access to it."
        ) from error


@functools.cache
def _bucket(bucket: str, query: str) -> pafs.FileSystem:
    """The file system of an S3 bucket: finding its region and making a client take a moment each time."""
    return pafs.FileSystem.from_uri(f"s3://{bucket}?{query}")[0]


def join(uri: str, *names: str) -> str:
    """A path or URI with names appended, before its query if it has one."""
    base, mark, query = uri.partition("?") if "://" in uri else (uri, "", "")
    return "/".join([base.rstrip("/"), *(n.strip("/") for n in names if n != ".")]) + mark + query


def name_of(uri: str) -> str:
    """The last name of a path or URI."""
    return uri.partition("?")[0].rstrip("/").rpartition("/")[2] if "://" in uri else uri.rstrip("/").rpartition("/")[2]


def absolute(uri: str) -> str:
    """`uri` in a form that means the same in every process: workers have another working directory."""
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
    """A failure to read is the Problem of this place, but for a file that is not there."""
    try:
        yield
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise
    except (OSError, pa.ArrowInvalid) as error:
        words = " ".join(str(error).split())
        raise UserError(
            f"{uri} cannot be read ({words}): see that its storage answers, or delete it where it is damaged, and "
            "start again."
        ) from error


def with_retries(call: Callable[[], T]) -> T:
    """What `call` returns. Where storage fails it is tried again after each of `WAITS`; an error that waiting does not
    mend (no such file, no permission, no space), or the last one, is raised: OSError.
    """
    for wait in RETRY_DELAYS_S:
        try:
            return call()
        except OSError as error:
            if isinstance(error, _PERMANENT) or error.errno in _FULL:
                raise
            time.sleep(wait * random.uniform(0.5, 1.5))  # not all workers at once
    return call()


def write_bytes(uri: str, data: bytes | pa.Buffer) -> None:
    """Write a file so that it is there whole or not at all, also after the machine lost its power.

    Problem where it cannot be written: no space, no permission, no answer.
    """
    fs, path = resolve(uri)

    def write() -> None:
        fs.create_dir(path.rsplit("/", 1)[0], recursive=True)
        temporary = f"{path}.{uuid.uuid4().hex[:8]}.tmp"
        if not isinstance(fs, pafs.LocalFileSystem):
            with fs.open_output_stream(temporary) as stream:
                stream.write(data)
            return fs.move(temporary, path)
        try:
            with open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            _fsync(os.path.dirname(path))
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise

    with writing(uri):
        with_retries(write)


def fsync(uri: str) -> None:
    """See to it that a file which was written otherwise than by `write_bytes` is there also after the machine lost its
    power.
    """
    fs, path = resolve(uri)
    if isinstance(fs, pafs.LocalFileSystem):
        _fsync(path)
        _fsync(os.path.dirname(path))


def _fsync(path: str) -> None:
    place = os.open(path, os.O_RDONLY)
    try:
        os.fsync(place)
    finally:
        os.close(place)


@contextlib.contextmanager
def writing(uri: str) -> Iterator[None]:
    """A failure to write is the Problem of this place."""
    try:
        yield
    except OSError as error:
        words = " ".join(str(error).split())
        raise UserError(
            f"{uri} cannot be written ({words}): make room or allow it, and start again; what is done is kept."
        ) from error


def write_parquet(uri: str, table: pa.Table, row_group_size: int | None = None) -> None:
    """Write a Parquet file so that it is there whole or not at all."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=row_group_size, compression="zstd")
    write_bytes(uri, sink.getvalue())


@contextlib.contextmanager
def open_parquet(uri: str) -> Iterator[pq.ParquetFile]:
    """A Parquet file to read from."""
    fs, path = resolve(uri)
    try:
        with reading(uri), with_retries(lambda: fs.open_input_file(path)) as source, pq.ParquetFile(source) as file:
            yield file
    except FileNotFoundError:
        raise UserError(f"{uri} is missing: delete the output that it belongs to, and start again.") from None


def delete_file(uri: str) -> None:
    """Delete a file, if it is there."""
    fs, path = resolve(uri)
    with writing(uri), contextlib.suppress(FileNotFoundError):
        with_retries(lambda: fs.delete_file(path))


def delete_folder(uri: str) -> None:
    """Delete a folder with all that is in it, if it is there; also where a process that ends just now still writes into
    it.
    """
    fs, path = resolve(uri)

    def delete() -> None:
        if fs.get_file_info(path).type == pafs.FileType.Directory:
            try:
                fs.delete_dir(path)
            except FileNotFoundError as error:  # of a file in it, which went by itself
                raise OSError(str(error)) from error

    with writing(uri):
        with_retries(delete)


def json_text(value: Any, indent: int | None = None) -> str:
    """JSON with dataclasses and numpy scalars as plain values; keys sorted, so that equal values give equal text."""
    return json.dumps(value, indent=indent, sort_keys=indent is None, ensure_ascii=False, default=_plain)


def write_json(uri: str, value: Any) -> None:
    write_bytes(uri, json_text(value, indent=2).encode() + b"\n")


def list_files(uri: str, *, recursive: bool = False) -> list[str]:
    """Paths relative to `uri` of the files under it, sorted; links are listed like files. Empty where there is no
    directory.
    """
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
    """The sha256 of a file of any size, read in pieces; FileNotFoundError where there is none."""
    fs, path = resolve(uri)

    def read() -> str:
        state = hashlib.sha256()
        with fs.open_input_stream(path) as stream:
            while piece := stream.read(1 << 22):
                state.update(piece)
        return state.hexdigest()

    with reading(uri):
        return with_retries(read)


def digest(value: Any) -> str:
    """12 hex digits that stand for `value`: JSON-like data and frozen dataclasses, independent of key order."""
    return sha256(json_text(value).encode())[:12]


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "item"):  # a numpy scalar
        return value.item()
    raise TypeError(f"{type(value).__name__} has no place in a digest")
