"""Whether the files of an output are as they were written, checked beside the data where they are large."""

import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from twfer_dist.engine import ray_tasks, storage
from twfer_dist.engine.artifact import Artifact, OutputFile
from twfer_dist.engine.progress import counted

MAX_BYTES_HERE = 1 << 30
"""Outputs of up to so many bytes are read by this process; larger ones by workers, for which Ray is started."""

_READERS = 4


def fault(output: Artifact, *, quiet: bool = False) -> str | None:
    """What is wrong with the first file that is missing or changed; None where all are intact. quiet: workers show no
    progress.
    """
    files = output.manifest.files
    check = functools.partial(_fault, output)
    if _bytes(output, files) > MAX_BYTES_HERE:
        checked = ray_tasks.run("check a file", check, files)
        shown = counted(checked, f"{output.manifest.stage}, checking files", len(files), quiet=quiet)
        return next(filter(None, shown), None)
    with ThreadPoolExecutor(_READERS) as pool:
        return next(filter(None, pool.map(check, files)), None)


def _bytes(output: Artifact, files: Sequence[OutputFile]) -> int:
    fs, base = storage.resolve(output.uri)
    with storage.reading(output.uri):
        infos = storage.with_retries(lambda: fs.get_file_info([f"{base}/{file.path}" for file in files]))
    return sum(info.size or 0 for info in infos)


def _fault(output: Artifact, file: OutputFile) -> str | None:
    uri = output.path(file.path)
    try:
        return None if storage.sha256_file(uri) == file.sha256 else f"{uri} was changed since it was written"
    except FileNotFoundError:
        return f"{uri} is missing"
