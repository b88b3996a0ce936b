"""The parts of a plan on Ray Data: each goes through the steps of its stage, and is put into place the moment it is whole.

A part is one row of the Ray data set, so no setting of block sizes can split or mix parts, and a killed run loses the parts
in flight and nothing else. Ray starts a worker that died again, for ever if need be, and so its deaths are counted here: a
part that ended its worker `TRIES` times is set aside until the others are done, and is then examined (see `killers`).
"""

import contextlib
import functools
import json
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from twfer_dist import cluster, killers, schema, storage
from twfer_dist.errors import Problem
from twfer_dist.storage import WORK

TRIES = 2
_PARTS_PER_FILE = 64  # of the plan: whoever reads a part of it reads the index of its file
_READERS = 16  # of small files on storage that answers late


@dataclass(frozen=True)
class Step:
    """One step of a stage's work on a part, Table -> Table with at least one row.

    call: a function, or a class that is built once per actor with `kwargs` (a network is loaded once) and then called.
    The last step returns a Table, or {table name: Table} where the stage has several. cpus: of a worker without a GPU; one with a
    GPU asks for no CPU, so that whatever feeds it finds one.
    """

    call: Callable[..., Any]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    cpus: float = 1
    gpus: float = 0
    actors: int | None = None  # of a class, at most; as many as the cluster has room for at the start where not given


