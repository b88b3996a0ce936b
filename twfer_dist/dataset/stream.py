"""A data set's images as a training reads them: whole row groups, a few at a time, from any storage."""

import queue
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from twfer_dist.dataset.order import LANES, EpochOrder, locate_in_order, share
from twfer_dist.dataset.parts import COLUMNS, Parts
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact

T = TypeVar("T")

AHEAD = 32
"""Batches that are read in advance, still encoded."""

_OPEN_FILES = 16  # of which the footers are kept
_KEPT = ["image_id", "label", "image"]


class Encoded(NamedTuple):
    """Images of a batch as they are stored. epoch: 0 where they are not trained on."""

    images: list[bytes]
    labels: np.ndarray  # int64 (B,), 0 to 6
    ids: list[str]
    lanes: np.ndarray  # int64 (B,), see `order`
    epoch: int


@dataclass(frozen=True)
class ImageSource:
    """A data set and its parts, as worker `rank` of `world` reads them. Travels to workers."""

    dataset: Artifact
    parts: Parts
    rank: int = 0
    world: int = 1

    def of_worker(self, rank: int, world: int) -> "ImageSource":
        return replace(self, rank=rank, world=world)

    def count(self, part: str) -> int:
        """How many images of a part there are, over all workers."""
        return self.parts.count(part)

    def epochs(self, edges: np.ndarray, seed: int, start: tuple[int, int], epochs: int) -> Iterator[Encoded]:
        """This worker's share of each batch of the training images, to the end of the last epoch.

        edges: where the batches begin (`order.batch_edges`). start: an epoch, from 1, and the number of a batch in it.
        """
        counts = self.parts.counts("train")
        reader = RowGroupReader(self.dataset, self.parts, "train", keep=-(-LANES // min(self.world, LANES)) + 1)
        epoch, first = start
        while epoch <= epochs:
            order = EpochOrder(counts, seed, epoch)
            for number in range(first, len(edges) - 1):
                mine = share(np.arange(edges[number], edges[number + 1]), self.rank, self.world)
                yield reader.take(*order.locate(mine), mine % LANES, epoch)
            epoch, first = epoch + 1, 0

    def in_order(self, part: str, batch: int) -> Iterator[Encoded]:
        """This worker's run of the images of a part, in batches in the order of their ids."""
        reader = RowGroupReader(self.dataset, self.parts, part, keep=2)
        first, end = self.run_of(part)
        for start in range(first, end, batch):
            images = np.arange(start, min(start + batch, end))
            yield reader.take(*locate_in_order(self.parts.counts(part), images), np.zeros(len(images), np.int64), 0)

    def run_of(self, part: str) -> tuple[int, int]:
        """The first of this worker's images of a part, in the order of their ids, and the one after its last."""
        count = self.count(part)
        return self.rank * count // self.world, (self.rank + 1) * count // self.world


class RowGroupReader:
    """Reads the images of one part from row groups. The `keep` last ones stay in memory."""

    def __init__(self, dataset: Artifact, parts: Parts, part: str, *, keep: int) -> None:
        self._dataset, self._parts, self._part, self._keep = dataset, parts, part, keep
        self._tables: OrderedDict[int, pa.Table] = OrderedDict()
        self._files: OrderedDict[str, pq.ParquetFile] = OrderedDict()

    def take(self, groups: np.ndarray, rows: np.ndarray, lanes: np.ndarray, epoch: int) -> Encoded:
        """The images with these numbers among those of the part in these row groups."""
        found = [(self._table(int(group)), int(row)) for group, row in zip(groups, rows, strict=True)]
        return Encoded(
            [table["image"][row].as_py() for table, row in found],
            np.array([table["label"][row].as_py() - 1 for table, row in found], np.int64),
            [table["image_id"][row].as_py() for table, row in found],
            lanes,
            epoch,
        )

    def _table(self, group: int) -> pa.Table:
        if group in self._tables:
            self._tables.move_to_end(group)
            return self._tables[group]
        while len(self._tables) >= self._keep:
            self._tables.popitem(last=False)
        self._tables[group] = self._read(group)
        return self._tables[group]

    def _read(self, group: int) -> pa.Table:
        place = self._parts.groups[group]
        with storage.reading(self._dataset.path(place.file)):
            file = self._file(place.file)
            table = storage.with_retries(
                lambda: file.read_row_group(place.number, [*_KEPT, *COLUMNS], use_threads=False)
            )
        rows = self._parts.rows(table, self._part)
        if len(rows) != self._parts.counts(self._part)[group]:
            raise ValueError(f"{self._dataset.uri} does not hold the images that were planned from it")
        return table.select(_KEPT).take(pa.array(rows)) if len(rows) < len(table) else table.select(_KEPT)

    def _file(self, name: str) -> pq.ParquetFile:
        if name not in self._files:
            if len(self._files) >= _OPEN_FILES:
                self._files.popitem(last=False)[1].close()
            fs, path = storage.resolve(self._dataset.path(name))
            self._files[name] = pq.ParquetFile(storage.with_retries(lambda: fs.open_input_file(path)))
        self._files.move_to_end(name)
        return self._files[name]


class KeptImages:
    """Images that are read once and looked at often: in a temporary file, which takes no memory."""

    def __init__(self, batches: Iterator[Encoded]) -> None:
        schema = pa.schema([("image_id", pa.string()), ("label", pa.int64()), ("image", pa.binary())])
        with tempfile.NamedTemporaryFile(suffix=".arrow") as file:
            with storage.writing(file.name):
                writer = pa.ipc.new_file(file.name, schema)
            for batch in batches:
                with storage.writing(file.name):
                    writer.write_batch(pa.record_batch([batch.ids, batch.labels, batch.images], schema=schema))
            with storage.writing(file.name):
                writer.close()
            self._reader = pa.ipc.open_file(pa.OSFile(file.name))  # an open file survives its deletion

    def __iter__(self) -> Iterator[Encoded]:
        for number in range(self._reader.num_record_batches):
            batch = self._reader.get_batch(number)
            labels, none = batch["label"].to_numpy(), np.zeros(len(batch), np.int64)
            yield Encoded(batch["image"].to_pylist(), labels, batch["image_id"].to_pylist(), none, 0)


def read_ahead(items: Iterator[T], depth: int = AHEAD) -> Iterator[T]:
    """The items, taken in a thread of their own up to `depth` ahead."""
    waiting: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(depth)
    ended = threading.Event()

    def put(item: T | None, error: BaseException | None) -> bool:
        while not ended.is_set():
            try:
                waiting.put((item, error), timeout=0.2)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            if all(put(item, None) for item in items):
                put(None, StopIteration())
        except BaseException as error:  # raised where the items are used
            put(None, error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]
    finally:
        ended.set()
        thread.join()
