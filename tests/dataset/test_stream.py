"""A data set's images as workers read them, from disk and from S3."""

import resource
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import s3_server
from recognition_data import dataset, rows

from twfer_dist.core import schema
from twfer_dist.core.errors import UserError
from twfer_dist.dataset.parts import parts_of
from twfer_dist.dataset.stream import Encoded, ImageSource, KeptImages, read_ahead
from twfer_dist.engine import compaction
from twfer_dist.engine.artifact import Artifact

EDGES = np.array([0, 10, 21, 32, 42])


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """42 training, 14 validation and 14 test images, in several files and row groups."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compaction, "TARGET_FILE_BYTES", 40_000)
        patch.setattr(compaction, "TARGET_ROW_GROUP_BYTES", 10_000)
        return dataset(str(tmp_path_factory.mktemp("images")), {"train": 6, "validation": 2, "test": 2})


def ids_and_labels(batches: Iterator[Encoded]) -> list[list[tuple[str, int]]]:
    return [sorted(zip(batch.ids, batch.labels.tolist(), strict=True)) for batch in batches]


def test_batches_are_the_same_on_any_number_of_workers(images: Artifact) -> None:
    source = ImageSource(images, parts_of(images, seed=0))
    whole = ids_and_labels(source.epochs(EDGES, 0, (1, 0), 2))
    expected = [(r["image_id"], r["label"] - 1) for r in rows({"train": 6}).to_pylist()]
    assert sorted(sum(whole[:4], [])) == sorted(sum(whole[4:], [])) == sorted(expected) and whole[:4] != whole[4:]
    assert ids_and_labels(source.epochs(EDGES, 0, (1, 3), 2)) == whole[3:]  # resumed
    for world in (2, 3, 16):
        shares = [list(source.of_worker(rank, world).epochs(EDGES, 0, (1, 0), 2)) for rank in range(world)]
        together = [sum((ids_and_labels(iter([s[number]]))[0] for s in shares), []) for number in range(8)]
        assert [sorted(batch) for batch in together] == whole


def test_workers_read_a_part_in_the_order_of_ids(images: Artifact) -> None:
    source = ImageSource(images, parts_of(images, seed=0))
    found = [i for rank in range(3) for batch in source.of_worker(rank, 3).in_order("test", 4) for i in batch.ids]
    assert found == sorted(r["image_id"] for r in rows({"test": 2}).to_pylist())
    kept = KeptImages(source.in_order("test", 4))
    for _ in range(2):
        assert [i for batch in kept for i in batch.ids] == found
    assert next(iter(kept)).images == next(source.in_order("test", 4)).images


def test_a_full_temporary_folder_is_named(images: Artifact) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))  # less than the images take
    try:
        with pytest.raises(UserError, match=f"{tempfile.gettempdir()}/.* cannot be written"):
            KeptImages(ImageSource(images, parts_of(images, seed=0)).in_order("train", 4))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_images_are_read_from_object_storage(s3: s3_server.Server) -> None:
    remote = dataset(s3.uri("images"), {"train": 2, "validation": 1})
    source = ImageSource(remote, parts_of(remote, seed=0))
    found = [i for batch in source.epochs(np.array([0, 7, 14]), 0, (1, 0), 1) for i in batch.ids]
    assert sorted(found) == sorted(rows({"train": 2})[schema.DATASET.names[0]].to_pylist())


def test_reading_ahead_ends_with_its_reader(tmp_path: Path) -> None:
    def numbers() -> Iterator[int]:
        yield from range(5)
        raise RuntimeError("no more")

    running = threading.active_count()
    items = read_ahead(iter(range(1000)), depth=2)
    assert next(items) == 0
    items.close()  # type: ignore[attr-defined]
    assert threading.active_count() == running
    found = []
    with pytest.raises(RuntimeError, match="no more"):
        for number in read_ahead(numbers()):
            found.append(number)
    assert found == [0, 1, 2, 3, 4]
