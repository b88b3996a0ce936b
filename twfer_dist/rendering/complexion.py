"""The colours of a living face."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Complexion:
    """The colours of a living face, 0 to 1, and its pupils in model units."""

    sclera: float = 0.53
    iris: float = 0.16
    pupil: float = 0.25
    brows: float = 0.85  # how much darker than the skin
    lips: float = 0.45  # how much redder
    lip_tone: float = 1.0  # how much lighter than the skin, a factor
    lashes: float = 0.0  # how much darker the edges of the lids are than the skin
    hair: float = 0.15  # how light
    stubble: float = 0.0  # how much darker a shaved beard is than the skin
    rings: float = 0.0  # how much darker the skin under the eyes is
    flush: float = 0.0  # how much darker the cheeks are; below 0 lighter
    spots: float = 0.0  # contrast of freckles and blotches


def tones(template: np.ndarray, texture: np.ndarray, complexion: Complexion) -> np.ndarray:
    """Factors (P,) on the skin's brightness at positions (P, 3) of the mean head's front. texture: (P, 4) of
    `material.textures`.
    """
    x, y = np.abs(template[:, 0]), template[:, 1]

    def patch(across: float, up: float, wide: float, high: float) -> np.ndarray:
        return np.exp(-(((x - across) / wide) ** 2 + ((y - up) / high) ** 2))

    lip, jaw = patch(1.0, -1.9, 2.2, 0.9), np.clip((-1.2 - 0.35 * (6.5 - x) - y) / 1.5, 0, 1)
    beard = np.clip(lip + jaw, 0, 1) * (1 - patch(0, -3.4, 2.4, 0.9))
    dark = (
        complexion.stubble * beard * (1 + 0.3 * texture[:, 1])
        + complexion.rings * patch(2.9, 2.0, 1.4, 0.6)
        + complexion.flush * patch(4.3, -0.2, 1.8, 1.5)
        + complexion.spots * (0.5 * texture[:, 0] + 0.5 * np.clip(texture[:, 1], 0, 2))
    )
    return np.clip(1 - dark, 0.2, 1.5).astype(np.float32)
