"""The batches of a training, drawn in processes of their own while the step before them is computed."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import cv2
from torch.utils.data import DataLoader, Dataset

B = TypeVar("B")

_AHEAD = 4  # batches that each process keeps ready


class _Steps(Dataset[B]):
    """The batch of each step, by the step's number."""

    def __init__(self, draw: Callable[[int], B]) -> None:
        self.draw = draw

    def __getitem__(self, step: int) -> B:
        return self.draw(step)


def prefetched(draw: Callable[[int], B], first: int, last: int, processes: int) -> Iterator[B]:
    """The batches `draw(step)` of the steps from `first` to before `last`, in order.

    processes: that draw them ahead of their use; 0 draws each when it is asked for, in this process. Since a batch
    depends on its step alone, their number changes nothing but the speed. The processes are forked, so that they share
    what `draw` holds in memory; they may not use a GPU.
    """
    if not processes:
        return map(draw, range(first, last))
    return iter(
        DataLoader(
            _Steps(draw),
            batch_size=None,
            sampler=range(first, last),
            num_workers=processes,
            prefetch_factor=_AHEAD,
            multiprocessing_context="fork",
            worker_init_fn=_one_thread,
        )
    )


def _one_thread(_: int) -> None:
    cv2.setNumThreads(0)  # as PyTorch does in these processes: they are as many as the machine has cores
