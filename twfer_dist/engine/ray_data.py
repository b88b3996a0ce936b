"""The shards of a plan on Ray Data: each goes through the steps of its stage, and is put into place the moment it is
whole.

A shard is one row of the Ray data set, so no setting of block sizes can split or mix shards, and a killed run loses the
shards in flight and nothing else. Ray starts a worker that died again, for ever if need be, and so its deaths are
counted here: a shard that ended its worker `TRIES` times is set aside until the others are done, and is then examined
(see `killers`).
"""

import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from twfer_dist.core.errors import UserError
from twfer_dist.engine import quarantine, ray_cluster
from twfer_dist.engine.shards import MAX_TRIES, ShardStore, Step


def run_shards(
    shards: Sequence[int], steps: Sequence[Step], target: ShardStore
) -> Iterator[tuple[int, dict[str, int]]]:
    """Run the shards through the steps; rows and counts of each shard as it is done, in any order."""
    ray_cluster.start()
    import ray.cloudpickle

    suspects: list[int] = []
    dataset = _one_row_each(shards)
    operators = _operators(steps)
    for number, (step, *after) in enumerate(operators):
        place = {"number": number, "last": number == len(operators) - 1, "target": target}
        asks = {"num_cpus": 0 if step.gpus else step.cpus, "num_gpus": step.gpus or None}
        shared: dict[str, Any] = {"batch_size": 1, "batch_format": "pyarrow", **asks}
        if isinstance(step.call, type):
            pool = _pool(step, len(shards))
            most = pool.max_size * (1 + MAX_TRIES)
            given = {"build": step.call, "kwargs": dict(step.kwargs), "after": after, "place": place, "most": most}
            dataset = dataset.map_batches(_Actor, fn_constructor_kwargs=given, compute=pool, **shared)
        else:
            dataset = dataset.map_batches(
                _run_shard, fn_kwargs={"call": step.call, "kwargs": dict(step.kwargs), **place}, **shared
            )
    for row in _rows(dataset):
        if row["suspect"]:
            suspects.append(row["shard"])
        else:
            yield row["rows"], json.loads(row["counts"])
    if suspects:
        work = ray.cloudpickle.dumps([(step.call, dict(step.kwargs)) for step in steps])
        asks = {"num_cpus": max(step.cpus for step in steps), "num_gpus": max(step.gpus for step in steps) or None}
        given = {"fn_kwargs": {"steps": work, "target": target}, "batch_size": 1, "batch_format": "pyarrow"}
        for row in _rows(_one_row_each(suspects).map_batches(_isolate_shard, **given, **asks)):
            yield row["rows"], json.loads(row["counts"])


def _operators(steps: Sequence[Step]) -> list[list[Step]]:
    """The steps as Ray Data does them. Where there is no GPU to feed, functions after a class are its actor's work too:
    a pool that holds every CPU leaves none to tasks behind it, and once the object store is full each waits for the
    other for ever.
    """
    operators: list[list[Step]] = []
    for step in steps:
        before = operators[-1][0] if operators else step
        if isinstance(before.call, type) and not isinstance(step.call, type) and not before.gpus:
            operators[-1].append(step)
        else:
            operators.append([step])
    return operators


def _pool(step: Step, shards: int) -> Any:
    """A step's actors. Where their number is asked for, those that the cluster cannot start yet come with its nodes,
    and those that find nothing to do are given back.
    """
    import ray.data

    size = min(shards, step.actors or ray_cluster.slots(step.cpus, step.gpus))
    return ray.data.ActorPoolStrategy(min_size=1 if step.actors else size, initial_size=size, max_size=size)


def _one_row_each(shards: Sequence[int]) -> Any:
    import ray

    return ray.data.from_items([{"shard": shard} for shard in shards], override_num_blocks=len(shards))


def _rows(dataset: Any) -> Iterator[dict[str, Any]]:
    for row in dataset.iter_rows():
        if row["problem"] is not None:
            raise UserError(row["problem"])
        yield row


_TRAVELLING = pa.schema(
    [
        ("shard", pa.int64()),
        ("table", pa.large_binary()),
        ("rows", pa.int64()),
        ("counts", pa.string()),
        ("problem", pa.string()),
        ("suspect", pa.bool_()),
    ]
)


def _row(shard: int, **values: Any) -> pa.Table:
    return pa.Table.from_pylist([{"shard": shard, **values}], schema=_TRAVELLING)


def _run_shard(
    batch: pa.Table, *, call: Callable, kwargs: Mapping[str, Any], number: int, last: bool, target: ShardStore
) -> pa.Table:
    """One step on one shard. Between steps a shard travels as one Arrow IPC message in one row.

    A Problem travels as its sentence, since Ray would wrap it in a page of its own frames.
    """
    shard = batch["shard"][0].as_py()
    if number and not batch["table"][0].is_valid:
        return batch  # a step before this one has met a problem
    try:
        with target.attempt(shard, f"step-{number}") as earlier:
            if earlier >= MAX_TRIES:
                return _row(shard, suspect=True)
            table = pa.ipc.open_stream(batch["table"][0].as_buffer()).read_all() if number else target.planned(shard)
            result = call(table, **kwargs)
            if last:
                rows, counts = target.write(shard, target.conformed(result))
                return _row(shard, rows=rows, counts=json.dumps(counts))
    except UserError as problem:
        return _row(shard, problem=str(problem))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, result.schema) as writer:
        writer.write_table(result)
    return _row(shard, table=sink.getvalue().to_pybytes())


class _Actor:
    """An actor of a step's pool: builds the step's class once, and calls it and the functions after it.

    What its constructor raises is raised at the first call: Ray would retry the constructor for ever, as it does where
    the process ends over it.
    """

    def __init__(
        self, build: type, kwargs: Mapping[str, Any], after: Sequence[Step], place: Mapping[str, Any], most: int
    ) -> None:
        self._place = place
        try:
            built = place["target"].built(build, kwargs, most)
        except Exception as error:
            built = functools.partial(_raise, error)
        self._calls = [built, *(functools.partial(step.call, **step.kwargs) for step in after)]

    def __call__(self, batch: pa.Table) -> pa.Table:
        return _run_shard(batch, call=self._all, kwargs={}, **self._place)

    def _all(self, table: pa.Table) -> pa.Table | Mapping[str, pa.Table]:
        return functools.reduce(lambda result, call: call(result), self._calls, table)


def _raise(error: Exception, table: pa.Table) -> pa.Table:
    raise error


def _isolate_shard(batch: pa.Table, *, steps: bytes, target: ShardStore) -> pa.Table:
    """All steps on one shard whose rows are suspected: its rows are done but for those that end the process that works
    on them.
    """
    shard = batch["shard"][0].as_py()
    planned = target.planned(shard)
    with quarantine.IsolatedWorker(steps) as child:

        def attempt(rows: pa.Table, what: str) -> dict[str, pa.Table] | quarantine.WorkerCrash:
            with target.attempt(shard, what) as earlier:
                if earlier >= MAX_TRIES:  # this process died with its child
                    return quarantine.WorkerCrash("the process that worked on it ended")
                answer = child.answer(rows)
            return answer if isinstance(answer, quarantine.WorkerCrash) else target.conformed(answer)

        try:
            pieces, killed = quarantine.bisect_poison_rows(planned, attempt)
            rows, counts = target.write(shard, quarantine.join(planned, pieces, killed, target.tables))
        except UserError as problem:
            return _row(shard, problem=str(problem))
    return _row(shard, rows=rows, counts=json.dumps(counts))
