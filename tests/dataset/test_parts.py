"""Which images serve training, validation and test."""

from pathlib import Path

import pyarrow as pa
import pytest
from recognition_data import dataset, rows

from twfer_dist.core.errors import UserError
from twfer_dist.dataset.parts import parts_of
from twfer_dist.dataset.stream import ImageSource


def test_missing_validation_images_are_whole_figures(tmp_path: Path) -> None:
    table = rows({"train": 20, "test": 2}, figure_ids=20)
    images = dataset(str(tmp_path), {"train": 20}, table=table)
    parts = parts_of(images, seed=0)
    assert len(parts.held_out) == 2 and [parts.count(part) for part in ("train", "validation", "test")] == [126, 14, 14]
    figures = {part: set(parts.figures(images, part)) for part in ("train", "validation", "test")}
    assert figures["validation"] == parts.held_out and not parts.held_out & (figures["train"] | figures["test"])
    source = ImageSource(images, parts)
    ids = {part: [i for batch in source.in_order(part, 9) for i in batch.ids] for part in figures}
    figure_of = dict(zip(table["image_id"].to_pylist(), table["figure_id"].to_pylist(), strict=True))
    assert {f"synthetic\0{figure_of[i]}" for i in ids["validation"]} == parts.held_out
    assert sorted(sum(ids.values(), [])) == sorted(figure_of)


def test_data_sets_that_cannot_be_learned_from_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no training images, only test"):
        parts_of(dataset(str(tmp_path), {"none": 1}, table=rows({"test": 1})), seed=0)
    table = rows({"train": 1})
    no_label = table.set_column(table.column_names.index("label"), "label", pa.nulls(len(table), pa.int8()))
    with pytest.raises(UserError, match="images without a label"):
        parts_of(dataset(str(tmp_path), {"no label": 1}, table=no_label), seed=0)
