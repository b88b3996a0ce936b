"""A lease on an output: one run at a time writes it, the others wait.

The run that writes `<out>/<stage>-<fingerprint>` keeps a small file beside it, `<stage>-<fingerprint>.<id>.lease`, and
rewrites it every few seconds. Nothing is locked, so any storage will do that shows a file once it is written. A lease
expires when its process is gone, which is noticed at once on the same machine, or when it has not been rewritten for a
minute by the clock of the run that waits: clocks of two machines are never compared.
"""

import contextlib
import json
import logging
import os
import random
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pyarrow.fs as pafs

from twfer_dist.core.errors import UserError
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import LEASE_SUFFIX

HEARTBEAT_S = 10.0  # between two rewrites of a lease
LEASE_TIMEOUT_S = 60.0  # without a rewrite, after which another run takes over
POLL_S = 1.0  # between two looks at the leases of others

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Holder:
    """The process that holds a lease."""

    host: str
    processes: str  # the boot and the pid namespace, in which `pid` is unique; empty where unknown
    pid: int
    started: float  # see `_started`
    since: str  # when it took the lease, local time

    @classmethod
    def this_process(cls) -> "Holder":
        try:  # machines, and containers of one machine, may share a host name
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            processes = f"{boot} {os.readlink('/proc/self/ns/pid')}"
        except OSError:
            processes = ""
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        return cls(socket.gethostname(), processes, os.getpid(), _started(os.getpid()), since)

    def shares_processes_with(self, other: "Holder") -> bool:
        return (self.host, self.processes) == (other.host, other.processes)

    def is_alive(self) -> bool:
        """Whether the process exists on this machine."""
        try:
            return psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE and _started(self.pid) == self.started
        except psutil.NoSuchProcess:
            return False


class Lease:
    """A lease of this process on `output`, taken by `hold`."""

    def __init__(self, output: str) -> None:
        self.output = output
        self._fs, path = storage.resolve(output)
        self._folder, _, self._name = path.rpartition("/")
        self._own = f"{path}.{uuid.uuid4().hex[:8]}{LEASE_SUFFIX}"
        self._holder = Holder.this_process()
        self._seen: dict[str, tuple[int, float]] = {}  # of each other lease: its last mtime, and when that was noticed
        self._released = threading.Event()
        self._heartbeat = threading.Thread(target=self._beat, daemon=True)

    def take(self, quiet: bool) -> None:
        """Wait until no other run holds the output, and hold it. The holder is logged once, unless `quiet`."""
        logged = quiet
        self._fs.create_dir(self._folder, recursive=True)
        while True:
            held, holder = self._other()
            if held:
                if holder and not logged:
                    logger.info(
                        "%s is being written by process %d on %s since %s; waiting for it.",
                        self._name,
                        holder.pid,
                        holder.host,
                        holder.since,
                    )
                    logged = True
                time.sleep(POLL_S)
                continue
            self._write()
            if not self._other()[0]:
                return self._heartbeat.start()
            self._remove(self._own)  # two runs came at once: both step back for a random time
            time.sleep(random.uniform(0, 2 * POLL_S))

    def check(self) -> None:
        """UserError where another run took over because this one did not rewrite its lease in time."""
        with storage.reading(self.output):
            held = storage.with_retries(lambda: self._fs.get_file_info(self._own)).type == pafs.FileType.File
        if not held:
            raise UserError(
                f"{self.output} was taken over by another run while this one was suspended: wait for the other run, "
                "or start this one again."
            )

    def release(self) -> None:
        self._released.set()
        if self._heartbeat.is_alive():
            self._heartbeat.join()
        with contextlib.suppress(OSError):  # a lease that stays expires with this process
            self._remove(self._own)

    def _beat(self) -> None:
        while not self._released.wait(HEARTBEAT_S):
            with contextlib.suppress(OSError):  # the next heartbeat may get through
                if self._fs.get_file_info(self._own).type != pafs.FileType.File:
                    return  # taken over
                self._write()

    def _write(self) -> None:
        with self._fs.open_output_stream(self._own) as stream:
            stream.write(storage.json_text(asdict(self._holder)).encode())

    def _read(self, path: str) -> bytes:
        with self._fs.open_input_stream(path) as stream:  # fails where the file is rewritten or removed meanwhile
            return stream.read()

    def _remove(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._fs.delete_file(path)

    def _other(self) -> tuple[bool, Holder | None]:
        """Whether another run holds the output, and its process unless the file is just being written. Expired leases
        are removed.
        """
        for info in self._fs.get_file_info(pafs.FileSelector(self._folder)):
            if info.path == self._own or not (
                info.base_name.startswith(f"{self._name}.") and info.base_name.endswith(LEASE_SUFFIX)
            ):
                continue
            try:
                holder = _parse(storage.with_retries(partial(self._read, info.path)))
            except FileNotFoundError:
                continue
            if not self._has_expired(info, holder):
                return True, holder
            self._remove(info.path)
        return False, None

    def _has_expired(self, info: pafs.FileInfo, holder: Holder | None) -> bool:
        if holder and holder.shares_processes_with(self._holder):
            return not holder.is_alive()
        written, now = int(info.mtime_ns or 0), time.monotonic()
        seen, noticed = self._seen.get(info.path, (0, now))
        if seen != written:
            self._seen[info.path] = (written, now)
            return False
        return now - noticed > LEASE_TIMEOUT_S


@contextlib.contextmanager
def hold(output: str, *, quiet: bool) -> Iterator[Lease]:
    """Hold the directory `output` (a path or URI, which need not exist) against all other runs, after waiting for the
    one that holds it.
    """
    lease = Lease(output)
    with storage.writing(output):
        lease.take(quiet)
    try:
        yield lease
    finally:
        lease.release()


def _parse(data: bytes) -> Holder | None:
    """The holder in a lease file; None where the file is incomplete."""
    try:
        values: dict[str, Any] = json.loads(data)
        return Holder(**values)
    except (ValueError, TypeError):
        return None


def _started(pid: int) -> float:
    """When a process started: in clock ticks since boot where the system tells, which no change of the clock moves."""
    try:
        return float(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except OSError:
        return psutil.Process(pid).create_time()
