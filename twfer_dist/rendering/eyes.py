"""Eyes: how balls are carved or painted, and the rims and folds of carved lids, as places on the mean head."""

from dataclasses import dataclass

import numpy as np

EYES = ("blank", "ring", "drilled", "hooked", "painted", "hollow")
"""Smooth; an incised iris; also a drilled pupil; a kidney-shaped drill hole; a painted iris; the inlay is lost."""

_IRIS = 0.62


@dataclass(frozen=True)
class Lids:
    """Carved lids in model units; the skin's own where all are 0. They tell nothing of the units."""

    rim: float = 0.0  # height of a raised outline
    wide: float = 0.14  # its width
    drawn: float = 0.0  # how far the outline runs past the outer corner
    fold: float = 0.0  # depth of a crease above
    heavy: float = 0.5  # its distance from the upper edge
    open: float = 0.0  # how the neutral eyes stand, -1 (narrowed) to 1 (wide)


def drawn(rng: np.random.Generator) -> Lids:
    """Lids of a random carving; a third are plain."""
    rim = rng.uniform(0.05, 0.28) * (rng.random() < 0.5)
    opening = float(rng.choice((-1, 1)) * rng.uniform(0, 1)) * (rng.random() < 0.5)
    return Lids(
        rim=float(rim),
        wide=float(rng.uniform(0.09, 0.22)),
        drawn=float(rng.uniform(0, 1.0) * (rng.random() < 0.5)),
        fold=float(rng.uniform(0.03, 0.15) * (rng.random() < 0.5)),
        heavy=float(rng.uniform(0.35, 0.8)),
        open=opening,
    )


def edges(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far places (|x|, y) of the mean head lie above the edge of the upper lid, and below that of the lower."""
    return y - 3.97 + 0.35 * (x - 3.25) ** 2, 3.0 + 0.2 * (x - 3.2) ** 2 - y


def relief(lids: Lids, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Height (P,) in model units of carved lids at places (|x|, y) of the mean head's front."""
    above, below = edges(x, y)
    along = np.clip((x - 1.6) / 0.4, 0, 1) * np.clip((4.8 + lids.drawn - x) / 0.4, 0, 1)
    # Past the outer corner the outline runs on, level or a little down.
    past = np.clip(x - 4.35, 0, None)
    above = above - 0.35 * (x - 3.25) ** 2 * (past > 0) + (0.42 + 0.2 * past) * (past > 0)
    upper = np.exp(-(((above - 0.5 * lids.wide) / lids.wide) ** 2)) * along
    lower = np.exp(-(((below - 0.5 * lids.wide) / lids.wide) ** 2)) * along * (past == 0)
    crease = np.exp(-(((above - lids.heavy) / 0.12) ** 2)) * along * (past == 0)
    return lids.rim * np.maximum(upper, 0.8 * lower) - lids.fold * crease


def ball(style: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Height (P,) in model units of a carved eyeball at places (|x|, y)."""
    away = np.hypot(x - 3.1, y - 3.6)
    if style in ("blank", "painted", "hollow"):
        return np.zeros(len(x), np.float32)
    ring = -0.10 * np.exp(-(((away - _IRIS) / 0.10) ** 2))
    if style == "ring":
        return ring
    hole = np.exp(-((away / 0.28) ** 2))
    if style == "hooked":  # a bean, hollow above
        hole = np.exp(-((np.hypot(x - 3.1, 1.3 * (y - 3.75)) / 0.34) ** 2)) * (np.hypot(x - 3.1, y - 3.95) > 0.16)
    return ring - 0.30 * hole


def paint(style: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Share of the material's light (P,) that a painted or hollow eyeball returns at places (|x|, y)."""
    if style == "hollow":
        return np.full(len(x), 0.06, np.float32)
    if style != "painted":
        return np.ones(len(x), np.float32)
    away = np.hypot(x - 3.1, y - 3.6)
    return np.where(away < _IRIS, np.where(away < 0.25, 0.10, 0.28), 1.25).astype(np.float32)
