"""Images of a data set in memory: splits, workers' shares, batches, augmentation."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from recognition_data import dataset, picture, rows

from twfer_dist.core.errors import UserError
from twfer_dist.dataset import loader
from twfer_dist.engine.artifact import Artifact


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """42 training, 14 validation and 14 test images."""
    return dataset(str(tmp_path_factory.mktemp("images")), {"train": 6, "validation": 2, "test": 2})


def test_workers_share_all_images_equally(images: Artifact) -> None:
    ids = loader.splits(images, seed=0).ids["train"]
    shares = [loader.load(images, ids, rank=rank, world=4) for rank in range(4)]
    assert sorted(i for share in shares for i in share.ids) == ids
    assert sorted(len(share.ids) for share in shares) == [10, 10, 11, 11]
    orders = [loader.shuffled(share, 11, 4, seed=0, epoch=3) for share in shares]
    assert {tuple(len(b) for b in order) for order in orders} == {(4, 4, 3)}
    assert all(
        set(np.concatenate(order)) == set(range(len(share.ids))) for order, share in zip(orders, shares, strict=True)
    )
    label = {row["image_id"]: row["label"] - 1 for row in rows({"train": 6}).to_pylist()}
    assert all(label[i] == k for share in shares for i, k in zip(share.ids, share.labels.tolist(), strict=True))


def test_augmentation_depends_on_image_and_epoch_alone(images: Artifact) -> None:
    loaded = loader.load(images, loader.splits(images, seed=0).ids["train"])

    def pixels(order: list[int], augmentation: tuple[int, int] | None) -> dict[int, np.ndarray]:
        parts = np.array_split(order, 3)
        batches = loader.batches(loaded, parts, 32, augmentation)
        return {
            int(i): image
            for part, (stack, _) in zip(parts, batches, strict=True)
            for i, image in zip(part, stack, strict=True)
        }

    forwards, backwards = pixels([0, 1, 2, 3, 4], (0, 1)), pixels([4, 3, 2, 1, 0], (0, 1))
    assert all(np.array_equal(forwards[i], backwards[i]) for i in forwards)
    assert not np.array_equal(forwards[0], pixels([0, 1, 2], (0, 2))[0])
    assert not np.array_equal(forwards[0], pixels([0, 1, 2], None)[0])


def test_missing_validation_images_are_whole_figures(tmp_path: Path) -> None:
    table = rows({"train": 20, "test": 2}, figure_ids=20)
    splits = loader.splits(dataset(str(tmp_path), {"train": 20}, table=table), seed=0)
    assert splits.held_out
    figure_id = dict(zip(table["image_id"].to_pylist(), table["figure_id"].to_pylist(), strict=True))
    train, validation, test = ({figure_id[i] for i in splits.ids[split]} for split in ("train", "validation", "test"))
    assert len(validation) == 2 and not validation & (train | test)
    assert sum(map(len, splits.ids.values())) == len(table)


def test_bad_data_sets_are_refused(tmp_path: Path, images: Artifact) -> None:
    table = rows({"train": 1, "validation": 1})
    broken = table.set_column(
        table.column_names.index("image"), "image", pa.array([b"no image"] * len(table), pa.binary())
    )
    loaded = dataset(str(tmp_path), {"broken": 1}, table=broken)
    part = loader.load(loaded, loader.splits(loaded, seed=0).ids["train"])
    with pytest.raises(UserError, match="The image train-1-000 of the data set cannot be decoded"):
        list(loader.batches(part, loader.in_order(part, 4), 32))
    with pytest.raises(UserError, match="has no training images, only test"):
        loader.splits(dataset(str(tmp_path), {"none": 1}, table=rows({"test": 1})), seed=0)
    no_label = table.set_column(table.column_names.index("label"), "label", pa.nulls(len(table), pa.int8()))
    with pytest.raises(UserError, match="images without a label"):
        loader.splits(dataset(str(tmp_path), {"no label": 1}, table=no_label), seed=0)


def test_images_that_are_too_large_are_not_decoded() -> None:
    header = bytearray(picture(1, 0))
    at = header.index(b"\xff\xc0") + 5  # height and width in the frame header
    header[at : at + 4] = (60000).to_bytes(2, "big") * 2
    assert loader.decode(bytes(header), 32) is None
    whole = loader.decode(picture(1, 0), 32)
    assert whole is not None and whole.shape == (32, 32, 3)


def test_no_ids_load_no_images(images: Artifact) -> None:
    assert loader.load(images, []).ids == []


def test_no_image_is_alone_in_a_batch() -> None:
    for count in range(2, 70):
        images = loader.Images([str(k) for k in range(count)], np.zeros(count, np.int64), None)
        for batch in (1, 2, 3, 8, 32):
            order = loader.shuffled(images, count, batch, seed=0, epoch=1)
            assert min(map(len, order)) > 1 and max(map(len, order)) <= max(batch, 2) + 1
            assert sorted(np.concatenate(order)) == list(range(count))
