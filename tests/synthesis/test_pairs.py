"""Training pairs: scenes of rendered heads, faces of photographs, and their augmentation."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from synthesis_tables import faces, rendered
from torch.nn import functional as F

from twfer_dist.core.errors import UserError
from twfer_dist.synthesis.pairs import Pairs, load_faces, load_pairs


def test_held_out_figures_are_other_figures(tmp_path: Path) -> None:
    learn, held_out = load_pairs([rendered(str(tmp_path))], 64, 0.25)
    assert (len(learn.scenes), len(held_out.scenes)) == (3, 1)
    learned = {image.tobytes() for image in learn.images}
    assert not learned & {image.tobytes() for image in held_out.images}
    assert all(pairs.units[scene[0]].sum() == 0 for pairs in (learn, held_out) for scene in pairs.scenes)


def test_corpora_are_joined_scene_by_scene(tmp_path: Path) -> None:
    parts = [rendered(str(tmp_path / name), figures=figures) for name, figures in (("a", 4), ("b", 3))]
    learn, held_out = load_pairs(parts, 64, 0.25)
    assert (len(learn.scenes), len(held_out.scenes)) == (5, 2)
    used = np.concatenate([*learn.scenes])
    assert sorted(used) == list(range(len(learn.images)))  # no picture is in two scenes, or in none
    assert all(learn.units[scene[0]].sum() == 0 for scene in learn.scenes)


def test_a_pair_differs_in_action_units_alone(tmp_path: Path) -> None:
    learn, _ = load_pairs([rendered(str(tmp_path))], 64, 0.25)
    chosen = learn.draw(np.random.default_rng(0), 32)
    image, truth, own, wanted = learn.batch(chosen)
    assert image.shape == truth.shape == (32, 3, 64, 64) and image.abs().max() <= 1
    same = chosen.source == chosen.target
    assert (image[same] == truth[same]).all() and (own[same] == wanted[same]).all()
    corner = (image - truth)[:, :, :8, :8].abs().max()
    assert corner == 0 and (image - truth)[~same].abs().max() > 0.1
    left, right = learn.batch(chosen.share(0, 2))[0], learn.batch(chosen.share(1, 2))[0]
    torch.testing.assert_close(torch.cat([left, right]), image)


def test_augmentation_removes_colour_and_fine_detail() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    pairs = Pairs(noise, np.zeros((3, 17), np.float32), np.zeros(3, int), [np.arange(3)])
    unaugmented = pairs.neutral_batch(2)
    image = pairs.batch(unaugmented)[0]
    grey = pairs.batch(dataclasses.replace(unaugmented, grey=np.ones(2, np.float32)))[0]
    torch.testing.assert_close(grey, image.mean(1, keepdim=True).expand_as(image))
    soft = pairs.batch(dataclasses.replace(unaugmented, soft=np.ones(2, np.float32)))[0]
    detail, kept = ((x[..., 1:] - x[..., :-1]).abs().mean() for x in (image, soft))
    assert kept < 0.5 * detail and (F.avg_pool2d(soft, 16) - F.avg_pool2d(image, 16)).abs().max() < 0.1


def test_faces_of_photographs_are_one_scene(tmp_path: Path) -> None:
    loaded = load_faces([faces(str(tmp_path), 1)], 64)
    assert loaded.images.shape == (7, 64, 64, 3) and len(loaded.scenes) == 1


def test_one_figure_is_too_few(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at least two figures"):
        load_pairs([rendered(str(tmp_path), figures=1)], 64, 0.25)


def test_faces_without_action_units_are_too_few(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="fewer than two faces with Action Units"):
        load_faces([faces(str(tmp_path), 1, units=False)], 64)
