"""The standard output, kept free of what Ray prints."""

import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import Any, TextIO, cast


@contextlib.contextmanager
def own_output() -> Iterator[None]:
    """Reserve the standard output for the main thread; other threads, and everything after the block, print to the
    standard error. Ray prints notices from a background thread and at exit, which would corrupt a JSON object.
    """
    stdout = sys.stdout
    sys.stdout = cast(TextIO, _MainThreadOnly(stdout))
    try:
        yield
    finally:
        stdout.flush()
        sys.stdout = sys.stderr


class _MainThreadOnly:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        return (self._stream if threading.current_thread() is threading.main_thread() else sys.stderr).write(text)
