"""Rows that end the process which works on them: found by bisection in a process of its own, and recorded like any dead
letter.

python -m twfer_dist.engine.quarantine     is that process: it works on what comes in at its standard input
"""

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from twfer_dist.core import schema
from twfer_dist.core.errors import UserError
from twfer_dist.core.status import KILLED

Tables = dict[str, pa.Table]


@dataclass(frozen=True)
class WorkerCrash:
    """The end of a process at work, in words."""

    words: str


class IsolatedWorker:
    """A process that has the steps of a stage and works on what it is given; started anew after each death.

    steps: a pickled list of (function or class, its keyword arguments).
    """

    def __init__(self, steps: bytes) -> None:
        self._steps = steps
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> "IsolatedWorker":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._end()

    def answer(self, rows: pa.Table) -> pa.Table | Tables | WorkerCrash:
        """What the last step returns for `rows`, or the death of the process. A Problem of a step is raised."""
        if self._process is None:
            self._start()
        answered = self._ask(rows)
        if answered is None:
            return WorkerCrash(self._end())
        return answered

    def _start(self) -> None:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [sys.executable, "-m", "twfer_dist.engine.quarantine"]
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        if self._ask(self._steps) is None:
            raise RuntimeError(f"the steps cannot be built in a process of their own: {self._end()}")

    def _ask(self, question: Any) -> Any:
        """The answer to a question; None where the process died over it."""
        assert self._process and self._process.stdin and self._process.stdout
        try:
            pickle.dump(question, self._process.stdin)
            self._process.stdin.flush()
            problem, bug, answer = pickle.load(self._process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError):
            return None
        if problem:
            raise UserError(problem)
        if bug:
            raise RuntimeError(bug)
        return answer

    def _end(self) -> str:
        """Its last words, after it ended."""
        assert self._process and self._process.stdin and self._process.stdout
        code = self._process.wait()
        with contextlib.suppress(OSError):  # what it did not read
            self._process.stdin.close()
        self._process.stdout.close()
        self._process = None
        return (
            f"{signal.Signals(-code).name} ended the process that worked on it"
            if code < 0
            else f"its process ended with exit code {code}"
        )


def bisect_poison_rows(
    rows: pa.Table, attempt: Callable[[pa.Table, str], Tables | WorkerCrash]
) -> tuple[list[Tables], dict[str, str]]:
    """The tables of `rows` in pieces, mostly one, and for each row that ends its process even alone {id: error}.

    attempt: works on rows under a name; its first table is the planned one. Once the killers are known, all rows are
    done in one piece with a neighbour in the place of each: so groups of rows keep their size, and the others get the
    bytes that they always get, also where there is no killer and the process was ended from outside. Where that does
    not work, because a step goes by ids or all together end the process, the pieces stand.
    """
    pieces: list[Tables] = []
    killed: dict[str, str] = {}

    def halve(start: int, stop: int) -> None:
        answer = attempt(rows.slice(start, stop - start), f"rows-{start}-{stop}")
        if not isinstance(answer, WorkerCrash):
            pieces.append(answer)
        elif stop - start == 1:
            killed[rows[0][start].as_py()] = f"{answer.words}, each time and alone."
        else:
            middle = (start + stop) // 2
            halve(start, middle)
            halve(middle, stop)

    halve(0, len(rows))
    if pieces and len(pieces) + len(killed) > 1:
        answer = attempt(_stood_in(rows, killed), "all")
        if not isinstance(answer, WorkerCrash) and next(iter(answer.values()))[0].to_pylist() == rows[0].to_pylist():
            pieces = [answer]
    return pieces, killed


def _stood_in(rows: pa.Table, killed: Mapping[str, str]) -> pa.Table:
    """`rows` with a healthy neighbour in the place of each killer, under the killer's id."""
    ids = rows[0].to_pylist()
    healthy = [k for k, row_id in enumerate(ids) if row_id not in killed]
    nearest = [k if row_id not in killed else min(healthy, key=lambda h: abs(h - k)) for k, row_id in enumerate(ids)]
    return rows.take(nearest).set_column(0, rows.field(0), rows[0])


def join(
    rows: pa.Table, pieces: Sequence[Tables], killed: Mapping[str, str], tables: Sequence[tuple[str, pa.Schema]]
) -> Tables:
    """The tables of a shard from its pieces. A killer has one row, in the planned table, and no relatives in the
    others.
    """
    joined = {
        name: pa.concat_tables([expected.empty_table(), *(piece[name] for piece in pieces)])
        for name, expected in tables
    }
    if not killed:
        return joined
    (planned, expected), *others = tables
    if "status" not in expected.names:
        raise ValueError(
            f"table {planned} has no status, and {len(killed)} of its rows end the process that works on them"
        )
    ids = pa.array(killed, pa.string())
    blank = _blank(rows.filter(pc.is_in(rows[0], ids)), expected, killed)
    healthy = joined[planned].filter(pc.invert(pc.is_in(joined[planned][0], ids)))
    joined[planned] = pa.concat_tables([healthy, blank]).sort_by(expected.names[0])
    for name, _ in others:
        mine = [schema.descends(relative, killed.keys()) for relative in joined[name][0].to_pylist()]
        joined[name] = joined[name].filter(pc.invert(pa.array(mine, pa.bool_())))
    return joined


def _blank(rows: pa.Table, expected: pa.Schema, killed: Mapping[str, str]) -> pa.Table:
    """Planned rows as rows of the planned table: what the plan knows, status and error, and nothing else."""
    known = {
        "status": pa.array([KILLED] * len(rows)),
        "error": pa.array([killed[row_id] for row_id in rows[0].to_pylist()]),
    }
    columns = []
    for column in expected:
        if column.name in known:
            columns.append(known[column.name].cast(column.type))
        elif column.name in rows.column_names:
            columns.append(rows[column.name].cast(column.type).combine_chunks())
        elif pa.types.is_fixed_size_list(column.type):  # Parquet cannot read back a null in one
            columns.append(pa.array([[0] * column.type.list_size] * len(rows), column.type))
        else:
            columns.append(pa.nulls(len(rows), column.type))
    return pa.table(columns, schema=expected)


def main() -> None:
    """Read pickles from the standard input, first the pickled steps, then tables; answer each with (problem, bug,
    result).
    """
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a step prints is no answer
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # of all processes the one that the system ends for want of memory
    answering = _answers(sys.stdin.buffer)
    while True:
        answer: tuple[str | None, str | None, Any]
        try:
            answer = (None, None, next(answering))
        except StopIteration:
            return
        except UserError as problem:
            answer = (str(problem), None, None)
        except Exception:
            answer = (None, traceback.format_exc(), None)
        pickle.dump(answer, answers)
        answers.flush()


def _answers(questions: Any) -> Iterator[Any]:
    calls = [
        call(**kwargs) if isinstance(call, type) else partial(call, **kwargs)
        for call, kwargs in pickle.loads(pickle.load(questions))
    ]
    yield True
    while True:
        try:
            table = pickle.load(questions)
        except EOFError:
            return
        for call in calls:
            table = call(table)
        yield table


if __name__ == "__main__":
    main()
