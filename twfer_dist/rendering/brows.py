"""Brows, carved and coloured, as places on the mean head: they move with the skin and tell nothing of its units."""

from dataclasses import dataclass

import numpy as np

BROWS = ("hair", "ridge", "line", "edge", "none")
"""A low bank of strands; a smooth ridge; an incised line; the sharp upper edge of the socket; nothing."""


@dataclass(frozen=True)
class Brows:
    """Brows in model units: one side, |x| of the mean head from `inner` to `outer`, about y = 5.9."""

    style: str = "hair"
    lift: float = 0.0  # of the whole
    arch: float = 0.55  # of the middle
    slope: float = 0.0  # of the outer end, upwards
    thick: float = 0.38
    inner: float = 0.9
    outer: float = 6.1
    depth: float = 0.20


def drawn(rng: np.random.Generator) -> Brows:
    """Brows of a random style and shape."""
    joined = rng.random() < 0.08
    return Brows(
        style=str(rng.choice(BROWS, p=(0.42, 0.18, 0.12, 0.16, 0.12))),
        lift=float(rng.normal(0.05, 0.25)),
        arch=float(rng.uniform(-0.1, 1.2)),
        slope=float(rng.normal(0.1, 0.5)),
        thick=float(rng.uniform(0.16, 0.55)),
        inner=-0.5 if joined else float(rng.uniform(0.5, 1.5)),
        outer=float(rng.uniform(5.0, 6.6)),
        depth=float(rng.uniform(0.10, 0.42)),
    )


def _off(brows: Brows, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far places (|x|, y) lie above the brow, and 0 to 1 whether they lie between its ends."""
    along = (x - 1.0) / 5.0
    middle = 5.75 + brows.lift + brows.arch * np.sin(np.pi * np.clip(along, -0.2, 1.1)) + brows.slope * (along - 0.3)
    ends = np.clip((x - brows.inner) / 0.5, 0, 1) * np.clip((brows.outer - x) / 0.9, 0, 1)
    return y - middle, ends


def hair(brows: Brows, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """0 to 1 (P,): how densely places (|x|, y) of the mean head's front are covered by the brow's hair or paint."""
    if brows.style == "none":
        return np.zeros(len(x), np.float32)
    off, ends = _off(brows, x, y)
    tail = brows.thick * np.clip(1.25 - 0.14 * x, 0.3, 1.1)
    strands = 1 + 0.3 * np.sin(9 * x - 5 * y)
    return np.clip(1.4 * ends * np.exp(-((off / tail) ** 2)) * strands, 0, 1)


def relief(brows: Brows, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Height (P,) in model units of carved brows at places (|x|, y) of the mean head's front."""
    if brows.style == "none":
        return np.zeros(len(x), np.float32)
    off, ends = _off(brows, x, y)
    bank = np.exp(-((off / brows.thick) ** 2))
    if brows.style == "hair":
        return brows.depth * ends * bank * (1 + 0.2 * np.sin(11 * x - 6 * y))
    if brows.style == "ridge":  # steep below, like a wing
        return brows.depth * ends * np.where(off > 0, bank, np.exp(-((off / (0.45 * brows.thick)) ** 2)))
    if brows.style == "line":
        return -0.5 * brows.depth * ends * np.exp(-((off / 0.12) ** 2))
    # An edge: the forehead ends in a step and the socket falls away below it.
    return brows.depth * ends * np.where(off > 0, np.exp(-((off / 1.2) ** 2)), np.exp(-((off / 0.22) ** 2)))
