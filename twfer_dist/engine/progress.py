"""Progress (done, rate, time left, rows without a result): one line at a terminal, a line a minute in a job's log.
MLflow gets the same figures.
"""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from twfer_dist.engine import storage

POLL_S = 0.5  # seconds
LINE_S = 60.0  # between two lines of a log
REPORT_S = 2.0
SLOW_S = 3.0  # before `counted` shows anything
LOG_S = 10.0
WARM_UP_S = 10.0  # after the first item; from then on the rate leaves out the start-up before it

shares_terminal = False
"""Whether other processes write to this process's terminal, so that its lines must stay."""

Log = Callable[[Mapping[str, float], int], None]
"""Takes {done, per_second, without_result, seconds_left (from the first item on)} and, as the step, how many are done.
"""


T = TypeVar("T")

Follow = Callable[[str, Iterable[Any], int], Iterator[Any]]
"""`counted` for what a stage is doing: takes the name of that, the results and how many there will be."""


class Progress:
    """Progress of `total` items of a stage, on the standard error, and in `log` where given. after: seconds during
    which nothing is shown.
    """

    def __init__(
        self,
        stage: str,
        total: float,
        *,
        unit: str = "",
        quiet: bool = False,
        log: Log | None = None,
        after: float = 0.0,
    ) -> None:
        self._stage, self._total, self._unit = stage, total, unit and f" {unit}"
        self._visible, self._terminal = not quiet, sys.stderr.isatty() and not shares_terminal
        self._log, self._logged = log, time.monotonic()
        self._done = self._before = 0.0
        self._dead = 0
        self._started = time.monotonic()
        self._shown = self._started + after
        self._first: tuple[float, float] | None = None  # after the first item since the start: done, and the time

    def start(self, done: float, *, dead: int = 0) -> None:
        """Set how much an earlier run has done, and how much of it without a result; it does not count in the rate."""
        self._done = self._before = done
        self._dead = dead
        self._started = time.monotonic()
        if self._terminal:
            self._show()

    def advance(self, done: float, *, dead: int = 0) -> None:
        self._done += done
        self._dead += dead
        if self._first is None:
            self._first = self._done, time.monotonic()
        if time.monotonic() - self._shown > (POLL_S if self._terminal else LINE_S):
            self._show()
        if time.monotonic() - self._logged > LOG_S:
            self._report()

    def close(self) -> None:
        self._report()
        if self._terminal and time.monotonic() >= self._shown:
            self._show(end="\n")

    @contextlib.contextmanager
    def follow(self, uri: str) -> Iterator[None]:
        """Meanwhile show what a worker, possibly on another machine, reports at `uri` with a `ProgressReporter`."""
        ended = threading.Event()

        def poll() -> None:
            first = True
            while not ended.wait(POLL_S):
                if not storage.exists(uri) or not (reported := storage.read_bytes(uri)):
                    continue
                if first:
                    self.start(float(reported))
                    first = False
                self.advance(float(reported) - self._done)

        storage.write_bytes(uri, b"")
        thread = threading.Thread(target=poll, daemon=True)
        if self._visible:
            thread.start()
        if self._terminal:
            self._show()
        try:
            yield
        finally:
            ended.set()
            if self._visible:
                thread.join()
            self.close()

    def _show(self, end: str = "") -> None:
        if not self._visible:
            return
        self._shown = time.monotonic()
        rate = self._rate()
        speed = f"{rate:.1f}/s" if rate >= 1 else f"{60 * rate:.1f}/min"
        left = f"{speed}, {_duration(max(self._total - self._done, 0) / rate)} left" if rate > 0 else "starting"
        dead = f", {self._dead} without result" if self._dead else ""
        digits = 1 if self._unit else 0
        line = f"{self._stage}: {min(self._done, self._total):.{digits}f} of {self._total:g}{self._unit} ({left}{dead})"
        print(
            f"\r{line:<78}" if self._terminal else line,
            end=end if self._terminal else "\n",
            file=sys.stderr,
            flush=True,
        )

    def _report(self) -> None:
        if self._log:
            self._logged = time.monotonic()
            rate = self._rate()
            left = {"seconds_left": (self._total - self._done) / rate} if rate else {}
            self._log({"done": self._done, "per_second": rate, "without_result": self._dead, **left}, int(self._done))

    def _rate(self) -> float:
        now = time.monotonic()
        done, since = self._before, self._started
        if self._first and now - self._first[1] > WARM_UP_S:
            done, since = self._first
        return (self._done - done) / max(now - since, 1e-9)


def counted(results: Iterable[T], name: str, total: int, *, quiet: bool) -> Iterator[T]:
    """The results as they come, with a line of progress where they take longer than SLOW_S."""
    progress = Progress(name, total, quiet=quiet, after=SLOW_S)
    try:
        for result in results:
            yield result
            progress.advance(1)
    finally:
        progress.close()


class ProgressReporter:
    """Reports how much is done to the process that follows `uri`, at most every two seconds."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._reported = -REPORT_S

    def __call__(self, done: float) -> None:
        if time.monotonic() - self._reported >= REPORT_S:
            storage.write_bytes(self._uri, f"{done:.4f}".encode())
            self._reported = time.monotonic()


def _duration(seconds: float) -> str:
    """`50 s`, `12 min`, `3 h 20 min`."""
    minutes = round(seconds / 60)
    return (
        f"{seconds:.0f} s"
        if seconds < 100
        else f"{minutes} min"
        if minutes < 100
        else f"{minutes // 60} h {minutes % 60} min"
    )
