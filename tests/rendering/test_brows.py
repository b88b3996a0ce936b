"""Carved and coloured brows."""

import numpy as np
import pytest

from twfer_dist.rendering.brows import BROWS, Brows, drawn, hair, relief


@pytest.mark.parametrize("style", BROWS)
def test_brows_lie_between_eyes_and_forehead(style: str) -> None:
    x, y = (values.ravel() for values in np.meshgrid(np.arange(0, 8, 0.1), np.arange(-9, 13, 0.1)))
    brows = Brows(style)
    carved, coloured = np.abs(relief(brows, x, y)), hair(brows, x, y)
    assert (carved.max() > 0.05) == (coloured.max() > 0.8) == (style != "none")
    away = (y < 4.6) | (y > 8.5) | (x > 6.5)
    assert carved[away].max() < 0.01 and coloured[away].max() < 0.01


def test_no_arch_and_no_height_is_usual() -> None:
    rng = np.random.default_rng(0)
    brows = [drawn(rng) for _ in range(1000)]
    for name, low, high in (("arch", 0.0, 1.1), ("slope", -0.4, 0.5), ("lift", -0.2, 0.3), ("thick", 0.2, 0.5)):
        values = np.array([getattr(b, name) for b in brows])
        assert np.quantile(values, 0.1) <= low + 0.1 and np.quantile(values, 0.9) >= high - 0.1, name
    assert 0.03 < np.mean([b.inner < 0 for b in brows]) < 0.15  # joined
