"""How often worker processes died over a task: counted for one run, in an actor beside the driver.

Ray restarts a dead worker without limit, so the deaths are counted here: an attempt that has begun and not ended. A
count is one call within the cluster, where a mark on object storage would be a dozen requests for each shard.
"""

import contextlib
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from twfer_dist.core.errors import UserError


class Counts:
    """The attempts at each task that have begun and not ended."""

    def __init__(self) -> None:
        self._begun: dict[str, set[str]] = defaultdict(set)

    def begin(self, task: str, attempt: str) -> int:
        """Note an attempt; how many others have begun and not ended."""
        self._begun[task].add(attempt)
        return len(self._begun[task]) - 1

    def end(self, task: str, attempt: str) -> None:
        self._begun[task].discard(attempt)
        if not self._begun[task]:
            del self._begun[task]

    def forget(self, task: str) -> None:
        self._begun.pop(task, None)


@dataclass(frozen=True)
class Attempts:
    """The counts of a run; travels to the workers. actor: `Counts` as a Ray actor."""

    actor: Any

    @contextlib.contextmanager
    def attempt(self, shard: int, task: str) -> Iterator[int]:
        """Yield how many earlier attempts at this task on a shard ended with the death of their process."""
        with self._attempt(f"{task} of shard {shard}") as earlier:
            yield earlier

    def build(
        self, cls: Callable[..., Callable[..., Any]], kwargs: Mapping[str, Any], limit: int
    ) -> Callable[..., Any]:
        """`cls(**kwargs)`. UserError where `limit` processes have begun to build it since the last success, and died or
        are still building.
        """
        with self._attempt(f"loading {cls.__name__}") as earlier:
            if earlier >= limit:
                raise UserError(
                    f"{cls.__name__} crashed its worker {earlier} times while loading, probably out of memory: give "
                    "workers more memory or use fewer actors, and start again; finished work is kept."
                )
            built = cls(**kwargs)
            self.actor.forget.remote(f"loading {cls.__name__}")
        return built

    @contextlib.contextmanager
    def _attempt(self, task: str) -> Iterator[int]:
        import ray

        attempt = uuid.uuid4().hex
        earlier = ray.get(self.actor.begin.remote(task, attempt))
        try:
            yield earlier
        finally:
            self.actor.end.remote(task, attempt)  # one that is lost counts as one death too many, no worse


@contextlib.contextmanager
def counted() -> Iterator[Attempts]:
    """The counts of a run. The actor is on the driver's node and is restarted, with empty counts, if it dies."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    counts: Any = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Counts)
    actor = counts.options(scheduling_strategy=here).remote()
    try:
        yield Attempts(actor)
    finally:
        ray.kill(actor)
