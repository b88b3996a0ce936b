"""One honest line of progress: done, rate, remaining, dead letters so far. Quiet where nobody watches."""

import sys
import time


class Progress:
    """Progress of `total` rows of a stage, on the standard error output."""

    def __init__(self, stage: str, total: int, *, quiet: bool = False) -> None:
        self._stage, self._total = stage, total
        self._line = not quiet and sys.stderr.isatty()
        self._done = self._before = self._dead = 0
        self._started = self._shown = time.monotonic()

    def start(self, done: int) -> None:
        """Say how many rows an earlier run has done; they do not count in the rate."""
        self._done = self._before = done
        self._show()

    def advance(self, rows: int, *, dead: int = 0) -> None:
        self._done += rows
        self._dead += dead
        if time.monotonic() - self._shown > 0.5:
            self._show()

    def close(self) -> None:
        if self._line:
            self._show()
            print(file=sys.stderr)

    def _show(self) -> None:
        if not self._line:
            return
        self._shown = time.monotonic()
        rate = (self._done - self._before) / max(self._shown - self._started, 1e-9)
        remaining = f"{(self._total - self._done) / rate:.0f} s left" if rate > 0 else "starting"
        dead = f", {self._dead} without result" if self._dead else ""
        line = f"{self._stage}: {self._done}/{self._total} ({rate:.1f}/s, {remaining}{dead})"
        print(f"\r{line:<78}", end="", file=sys.stderr, flush=True)
