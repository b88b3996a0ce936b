"""Calls on workers, one Ray task each: planning, joining and checking, which one driver would be too slow for."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from twfer_dist.core.errors import UserError
from twfer_dist.engine import ray_cluster, resources

MAX_RETRIES = 5
_AHEAD = 4  # tasks in flight for each slot of the cluster

A = TypeVar("A")
T = TypeVar("T")


def run(name: str, call: Callable[[A], T], arguments: Iterable[A]) -> Iterator[T]:
    """`call(argument)` for each argument on workers with one CPU each; the results in the order of the arguments.

    name: of the tasks in Ray's dashboard and logs. A call whose worker dies is made again, so it must be repeatable.
    At most a few calls for each CPU are in flight, so that the driver's memory does not grow with their number.
    UserError where a call raises one, or its workers died MAX_RETRIES + 1 times.
    """
    ray_cluster.start()
    import ray

    shared = ray.put(call)
    task = ray.remote(num_cpus=1, max_retries=MAX_RETRIES)(_call).options(name=name)
    pending: deque[Any] = deque()
    for argument in arguments:
        while len(pending) >= _AHEAD * resources.slots(1, 0):  # nodes may have joined since the last look
            yield _result(name, pending.popleft())
        pending.append(task.remote(shared, argument))
    while pending:
        yield _result(name, pending.popleft())


def _call(call: Callable[[Any], Any], argument: Any) -> tuple[str | None, Any]:
    """The sentence of a UserError, which Ray would wrap in a page of stack frames, and the result."""
    try:
        return None, call(argument)
    except UserError as problem:
        return str(problem), None


def _result(name: str, reference: Any) -> Any:
    import ray

    try:
        problem, result = ray.get(reference)
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError) as error:
        raise UserError(
            f"The workers of a task '{name}' crashed {MAX_RETRIES + 1} times, probably out of memory "
            f"({type(error).__name__}): give workers more memory, and start again; finished work is kept."
        ) from None
    if problem:
        raise UserError(problem)
    return result
