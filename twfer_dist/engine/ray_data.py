"""The shards of a plan on Ray Data: each goes through the steps of its stage and is written as soon as it is complete.

A shard is one row of the Ray data set, so that no block size can split or mix shards, and a killed run loses only the
shards in flight. Ray restarts dead workers without limit; here their deaths are counted (see `attempts`): a shard over
which a worker died `MAX_TRIES` times is set aside until the others are done, and its rows are then bisected in
isolation (see `quarantine`).
"""

import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from twfer_dist.core.errors import UserError
from twfer_dist.engine import quarantine, ray_cluster, resources
from twfer_dist.engine.attempts import Attempts, counted
from twfer_dist.engine.digests import digest_ids
from twfer_dist.engine.isolated_worker import IsolatedWorker, WorkerCrash
from twfer_dist.engine.shards import ShardStore, Step

MAX_TRIES = 2
MAX_BLOCKS = 10_000
"""Shards of one Ray data set, of which the driver holds some KB each. Each data set builds its own actors, so that
a large cluster takes more at once.
"""

_BLOCKS_PER_CPU = 1000


@dataclass(frozen=True)
class _Operator:
    """The position of a Ray Data operator among those of the stage."""

    number: int
    is_last: bool
    store: ShardStore
    attempts: Attempts


def run_shards(shards: Sequence[int], steps: Sequence[Step], store: ShardStore) -> Iterator[tuple[int, dict[str, int]]]:
    """Run the shards through the steps; yield rows and counts by status of each shard as it is finished, in any
    order.
    """
    ray_cluster.start()
    suspects: list[int] = []
    at_once = max(MAX_BLOCKS, _BLOCKS_PER_CPU * resources.slots(1, 0))
    with counted() as attempts:
        for start in range(0, len(shards), at_once):
            for row in _rows(_dataset(shards[start : start + at_once], steps, store, attempts)):
                if row["suspect"]:
                    suspects.append(row["shard"])
                else:
                    yield row["rows"], json.loads(row["counts"])
        if suspects:
            yield from _run_isolated(suspects, steps, store, attempts)


def _dataset(shards: Sequence[int], steps: Sequence[Step], store: ShardStore, attempts: Attempts) -> Any:
    """A data set whose rows are the shards after the last step."""
    dataset = _one_row_each(shards)
    groups = _grouped(steps)
    for number, group in enumerate(groups):
        operator = _Operator(number, number == len(groups) - 1, store, attempts)
        dataset = _with_operator(dataset, group, operator, len(shards))
    return dataset


def _with_operator(dataset: Any, steps: Sequence[Step], operator: _Operator, shards: int) -> Any:
    """The data set with one more operator. steps: a function, or a class and the functions that its actors run too."""
    step, *after = steps
    options: dict[str, Any] = {"batch_size": 1, "batch_format": "pyarrow"}
    options |= {"num_cpus": 0 if step.gpus else step.cpus, "num_gpus": step.gpus or None}
    if not isinstance(step.call, type):
        arguments = {"call": step.call, "kwargs": dict(step.kwargs), "operator": operator}
        return dataset.map_batches(_named_function(step), fn_kwargs=arguments, **options)
    pool = _actor_pool(step, shards)
    arguments = {"cls": step.call, "kwargs": dict(step.kwargs), "after": after, "operator": operator}
    arguments["max_builds"] = pool.max_size * (1 + MAX_TRIES)
    return dataset.map_batches(
        type(_name(step), (_Actor,), {}), fn_constructor_kwargs=arguments, compute=pool, **options
    )


def _named_function(step: Step) -> Callable[..., pa.Table]:
    """`_run_shard` under the name of the step's function, which is the operator's in Ray's dashboard and logs."""

    def run(batch: pa.Table, **arguments: Any) -> pa.Table:
        return _run_shard(batch, **arguments)

    run.__name__ = _name(step)
    return run


def _name(step: Step) -> str:
    return str(getattr(step.call, "func", step.call).__name__)  # of a partial, its function's


def _run_isolated(
    shards: Sequence[int], steps: Sequence[Step], store: ShardStore, attempts: Attempts
) -> Iterator[tuple[int, dict[str, int]]]:
    import ray.cloudpickle

    pickled = ray.cloudpickle.dumps([(step.call, dict(step.kwargs)) for step in steps])
    dataset = _one_row_each(shards).map_batches(
        _isolate_shard,
        fn_kwargs={"steps": pickled, "store": store, "attempts": attempts},
        batch_size=1,
        batch_format="pyarrow",
        num_cpus=max(step.cpus for step in steps),
        num_gpus=max(step.gpus for step in steps) or None,
    )
    for row in _rows(dataset):
        yield row["rows"], json.loads(row["counts"])


def _grouped(steps: Sequence[Step]) -> list[list[Step]]:
    """The steps of each Ray Data operator. Without a GPU to feed, the actors of a class also run the functions after
    it: a pool that holds every CPU leaves none to the tasks behind it, and once the object store is full both would
    wait for each other indefinitely.
    """
    groups: list[list[Step]] = []
    for step in steps:
        first = groups[-1][0] if groups else step
        if isinstance(first.call, type) and not isinstance(step.call, type) and not first.gpus:
            groups[-1].append(step)
        else:
            groups.append([step])
    return groups