@dataclass(frozen=True)
class Target:
    """Where a stage's plan and parts lie, and how its tables look, the planned one first; travels to the workers."""

    directory: str
    tables: tuple[tuple[str, pa.Schema], ...]

    def lay_out(self, plan: pa.Table, rows_per_part: int) -> None:
        """Write the plan, sorted by id, for the workers to read; forget how often workers died."""
        rows = rows_per_part * _PARTS_PER_FILE
        for number in range(-(-len(plan) // rows)):
            storage.write_parquet(self._plan(number), plan.slice(number * rows, rows), rows_per_part)
        storage.delete_folder(self._tries)

    def planned_rows(self) -> int:
        """How many rows the plan has, as far as it was laid out."""
        rows = 0
        for name in storage.list_files(storage.join(self.directory, WORK, "plan")):
            if name.endswith(".parquet"):
                with storage.open_parquet(storage.join(self.directory, WORK, "plan", name)) as file:
                    rows += file.metadata.num_rows
        return rows

    def planned(self, part: int) -> pa.Table:
        with storage.open_parquet(self._plan(part // _PARTS_PER_FILE)) as file:
            return file.read_row_group(part % _PARTS_PER_FILE)

    def part(self, name: str, part: int) -> str:
        """The URI of a part of a table."""
        return storage.join(self.directory, WORK, name, f"part-{part:06d}.parquet")

    def done(self) -> set[int]:
        """The parts that are whole: whose files of all tables are there."""

        def written(name: str) -> set[int]:
            files = storage.list_files(storage.join(self.directory, WORK, name))
            return {int(f[5:-8]) for f in files if f.startswith("part-") and f.endswith(".parquet")}

        return set.intersection(*(written(name) for name, _ in self.tables))

    def without_result(self, parts: Iterable[int]) -> int:
        """How many planned rows of these parts, which are done, have no result."""
        planned, expected = self.tables[0]
        if "status" not in expected.names:
            return 0

        def count(part: int) -> int:
            with storage.open_parquet(self.part(planned, part)) as file:
                statuses = file.read(columns=["status"])["status"]
            return len(statuses) - statuses.to_pylist().count(schema.OK)

        with ThreadPoolExecutor(_READERS) as pool:
            return sum(pool.map(count, parts))

    def conformed(self, result: pa.Table | Mapping[str, pa.Table]) -> dict[str, pa.Table]:
        """What a last step returned as the stage's tables, sorted by id."""
        tables = result if isinstance(result, Mapping) else {self.tables[0][0]: result}
        return {name: by_id(schema.conform(tables[name], expected)) for name, expected in self.tables}

    def write(self, part: int, tables: dict[str, pa.Table]) -> tuple[int, dict[str, int]]:
        """Write a part's tables, the planned one last; its rows and their counts by status."""
        (planned, _), *_ = self.tables
        if tables[planned].column(0).to_pylist() != self.planned(part).column(0).to_pylist():
            raise ValueError(f"part {part} of {self.directory} does not hold exactly the planned ids")
        for name in reversed(list(tables)):
            storage.write_parquet(self.part(name, part), tables[name])
        statuses = tables[planned]["status"].to_pylist() if "status" in tables[planned].column_names else []
        return len(tables[planned]), dict(Counter(statuses))

    @contextlib.contextmanager
    def attempt(self, part: int, what: str) -> Iterator[int]:
        """How many earlier attempts at this work on a part came to no end, good or bad, because their process died."""
        beginning = f"{part:06d}.{what}."
        mark = storage.join(self._tries, f"{beginning}{uuid.uuid4().hex[:8]}")
        earlier = sum(name.startswith(beginning) for name in storage.list_files(self._tries))
        storage.write_bytes(mark, b"")
        try:
            yield earlier
        finally:
            with contextlib.suppress(Problem):  # one that stays counts as an end without a word, and no more
                storage.delete_file(mark)

    def built(self, build: Callable[..., Callable], kwargs: Mapping[str, Any], most: int) -> Callable:
        """What `build` makes. Problem where `most` processes that ended over it, or are at it, have come since the last success."""
        beginning = f"{build.__name__}."
        mark = storage.join(self._tries, f"{beginning}{uuid.uuid4().hex[:8]}")
        # A mark that another process is just writing is its own to move.
        begun = [name for name in storage.list_files(self._tries) if name.startswith(beginning) and not name.endswith(".tmp")]
        if len(begun) >= most:
            raise Problem(
                f"{self.directory}: building {build.__name__} ends its process, {len(begun)} times now, most often for want of memory: "
                "give it more, or ask for fewer actors, and start again; what is done is kept."
            )
        storage.write_bytes(mark, b"")
        try:
            made = build(**kwargs)
        finally:
            storage.delete_file(mark)
        for name in begun:
            storage.delete_file(storage.join(self._tries, name))
        return made

    @property
    def _tries(self) -> str:
        return storage.join(self.directory, WORK, "tries")

    def _plan(self, number: int) -> str:
        return storage.join(self.directory, WORK, "plan", f"plan-{number:05d}.parquet")


def by_id(table: pa.Table) -> pa.Table:
    return table.sort_by(table.column_names[0])


def through_ray(parts: Sequence[int], steps: Sequence[Step], target: Target) -> Iterator[tuple[int, dict[str, int]]]:
    """Run the parts through the steps; rows and counts of each part as it is done, in any order."""
    cluster.start()
    import ray.cloudpickle

    suspects: list[int] = []
    dataset = _one_row_each(parts)
    operators = _operators(steps)
    for number, (step, *after) in enumerate(operators):
        place = {"number": number, "last": number == len(operators) - 1, "target": target}
        asks = {"num_cpus": 0 if step.gpus else step.cpus, "num_gpus": step.gpus or None}
        shared: dict[str, Any] = {"batch_size": 1, "batch_format": "pyarrow", **asks}
        if isinstance(step.call, type):
            pool = _pool(step, len(parts))
            most = pool.max_size * (1 + TRIES)
            given = {"build": step.call, "kwargs": dict(step.kwargs), "after": after, "place": place, "most": most}
            dataset = dataset.map_batches(_Actor, fn_constructor_kwargs=given, compute=pool, **shared)
        else:
            dataset = dataset.map_batches(_run_part, fn_kwargs={"call": step.call, "kwargs": dict(step.kwargs), **place}, **shared)
    for row in _rows(dataset):
        if row["suspect"]:
            suspects.append(row["part"])
        else:
            yield row["rows"], json.loads(row["counts"])
    if suspects:
        work = ray.cloudpickle.dumps([(step.call, dict(step.kwargs)) for step in steps])
        asks = {"num_cpus": max(step.cpus for step in steps), "num_gpus": max(step.gpus for step in steps) or None}
        given = {"fn_kwargs": {"steps": work, "target": target}, "batch_size": 1, "batch_format": "pyarrow"}
        for row in _rows(_one_row_each(suspects).map_batches(_examine_part, **given, **asks)):
            yield row["rows"], json.loads(row["counts"])


def _operators(steps: Sequence[Step]) -> list[list[Step]]:
    """The steps as Ray Data does them. Where there is no GPU to feed, functions after a class are its actor's work too: a pool that
    holds every CPU leaves none to tasks behind it, and once the object store is full each waits for the other for ever.
    """
    operators: list[list[Step]] = []
    for step in steps:
        before = operators[-1][0] if operators else step
        if isinstance(before.call, type) and not isinstance(step.call, type) and not before.gpus:
            operators[-1].append(step)
        else:
            operators.append([step])
    return operators


def _pool(step: Step, parts: int) -> Any:
    """A step's actors. Where their number is asked for, those that the cluster cannot start yet come with its nodes, and those that
    find nothing to do are given back.
    """
    import ray.data

    size = min(parts, step.actors or cluster.slots(step.cpus, step.gpus))
    return ray.data.ActorPoolStrategy(min_size=1 if step.actors else size, initial_size=size, max_size=size)


def _one_row_each(parts: Sequence[int]) -> Any:
    import ray

    return ray.data.from_items([{"part": part} for part in parts], override_num_blocks=len(parts))


def _rows(dataset: Any) -> Iterator[dict[str, Any]]:
    for row in dataset.iter_rows():
        if row["problem"] is not None:
            raise Problem(row["problem"])
        yield row


_TRAVELLING = pa.schema(
    [
        ("part", pa.int64()),
        ("table", pa.large_binary()),
        ("rows", pa.int64()),
        ("counts", pa.string()),
        ("problem", pa.string()),
        ("suspect", pa.bool_()),
    ]
)


def _row(part: int, **values: Any) -> pa.Table:
    return pa.Table.from_pylist([{"part": part, **values}], schema=_TRAVELLING)


def _run_part(batch: pa.Table, *, call: Callable, kwargs: Mapping[str, Any], number: int, last: bool, target: Target) -> pa.Table:
    """One step on one part. Between steps a part travels as one Arrow IPC message in one row.

    A Problem travels as its sentence, since Ray would wrap it in a page of its own frames.
    """
    part = batch["part"][0].as_py()
    if number and not batch["table"][0].is_valid:
        return batch  # a step before this one has met a problem
    try:
        with target.attempt(part, f"step-{number}") as earlier:
            if earlier >= TRIES:
                return _row(part, suspect=True)
            table = pa.ipc.open_stream(batch["table"][0].as_buffer()).read_all() if number else target.planned(part)
            result = call(table, **kwargs)
            if last:
                rows, counts = target.write(part, target.conformed(result))
                return _row(part, rows=rows, counts=json.dumps(counts))
    except Problem as problem:
        return _row(part, problem=str(problem))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, result.schema) as writer:
        writer.write_table(result)
    return _row(part, table=sink.getvalue().to_pybytes())


class _Actor:
    """An actor of a step's pool: builds the step's class once, and calls it and the functions after it.

    What its constructor raises is raised at the first call: Ray would retry the constructor for ever, as it does where the
    process ends over it.
    """

    def __init__(self, build: type, kwargs: Mapping[str, Any], after: Sequence[Step], place: Mapping[str, Any], most: int) -> None:
        self._place = place
        try:
            built = place["target"].built(build, kwargs, most)
        except Exception as error:
            built = functools.partial(_raise, error)
        self._calls = [built, *(functools.partial(step.call, **step.kwargs) for step in after)]

    def __call__(self, batch: pa.Table) -> pa.Table:
        return _run_part(batch, call=self._all, kwargs={}, **self._place)

    def _all(self, table: pa.Table) -> pa.Table | Mapping[str, pa.Table]:
        return functools.reduce(lambda result, call: call(result), self._calls, table)


def _raise(error: Exception, table: pa.Table) -> pa.Table:
    raise error


def _examine_part(batch: pa.Table, *, steps: bytes, target: Target) -> pa.Table:
    """All steps on one part whose rows are suspected: its rows are done but for those that end the process that works on them."""
    part = batch["part"][0].as_py()
    planned = target.planned(part)
    with killers.Child(steps) as child:

        def attempt(rows: pa.Table, what: str) -> dict[str, pa.Table] | killers.Death:
            with target.attempt(part, what) as earlier:
                if earlier >= TRIES:  # this process died with its child
                    return killers.Death("the process that worked on it ended")
                answer = child.answer(rows)
            return answer if isinstance(answer, killers.Death) else target.conformed(answer)

        try:
            pieces, killed = killers.examine(planned, attempt)
            rows, counts = target.write(part, killers.join(planned, pieces, killed, target.tables))
        except Problem as problem:
            return _row(part, problem=str(problem))
    return _row(part, rows=rows, counts=json.dumps(counts))
