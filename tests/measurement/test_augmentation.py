"""Examples to learn from: they depend on seed and position alone, and their points stay on the face."""

import dataclasses

import cv2
import numpy as np
import pytest
import torch

from twfer_dist.core.errors import UserError
from twfer_dist.engine.artifact import Artifact
from twfer_dist.measurement import augmentation
from twfer_dist.measurement.augmentation import Heads
from twfer_dist.measurement.network import SIZE


@pytest.fixture(scope="module")
def heads(rendered: Artifact) -> Heads:
    return augmentation.load_heads(rendered)


def test_heads_show_each_unit_often(heads: Heads) -> None:
    assert heads.images.shape == (48, 64, 64) and heads.points.shape == (48, 68, 2)
    present = (heads.units >= 0.5).mean(0)
    assert 0.25 < present.mean() < 0.55 and present.min() > 0.05
    assert heads.pose[:, 0].std() > 4


def test_an_example_depends_on_seed_and_position_alone(heads: Heads) -> None:
    rows = np.stack([np.arange(6), np.arange(6)], 1)
    whole, part = augmentation.augmented(heads, rows, (0, 3)), augmentation.augmented(heads, rows[4:], (0, 3))
    for name in ("crops", "points", "units", "pose"):
        assert torch.equal(getattr(whole, name)[4:], getattr(part, name)), name
    assert not torch.equal(augmentation.augmented(heads, rows, (0, 4)).crops, whole.crops)


def test_points_stay_on_what_they_mark(heads: Heads) -> None:
    """A white dot at the tip of the nose is found at the moved point."""
    dotted = np.zeros_like(heads.images)
    for image, points in zip(dotted, heads.points, strict=True):
        cv2.circle(image, [int(round(float(v) * 16)) for v in points[30]], 40, 255, -1, cv2.LINE_AA, 4)
    shown = augmentation.aligned(Heads(dotted, heads.points, heads.units, heads.pose, heads.figure_ids))
    row, column = np.mgrid[0:SIZE, 0:SIZE]
    for crop, points in zip(shown.crops.numpy().astype(float), shown.points.numpy(), strict=True):
        centre = np.array([(crop * column).sum(), (crop * row).sum()]) / crop.sum()
        np.testing.assert_allclose(centre, points[30], atol=0.5)


def test_corpora_of_one_size_are_joined(heads: Heads) -> None:
    parts = heads.of(np.arange(10)), heads.of(np.arange(10, len(heads.units)))
    joined = Heads.joined(parts)
    assert all((vars(joined)[name] == value).all() for name, value in vars(heads).items())
    smaller = dataclasses.replace(parts[0], images=parts[0].images[:, ::2, ::2])
    with pytest.raises(UserError, match="differ in size"):
        Heads.joined([smaller, parts[1]])
