"""Which images of a data set serve training, validation and test, counted by row group: a plan that stays small however
many images there are.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from twfer_dist.core.errors import UserError
from twfer_dist.core.schema import DATASET, figures
from twfer_dist.core.status import OK
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact

PARTS = ("train", "validation", "test")

HELD_OUT = 0.1
"""The share of the training figures used for validation if a data set has no validation part."""

COLUMNS = ["status", "split", "corpus", "figure_id"]
"""What decides the part of an image."""


@dataclass(frozen=True)
class RowGroup:
    """A row group of a data set's Parquet files, how many of its images serve each of PARTS, and their corpora."""

    file: str  # relative to the data set
    number: int  # in the file
    images: tuple[int, ...]
    corpora: tuple[str, ...]


@dataclass(frozen=True)
class Parts:
    """The row groups in the order of their ids, and the training figures that serve as validation because the data set
    has no validation part. refit: the training images are those of validation too.
    """

    groups: tuple[RowGroup, ...]
    held_out: frozenset[str]
    refit: bool = False

    def counts(self, part: str) -> np.ndarray:
        """How many images of each row group serve `part`: int64 (G,)."""
        return np.array([group.images[PARTS.index(part)] for group in self.groups], np.int64)

    def count(self, part: str) -> int:
        return int(self.counts(part).sum())

    @property
    def corpora(self) -> list[str]:
        """The names of the corpora that the images come from."""
        return sorted({name for group in self.groups for name in group.corpora if name})

    def rows(self, table: pa.Table, part: str) -> np.ndarray:
        """The rows of a table with COLUMNS that serve `part`: int64, in their order."""
        return np.flatnonzero(_of_part(table, part, self.held_out, self.refit))

    def figures(self, dataset: Artifact, part: str) -> list[str]:
        """The figure (`schema.figures`) of each image of a part, in the order of their ids."""
        names: dict[str, str] = {}  # so that equal names are one object
        found: list[str] = []
        for _, _, table in _row_groups(dataset, COLUMNS):
            rows = table.take(pa.array(self.rows(table, part)))
            found += [names.setdefault(name, name) for name in figures(rows).to_pylist()]
        return found


def parts_of(dataset: Artifact, *, seed: int, refit: bool = False) -> Parts:
    """The parts of a data set: of its images that have a result, and a label.

    If a data set has no validation images (the paper's ARM-1 and ARM-2 have none), a tenth of its training figures,
    chosen by a hash, are held out: a best epoch chosen by test images would make the test worthless. UserError if no
    image is left for training or for validation. refit: the training images are those of validation too.
    """
    parts = Parts(_count(dataset, frozenset()), frozenset())
    if not parts.count("train"):
        others = ", ".join(name for name in PARTS[1:] if parts.count(name)) or "no images"
        raise UserError(f"{dataset.uri} has no training images, only {others}: make a data set with a training part.")
    if not parts.count("validation"):
        held_out = _held_out(parts.figures(dataset, "train"), seed)
        parts = Parts(_count(dataset, held_out), held_out)
        if not parts.count("train"):
            raise UserError(
                f"{dataset.uri} has no validation images, and its training images show a single figure, which cannot "
                "serve both: make a data set with more figures, or with a validation part."
            )
    return Parts(_count(dataset, parts.held_out, refit), parts.held_out, refit) if refit else parts


def hash_of(*words: int | str) -> int:
    """A number of 64 bits that the words decide."""
    return int.from_bytes(hashlib.sha256("\0".join(map(str, words)).encode()).digest()[:8], "big")


def _held_out(train: list[str], seed: int) -> frozenset[str]:
    order = sorted(set(train), key=lambda figure: hash_of(seed, figure))
    return frozenset(order[: max(1, round(HELD_OUT * len(order)))])


def _count(dataset: Artifact, held_out: frozenset[str], refit: bool = False) -> tuple[RowGroup, ...]:
    found = []
    for file, number, table in _row_groups(dataset, [*COLUMNS, "label"]):
        if table.filter(pc.equal(table["status"], OK))["label"].null_count:
            raise UserError(
                f"{dataset.uri} holds images without a label: train a recogniser on a data set of labelled images."
            )
        counts = tuple(int(_of_part(table, part, held_out, refit).sum()) for part in PARTS)
        found.append(RowGroup(file, number, counts, tuple(table["corpus"].unique().to_pylist())))
    return tuple(found)


def _row_groups(dataset: Artifact, columns: list[str]) -> Iterator[tuple[str, int, pa.Table]]:
    """The file, the number in it and some columns of each row group."""
    names = sorted(file.path for file in dataset.manifest.files if file.table == ".")
    for name, fragment in zip(names, dataset.scan(".", DATASET).get_fragments(), strict=True):
        with storage.reading(dataset.path(name)):
            for piece in fragment.split_by_row_group():
                yield name, piece.row_groups[0].id, _read(piece, columns)


def _read(piece: ds.ParquetFileFragment, columns: list[str]) -> pa.Table:
    return storage.with_retries(lambda: piece.to_table(columns=columns))


def _of_part(table: pa.Table, part: str, held_out: frozenset[str], refit: bool) -> np.ndarray:
    """Whether each row of a table with COLUMNS serves `part`: bool (N,)."""
    split = pc.fill_null(table["split"], "")
    if held_out:
        out = pc.and_(pc.equal(split, "train"), pc.is_in(figures(table), pa.array(sorted(held_out))))
        split = pc.if_else(out, "validation", split)
    if refit and part == "train":
        split = pc.if_else(pc.equal(split, "validation"), "train", split)
    chosen = pc.and_(pc.equal(split, part), pc.equal(table["status"], OK))
    return chosen.to_numpy(zero_copy_only=False)
