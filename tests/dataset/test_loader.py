"""Stored images to batches of pixels."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from recognition_data import dataset, picture, rows

from twfer_dist.core.errors import UserError
from twfer_dist.dataset import loader
from twfer_dist.dataset.loader import Batch, Decoding
from twfer_dist.dataset.parts import parts_of
from twfer_dist.dataset.stream import Encoded, ImageSource


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ImageSource:
    """42 training and 14 validation images."""
    images = dataset(str(tmp_path_factory.mktemp("images")), {"train": 6, "validation": 2})
    return ImageSource(images, parts_of(images, seed=0))


def decoded(source: ImageSource, processes: int) -> list[Batch]:
    encoded = source.epochs(np.array([0, 20, 42]), 0, (1, 0), 2)
    return list(loader.batches(encoded, Decoding(32, "mild"), processes=processes))


def test_processes_give_what_threads_give(source: ImageSource) -> None:
    threads, processes = decoded(source, 0), decoded(source, 1)
    assert [len(batch.labels) for batch in threads] == [20, 22, 20, 22]
    for one, other in zip(threads, processes, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_augmentation_depends_on_image_and_epoch_alone() -> None:
    def pixels(seeds: list[int], epoch: int, how: str = "mild") -> dict[int, torch.Tensor]:
        none = np.zeros(len(seeds), np.int64)
        batch = Encoded([picture(1, seed) for seed in seeds], none, [f"image {seed}" for seed in seeds], none, epoch)
        (found,) = loader.batches(iter([batch]), Decoding(32, how))  # type: ignore[arg-type]
        return dict(zip(seeds, found.pixels, strict=True))

    forwards, backwards = pixels([0, 1, 2, 3], 1), pixels([3, 2, 1, 0], 1)
    assert all(torch.equal(forwards[seed], backwards[seed]) for seed in forwards)
    assert not torch.equal(forwards[0], pixels([0], 2)[0])
    assert not torch.equal(forwards[0], pixels([0], 1, "none")[0])


@pytest.mark.parametrize("processes", [0, 1])
def test_an_image_that_cannot_be_decoded_is_named(tmp_path: Path, processes: int) -> None:
    table = rows({"train": 1, "validation": 1})
    broken = pa.array([b"no image"] * len(table), pa.binary())
    table = table.set_column(table.column_names.index("image"), "image", broken)
    images = dataset(str(tmp_path), {"broken": 1}, table=table)
    source = ImageSource(images, parts_of(images, seed=0))
    with pytest.raises(UserError, match="^The image train-1-000 of the data set cannot be decoded"):
        list(loader.batches(source.in_order("train", 4), Decoding(32), processes=processes))


def test_images_that_are_too_large_are_not_decoded() -> None:
    header = bytearray(picture(1, 0))
    at = header.index(b"\xff\xc0") + 5  # height and width in the frame header
    header[at : at + 4] = (60000).to_bytes(2, "big") * 2
    assert loader.decode(bytes(header), 32) is None
    whole = loader.decode(picture(1, 0), 32)
    assert whole is not None and whole.shape == (32, 32, 3)
