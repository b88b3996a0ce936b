"""What a stage uses on this machine, over all its starts: time, seconds of CPU, the memory of its largest process."""

import contextlib
import dataclasses
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import psutil

from twfer_dist.core.errors import UserError
from twfer_dist.engine import resources, storage

NOTE_S = 30.0  # between two notes
_POLL_S = 0.5


@dataclass(frozen=True)
class Used:
    """What the starts of a stage used; the CPU seconds (user and system) are None where one of them was on a cluster,
    whose work is done on other machines, and so are the bytes of memory.
    """

    seconds: float = 0.0
    cpu_seconds: float | None = 0.0
    own_bytes: int | None = 0  # of the process that ran the stage
    worker_bytes: int | None = 0  # of the largest of the others

    def peak_bytes(self, by_workers: bool) -> int | None:
        """by_workers: the stage's process only gave out the work, and its own memory does not count."""
        if self.own_bytes is None or self.worker_bytes is None:
            return None
        return (self.worker_bytes if by_workers else max(self.own_bytes, self.worker_bytes)) or None


@dataclass
class Usage:
    """Of this process and those that it started, Ray's among them, since `follow` began.

    A process's times are lost to its parent where Ray ends it, so they are looked at every half second: what a process
    does in its last half second is missed.
    """

    folder: str  # of the note that the next start adds to
    _earlier: Used = field(default_factory=Used)
    _started: float = field(default_factory=time.monotonic)
    _before: dict[tuple[int, float], float] = field(default_factory=dict)  # seconds, by process
    _seconds: dict[tuple[int, float], float] = field(default_factory=dict)
    _largest: dict[bool, int] = field(default_factory=dict)  # bytes, of this process and of the others
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _ended: bool = False

    @property
    def _uri(self) -> str:
        return storage.join(self.folder, "used.json")

    def look(self) -> None:
        with self._lock:
            this = psutil.Process()
            for process in (this, *this.children(recursive=True)):
                with contextlib.suppress(psutil.Error), process.oneshot():
                    times = process.cpu_times()
                    self._seconds[process.pid, process.create_time()] = times.user + times.system
                    own, size = process == this, process.memory_info().rss
                    self._largest[own] = max(self._largest.get(own, 0), size)

    def begin(self) -> None:
        self.look()
        self._before, self._largest = dict(self._seconds), {}
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, ValueError, TypeError):
            self._earlier = Used(**json.loads(storage.read_bytes(self._uri)))

    def note(self) -> None:
        """Write down what is used so far, unless the stage is at its end, or has left nothing to resume from."""
        used = self.so_far()
        with self._lock, contextlib.suppress(OSError, UserError):
            if not self._ended and storage.exists(self.folder):
                storage.write_json(self._uri, dataclasses.asdict(used))

    def end(self) -> Used:
        """What all starts used; no note is written from now on."""
        used = self.so_far()
        with self._lock:
            self._ended = True
        return used

    def so_far(self) -> Used:
        self.look()
        before, seconds = self._earlier, time.monotonic() - self._started
        cpu_seconds = sum(seconds - self._before.get(process, 0.0) for process, seconds in self._seconds.items())
        known = before.cpu_seconds is not None and not resources.on_cluster()
        return Used(
            round(before.seconds + seconds, 1),
            round((before.cpu_seconds or 0) + cpu_seconds, 1) if known else None,
            max(before.own_bytes or 0, self._largest.get(True, 0)) if known else None,
            max(before.worker_bytes or 0, self._largest.get(False, 0)) if known else None,
        )


@contextlib.contextmanager
def follow(folder: str) -> Iterator[Usage]:
    """What is used from here on, and what earlier starts used that did not come to the end. folder: of the note."""
    usage, ended = Usage(folder), threading.Event()
    usage.begin()

    def poll() -> None:
        noted = time.monotonic()
        while not ended.wait(_POLL_S):
            usage.look()
            if time.monotonic() - noted > NOTE_S:
                usage.note()
                noted = time.monotonic()

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield usage
    finally:
        ended.set()
        thread.join()
        usage.note()
