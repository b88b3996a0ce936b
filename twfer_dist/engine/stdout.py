"""Whose the standard output is."""

import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import Any, TextIO, cast


@contextlib.contextmanager
def own_output() -> Iterator[None]:
    """Meanwhile the standard output is the main thread's alone, and afterwards nobody's; whatever else is printed goes
    to the error output: Ray prints what it notices, from a thread of its own and once more when the process ends,
    between the lines of a JSON object.
    """
    ours = sys.stdout
    sys.stdout = cast(TextIO, _OfMainThread(ours))
    try:
        yield
    finally:
        ours.flush()
        sys.stdout = sys.stderr


class _OfMainThread:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        return (self._stream if threading.current_thread() is threading.main_thread() else sys.stderr).write(text)
