"""How often worker processes died over a task: a mark on storage for each attempt that has begun and not ended.

Ray restarts a dead worker without limit, so the deaths are counted here.
"""

import contextlib
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from twfer_dist.core.errors import UserError
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import WORK


@dataclass(frozen=True)
class Attempts:
    """The marks of the stage that writes to `directory`; travels to the workers."""

    directory: str

    def clear(self) -> None:
        storage.delete_folder(self._folder)

    @contextlib.contextmanager
    def attempt(self, shard: int, task: str) -> Iterator[int]:
        """Yield how many earlier attempts at this task on a shard ended with the death of their process."""
        prefix = f"{shard:06d}.{task}."
        mark = self._new_mark(prefix)
        earlier = sum(name.startswith(prefix) for name in storage.list_files(self._folder))
        storage.write_bytes(mark, b"")
        try:
            yield earlier
        finally:
            with contextlib.suppress(UserError):  # a mark that stays counts as one death too many, no worse
                storage.delete_file(mark)

    def build(
        self, cls: Callable[..., Callable[..., Any]], kwargs: Mapping[str, Any], limit: int
    ) -> Callable[..., Any]:
        """`cls(**kwargs)`. UserError where `limit` processes have begun to build it since the last success, and died or
        are still building.
        """
        prefix = f"{cls.__name__}."
        mark = self._new_mark(prefix)
        # Another process renames its own .tmp file to a mark at any moment.
        begun = [
            name for name in storage.list_files(self._folder) if name.startswith(prefix) and not name.endswith(".tmp")
        ]
        if len(begun) >= limit:
            raise UserError(
                f"{self.directory}: {cls.__name__} crashed its worker {len(begun)} times while loading, probably out "
                "of memory: give workers more memory or use fewer actors, and start again; finished work is kept."
            )
        storage.write_bytes(mark, b"")
        try:
            built = cls(**kwargs)
        finally:
            storage.delete_file(mark)
        for name in begun:
            storage.delete_file(storage.join(self._folder, name))
        return built

    def _new_mark(self, prefix: str) -> str:
        return storage.join(self._folder, f"{prefix}{uuid.uuid4().hex[:8]}")

    @property
    def _folder(self) -> str:
        return storage.join(self.directory, WORK, "tries")
