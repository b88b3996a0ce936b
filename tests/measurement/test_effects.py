"""Effects on crops change what they should and nothing else."""

import numpy as np
from tiny_head import mean_points

from twfer_dist.core.crop import aligned_matrix
from twfer_dist.core.landmarks import apply_affine
from twfer_dist.measurement import effects
from twfer_dist.measurement.network import SIZE

POINTS = apply_affine(mean_points(), aligned_matrix(mean_points(), SIZE))


def test_hair_leaves_eyes_nose_and_mouth() -> None:
    x, y = POINTS[27:68].round().astype(int).T
    for seed in range(12):
        covered = effects.hair(np.full((SIZE, SIZE), 255, np.uint8), POINTS, np.random.default_rng(seed))
        assert (covered[y, x] == 255).all() and (covered != 255).mean() > 0.05, seed


def test_makeup_changes_eyes_brows_and_lips_only() -> None:
    crop = np.full((SIZE, SIZE), 120, np.uint8)
    changed = [effects.makeup(crop, POINTS, np.random.default_rng(seed)) != crop for seed in range(40)]
    share = np.mean(changed, axis=0)
    x, y = POINTS.round().astype(int).T
    assert share[y[37:42], x[37:42]].min() > 0.3 and share[y[19], x[19]] > 0.2 and share[y[57], x[57]] > 0.2
    cheek = (POINTS[2] + POINTS[31]) / 2
    assert share[int(cheek[1]), int(cheek[0])] < 0.1 and share[y[30], x[30]] == 0


def test_spectacles_surround_the_eyes() -> None:
    crop = np.full((SIZE, SIZE), 255, np.uint8)
    for seed in range(8):
        changed = effects.spectacles(crop, POINTS, np.random.default_rng(seed)) != crop
        rows, columns = np.nonzero(changed)
        assert rows.min() > POINTS[17:27, 1].min() - SIZE / 8 and rows.max() < POINTS[48:, 1].max(), seed
        assert columns.min() < POINTS[36, 0] < POINTS[45, 0] < columns.max(), seed


def test_the_camera_returns_a_crop_of_the_same_kind() -> None:
    crop = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE), np.uint8)
    for seed in range(12):
        shot = effects.camera(crop, np.random.default_rng(seed))
        assert shot.dtype == np.uint8 and shot.shape == crop.shape and (shot != crop).any()