def _actor_pool(step: Step, shards: int) -> Any:
    """A step's actors. Where their number is set, those that the cluster cannot start yet come with new nodes, and idle
    ones are returned.
    """
    import ray.data

    if step.gpus and not step.actors:
        resources.await_gpus(step.gpus)
    size = min(shards, step.actors or resources.slots(step.cpus, step.gpus))
    return ray.data.ActorPoolStrategy(min_size=1 if step.actors else size, initial_size=size, max_size=size)


def _one_row_each(shards: Sequence[int]) -> Any:
    import ray

    return ray.data.from_items([{"shard": shard} for shard in shards], override_num_blocks=len(shards))


def _rows(dataset: Any) -> Iterator[dict[str, Any]]:
    for row in dataset.iter_rows():
        if row["problem"] is not None:
            raise UserError(row["problem"])
        yield row


_ROW = pa.schema(
    [
        ("shard", pa.int64()),
        ("table", pa.large_binary()),  # between steps: an Arrow IPC stream
        ("planned_ids", pa.binary()),  # between steps: the digest of the planned ids
        ("rows", pa.int64()),
        ("counts", pa.string()),
        ("problem", pa.string()),  # the sentence of a UserError, which Ray would wrap in a page of stack frames
        ("suspect", pa.bool_()),  # workers died over it
    ]
)


def _row(shard: int, **values: Any) -> pa.Table:
    return pa.Table.from_pylist([{"shard": shard, **values}], schema=_ROW)


def _run_shard(
    batch: pa.Table, *, call: Callable[..., Any], kwargs: Mapping[str, Any], operator: _Operator
) -> pa.Table:
    """One operator on one shard."""
    shard, store = batch["shard"][0].as_py(), operator.store
    if operator.number and not batch["table"][0].is_valid:
        return batch  # an earlier operator met a problem
    try:
        with operator.attempts.attempt(shard, f"step {operator.number}") as earlier:
            if earlier >= MAX_TRIES:
                return _row(shard, suspect=True)
            table = _unpack(batch) if operator.number else store.planned(shard)
            planned_ids = batch["planned_ids"][0].as_py() if operator.number else digest_ids(table)
            result = call(table, **kwargs)
            if operator.is_last:
                rows, counts = store.write(shard, store.conform(result), planned_ids)
                return _row(shard, rows=rows, counts=json.dumps(counts))
    except UserError as problem:
        return _row(shard, problem=str(problem))
    return _row(shard, table=_pack(result), planned_ids=planned_ids)


def _pack(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def _unpack(batch: pa.Table) -> pa.Table:
    return pa.ipc.open_stream(batch["table"][0].as_buffer()).read_all()


class _Actor:
    """An actor of a step's pool: builds the step's class once, and calls it and the functions after it.

    An exception of the constructor is raised at the first call: Ray would retry the constructor without limit, as it
    does where the process dies in it.
    """

    def __init__(
        self, cls: type, kwargs: Mapping[str, Any], after: Sequence[Step], operator: _Operator, max_builds: int
    ) -> None:
        self._operator = operator
        try:
            built = operator.attempts.build(cls, kwargs, max_builds)
        except Exception as error:
            built = functools.partial(_raise, error)
        functions = [functools.partial(step.call, **step.kwargs) for step in after]
        self._calls: list[Callable[[Any], Any]] = [built, *functions]

    def __call__(self, batch: pa.Table) -> pa.Table:
        return _run_shard(batch, call=self._call_all, kwargs={}, operator=self._operator)

    def _call_all(self, table: pa.Table) -> pa.Table | Mapping[str, pa.Table]:
        return functools.reduce(lambda result, call: call(result), self._calls, table)


def _raise(error: Exception, table: pa.Table) -> pa.Table:
    raise error


def _isolate_shard(batch: pa.Table, *, steps: bytes, store: ShardStore, attempts: Attempts) -> pa.Table:
    """All steps on a suspect shard; rows that crash the isolated worker are recorded as killed."""
    shard = batch["shard"][0].as_py()
    planned = store.planned(shard)
    with IsolatedWorker(steps) as worker:

        def attempt(rows: pa.Table, task: str) -> dict[str, pa.Table] | WorkerCrash:
            with attempts.attempt(shard, task) as earlier:
                if earlier >= MAX_TRIES:  # this process died together with the isolated worker
                    return WorkerCrash("The worker process ended")
                result = worker.run(rows)
            return result if isinstance(result, WorkerCrash) else store.conform(result)

        try:
            pieces, killed = quarantine.bisect_poison_rows(planned, attempt)
            joined = quarantine.join(planned, pieces, killed, store.tables)
            rows, counts = store.write(shard, joined, digest_ids(planned))
        except UserError as problem:
            return _row(shard, problem=str(problem))
    return _row(shard, rows=rows, counts=json.dumps(counts))
