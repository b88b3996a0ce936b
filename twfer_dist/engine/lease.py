"""One run at a time makes an output; the others wait for it.

Who makes `<out>/<stage>-<fingerprint>` keeps a small file beside it, `<stage>-<fingerprint>.<own id>.claim`, and writes
it anew every few seconds. Any storage that shows a file once it is written will do: nothing is locked. A claim is void
where its process is gone, seen at once on the same machine, or where it was not written anew for a minute by the watch
of whoever waits: clocks of two machines are never compared.
"""

import contextlib
import json
import os
import random
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pyarrow.fs as pafs

from twfer_dist.core.errors import UserError
from twfer_dist.engine import storage

HEARTBEAT_S = 10.0  # seconds between two signs of life
LEASE_TIMEOUT_S = 60.0  # seconds without one, after which another run takes over
POLL_S = 1.0  # seconds between two looks of whoever waits


class Lease:
    """The claim of this process to `output`, from `hold`."""

    def __init__(self, output: str) -> None:
        self.output = output
        self._fs, path = storage.resolve(output)
        self._folder, _, self._name = path.rpartition("/")
        self._own = f"{path}.{uuid.uuid4().hex[:8]}.claim"
        self._holder = _this_process() | {"since": time.strftime("%Y-%m-%d %H:%M:%S")}
        self._seen: dict[
            str, tuple[int, float]
        ] = {}  # of each other claim: when it was written, and when that was noticed
        self._ended = threading.Event()
        self._beating = threading.Thread(target=self._beat, daemon=True)

    def take(self, quiet: bool) -> None:
        """Wait until no other run holds the output, and hold it. Who holds it is said once, on the standard error
        output.
        """
        said = quiet
        self._fs.create_dir(self._folder, recursive=True)
        while True:
            if (holder := self._other()) is not None:
                if holder and not said:
                    who = f"process {holder['pid']} on {holder['host']} since {holder['since']}"
                    print(f"twfer: {self._name} is being made by {who}: waiting for it.", file=sys.stderr, flush=True)
                    said = True
                time.sleep(POLL_S)
                continue
            self._write()
            if self._other() is None:
                return self._beating.start()
            self._remove(self._own)  # two came at once: both step back, and one is back first
            time.sleep(random.uniform(0, 2 * POLL_S))

    def check(self) -> None:
        """Problem where another run took over, because this one gave no sign of life for too long."""
        with storage.reading(self.output):
            held = storage.with_retries(lambda: self._fs.get_file_info(self._own)).type == pafs.FileType.File
        if not held:
            raise UserError(
                f"{self.output} was taken over by another run while this one stood still: let that one end, or "
                "start this one again."
            )

    def release(self) -> None:
        self._ended.set()
        if self._beating.is_alive():
            self._beating.join()
        with contextlib.suppress(OSError):  # one that stays is void as soon as this process is gone
            self._remove(self._own)

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT_S):
            with contextlib.suppress(OSError):  # the next sign of life may get through
                if self._fs.get_file_info(self._own).type != pafs.FileType.File:
                    return  # taken over
                self._write()

    def _write(self) -> None:
        with self._fs.open_output_stream(self._own) as stream:
            stream.write(storage.json_text(self._holder).encode())

    def _read(self, path: str) -> bytes:
        with self._fs.open_input_stream(
            path
        ) as stream:  # breaks off where the file is written anew or removed meanwhile
            return stream.read()

    def _remove(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._fs.delete_file(path)

    def _other(self) -> dict | None:
        """Who holds a claim that is not void, in its words (none while they are written); void claims are removed."""
        for info in self._fs.get_file_info(pafs.FileSelector(self._folder)):
            if (
                not (info.base_name.startswith(self._name + ".") and info.base_name.endswith(".claim"))
                or info.path == self._own
            ):
                continue
            try:
                holder = json.loads(storage.with_retries(partial(self._read, info.path)))
            except FileNotFoundError:
                continue
            except ValueError:  # it is being written
                holder = {}
            if not self._void(info, holder):
                return holder
            self._remove(info.path)
        return None

    def _void(self, info: pafs.FileInfo, holder: dict) -> bool:
        here = _this_process()
        if holder and all(holder[key] == here[key] for key in ("host", "processes")):
            return not _lives(holder["pid"], holder["started"])
        written, now = int(info.mtime_ns or 0), time.monotonic()
        seen, noticed = self._seen.get(info.path, (0, now))
        if seen != written:
            self._seen[info.path] = (written, now)
            return False
        return now - noticed > LEASE_TIMEOUT_S


@contextlib.contextmanager
def hold(output: str, *, quiet: bool) -> Iterator[Lease]:
    """Hold the directory `output` (a path or URI), which need not exist, against all other runs; wait for one that
    holds it.
    """
    claim = Lease(output)
    with storage.writing(output):
        claim.take(quiet)
    try:
        yield claim
    finally:
        claim.release()


def _this_process() -> dict:
    try:  # two machines, and two containers of one, may share a name, but not a start of the system and process numbers
        processes = Path("/proc/sys/kernel/random/boot_id").read_text().strip() + " " + os.readlink("/proc/self/ns/pid")
    except OSError:
        processes = ""
    return {"host": socket.gethostname(), "processes": processes, "pid": os.getpid(), "started": _started(os.getpid())}


def _started(pid: int) -> float:
    """When a process started: in ticks since the system did where it tells, which no clock that is set right moves."""
    try:
        return float(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except OSError:
        return psutil.Process(pid).create_time()


def _lives(pid: int, started: float) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE and _started(pid) == started
    except psutil.NoSuchProcess:
        return False
