"""A child process that runs the steps of a stage, so that its crash can be survived and reported.

`python -m twfer_dist.engine.isolated_worker` is that process: it reads pickles from the standard input, first the
steps, then tables, and answers each with (problem, bug, result) on the standard output.
"""

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import IO, Any

import pyarrow as pa

from twfer_dist.core.errors import UserError

Tables = dict[str, pa.Table]


@dataclass(frozen=True)
class WorkerCrash:
    """The end of a worker process over its work. `cause`: a sentence without its full stop."""

    cause: str


class IsolatedWorker:
    """A child process with the steps of a stage, restarted after each crash.

    steps: a pickled list of (function or class, its keyword arguments).
    """

    def __init__(self, steps: bytes) -> None:
        self._steps = steps
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "IsolatedWorker":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._reap()

    def run(self, rows: pa.Table) -> pa.Table | Tables | WorkerCrash:
        """What the last step returns for `rows`, or the crash. A UserError of a step is raised, any other exception as
        a RuntimeError with its traceback.
        """
        if self._process is None:
            self._start()
        result = self._request(rows)
        return WorkerCrash(self._reap()) if result is None else result

    def _start(self) -> None:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [sys.executable, "-m", "twfer_dist.engine.isolated_worker"]
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        if self._request(self._steps) is None:
            raise RuntimeError(f"the steps cannot be built in an isolated worker: {self._reap()}")

    def _request(self, message: Any) -> Any:
        """The answer to a message; None where the process died over it."""
        assert self._process and self._process.stdin and self._process.stdout
        try:
            pickle.dump(message, self._process.stdin)
            self._process.stdin.flush()
            problem, bug, result = pickle.load(self._process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError):
            return None
        if problem:
            raise UserError(problem)
        if bug:
            raise RuntimeError(bug)
        return result

    def _reap(self) -> str:
        """Why the process ended."""
        assert self._process and self._process.stdin and self._process.stdout
        code = self._process.wait()
        with contextlib.suppress(OSError):  # input that it did not read
            self._process.stdin.close()
        self._process.stdout.close()
        self._process = None
        return (
            f"{signal.Signals(-code).name} ended the worker process"
            if code < 0
            else f"The worker process ended with exit code {code}"
        )


def main() -> None:
    """Serve requests until the standard input ends."""
    responses = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a step prints is not a response
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # out of memory, the kernel kills this process first
    results = _results(sys.stdin.buffer)
    while True:
        response: tuple[str | None, str | None, Any]
        try:
            response = (None, None, next(results))
        except StopIteration:
            return
        except UserError as problem:
            response = (str(problem), None, None)
        except Exception:
            response = (None, traceback.format_exc(), None)
        pickle.dump(response, responses)
        responses.flush()


def _results(requests: IO[bytes]) -> Iterator[Any]:
    calls: list[Callable[[Any], Any]] = [
        call(**kwargs) if isinstance(call, type) else partial(call, **kwargs)
        for call, kwargs in pickle.loads(pickle.load(requests))
    ]
    yield True
    while True:
        try:
            table = pickle.load(requests)
        except EOFError:
            return
        for call in calls:
            table = call(table)
        yield table


if __name__ == "__main__":
    main()
