"""Random changes of training images."""

import numpy as np

from twfer_dist.dataset.augmentation import MEAN_COLOUR, as_arm, augment


def test_the_public_codes_changes_are_as_frequent_as_there() -> None:
    """Of 4,000: a quarter mirrored, a quarter noisy, and half, these or others, lose 2 to 10 % of their area."""
    ramp = np.zeros((32, 32, 3), np.uint8) + np.arange(150, 214, 2, dtype=np.uint8)[None, :, None]
    found = {"mirrored": 0, "noisy": 0, "erased": 0}
    for seed in range(4000):
        changed = as_arm(ramp, np.random.default_rng(seed))
        erased = (changed == MEAN_COLOUR).all(2)
        kept = changed[~erased].astype(int) - ramp[~erased]
        if erased.any():
            found["erased"] += 1
            assert 0.01 < erased.mean() < 0.12
        if np.array_equal(changed[~erased], ramp[:, ::-1][~erased]):
            found["mirrored"] += 1
        elif kept.any():
            found["noisy"] += 1
            assert 4 < kept.std() < 7  # the square root of 30 is 5.5
    shares = {name: count / 4000 for name, count in found.items()}
    assert abs(shares["mirrored"] - 0.25) < 0.03 and abs(shares["noisy"] - 0.25) < 0.03
    assert abs(shares["erased"] - 0.5) < 0.03


def test_none_leaves_an_image_as_it_is() -> None:
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    assert np.array_equal(augment(image, "none", np.random.default_rng(0)), image)
    assert not np.array_equal(augment(image, "mild", np.random.default_rng(0)), image)
