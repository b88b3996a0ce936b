"""What a stage uses on this machine: seconds of CPU, and the memory of its largest process."""

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import psutil

_POLL_S = 0.5


@dataclass
class Usage:
    """Of this process and those that it started, Ray's among them, since `follow` began.

    A process's times are lost to its parent where Ray ends it, so they are looked at every half second: what a process
    does in its last half second is missed.
    """

    _before: dict[tuple[int, float], float] = field(default_factory=dict)  # seconds, by process
    _seconds: dict[tuple[int, float], float] = field(default_factory=dict)
    _largest: dict[bool, int] = field(default_factory=dict)  # bytes, of this process and of the others
    _lock: threading.Lock = field(default_factory=threading.Lock)

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

    def so_far(self, by_workers: bool) -> tuple[float | None, int | None]:
        """CPU seconds (user and system), and the bytes of memory of the largest process; None on a cluster, where the
        work is on other machines. by_workers: this process only gives out the work, and its own memory does not count.
        """
        if os.environ.get("RAY_ADDRESS", "local") != "local":
            return None, None
        self.look()
        seconds = sum(seconds - self._before.get(process, 0.0) for process, seconds in self._seconds.items())
        sizes = [size for own, size in self._largest.items() if not (own and by_workers)]
        return round(seconds, 1), max(sizes, default=None)


@contextlib.contextmanager
def follow() -> Iterator[Usage]:
    """What is used from here on."""
    usage, ended = Usage(), threading.Event()
    usage.begin()

    def poll() -> None:
        while not ended.wait(_POLL_S):
            usage.look()

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield usage
    finally:
        ended.set()
        thread.join()
