"""Carved and painted eyes and lids."""

import numpy as np
import pytest

from twfer_dist.rendering.eyes import EYES, Lids, ball, drawn, paint, relief


@pytest.mark.parametrize("style", EYES)
def test_a_ball_is_carved_or_painted_about_its_iris(style: str) -> None:
    x, y = (values.ravel() for values in np.meshgrid(np.arange(1.5, 4.8, 0.05), np.arange(2.5, 4.8, 0.05)))
    away = np.hypot(x - 3.1, y - 3.6)
    cut, light = ball(style, x, y), paint(style, x, y)
    assert (cut.min() < -0.05) == (style in ("ring", "drilled", "hooked"))
    assert np.abs(cut[away > 1.0]).max() < 0.01
    assert (light.min() < 0.5) == (style in ("painted", "hollow"))


def test_rims_and_folds_run_along_the_lids() -> None:
    x, y = (values.ravel() for values in np.meshgrid(np.arange(0, 8, 0.1), np.arange(-9, 13, 0.1)))
    assert not relief(Lids(), x, y).any()
    height = relief(Lids(rim=0.2, fold=0.1, drawn=0.8), x, y)
    assert height.max() > 0.15 and height.min() < -0.06
    away = (y < 1.8) | (y > 5.6) | (x < 1.4) | (x > 5.8)
    assert np.abs(height[away]).max() < 0.01


def test_eyes_stand_wide_and_narrow_at_rest() -> None:
    rng = np.random.default_rng(0)
    opened = np.array([drawn(rng).open for _ in range(1000)])
    assert 0.4 < np.mean(opened == 0) < 0.6 and 0.15 < np.mean(opened > 0.1) < 0.3 and opened.min() < -0.9
