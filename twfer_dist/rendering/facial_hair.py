"""Moustaches and beards as solids on the skin, and how they are carved.

The shapes are those of sculpture: the drawn-out moustaches of the warriors of the First Emperor, whose ends turn up or
down, the full beards of Greek and Roman heads in locks or rows of curls, and what people wear today.
"""

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

from twfer_dist.rendering.solids import sheet, tube
from twfer_dist.rendering.unrolled import Attached, Unrolled, outward

CARVINGS = ("strands", "locks", "curls", "plain")


@dataclass(frozen=True)
class Moustache:
    """One half of a moustache, from its middle outwards: places on the skin, half widths and heights there."""

    across: tuple[float, ...]
    y: tuple[float, ...]
    wide: tuple[float, ...]
    high: tuple[float, ...]
    hang: float = 0.0  # how far it leans down over the lip


_MOUSTACHES = {
    "thin": Moustache(
        (0.25, 1.2, 2.2, 3.0), (-2.0, -2.1, -2.6, -3.2),
        (0.14, 0.20, 0.18, 0.06), (0.1, 0.25, 0.22, 0.1),
    ),
    "chevron": Moustache(
        (-0.1, 0.8, 1.9, 3.0), (-1.8, -1.9, -2.4, -3.2),
        (0.40, 0.52, 0.5, 0.12), (0.3, 0.5, 0.45, 0.2), 0.3,
    ),
    "walrus": Moustache(
        (-0.2, 0.8, 2.0, 3.1), (-2.1, -2.2, -2.8, -4.1),
        (0.65, 0.8, 0.75, 0.25), (0.5, 0.75, 0.6, 0.2), 0.8,
    ),
    "handlebar": Moustache(
        (0, 1.2, 2.5, 3.6, 4.2, 4.0), (-1.85, -2.0, -2.75, -2.7, -1.9, -1.2),
        (0.34, 0.5, 0.46, 0.34, 0.25, 0.1), (0.28, 0.5, 0.45, 0.4, 0.3, 0.1), 0.3,
    ),
    "drooping": Moustache(
        (0.1, 1.2, 2.5, 3.2, 3.3, 3.1), (-1.85, -2.0, -2.6, -3.8, -5.2, -6.8),
        (0.28, 0.45, 0.5, 0.46, 0.36, 0.1), (0.25, 0.5, 0.5, 0.5, 0.4, 0.2), 0.2,
    ),
    "upturned": Moustache(
        (0.35, 1.1, 2.2, 3.2, 4.3), (-1.75, -1.95, -2.55, -2.65, -1.9),
        (0.26, 0.46, 0.46, 0.32, 0.08), (0.25, 0.5, 0.5, 0.4, 0.15), 0.2,
    ),
    "drawn": Moustache(
        (0.3, 1.2, 2.4, 3.3, 4.1), (-1.75, -1.95, -2.5, -3.2, -4.2),
        (0.26, 0.42, 0.44, 0.34, 0.1), (0.25, 0.46, 0.48, 0.4, 0.15), 0.2,
    ),
}  # fmt: skip
MOUSTACHES = ("none", *_MOUSTACHES)


@dataclass(frozen=True)
class Beard:
    """A beard between two lines on the skin, given at places across, and how it hangs from the lower one."""

    across: tuple[float, ...]
    top: tuple[float, ...]
    bottom: tuple[float, ...]
    high: tuple[float, float]  # least and greatest thickness, model units
    long: tuple[float, float] = (0.0, 0.0)  # least and greatest length below the jaw
    taper: float = 0.0  # 1: pointed


_CHEEKS = (0, 1.3, 2.4, 3.3, 4.6, 6.5, 9.0, 11.0, 12.0)
_FULL = (-4.9, -4.8, -4.4, -3.8, -3.4, -2.6, -0.9, 1.2, 2.4)
_JAW = (-8.0, -8.0, -7.9, -7.6, -7.2, -6.4, -4.9, -2.0, 1.6)
_STRAP = (-6.5, -6.4, -6.2, -6.0, -5.6, -4.6, -1.9, 0.6, 2.4)
_BEARDS = {
    "patch": Beard((0, 0.3, 0.55), (-4.75, -4.8, -5.0), (-6.6, -6.3, -5.6), (0.15, 0.4)),
    "goatee": Beard((0, 0.8, 1.5), (-5.1, -5.3, -5.9), (-8.0, -7.9, -7.5), (0.25, 0.6), (0.2, 2.2), 0.7),
    "strap": Beard(_CHEEKS, _STRAP, _JAW, (0.15, 0.5), (0.0, 0.5)),
    "short": Beard(_CHEEKS, _FULL, _JAW, (0.15, 0.5), (0.0, 0.5)),
    "full": Beard(_CHEEKS, _FULL, _JAW, (0.5, 1.1), (0.5, 2.0)),
    "long": Beard(_CHEEKS, _FULL, _JAW, (0.6, 1.3), (2.0, 5.5), 0.4),
    "pointed": Beard(_CHEEKS, _FULL, _JAW, (0.4, 0.9), (1.5, 4.0), 1.0),
}
BEARDS = ("none", "stubble", *_BEARDS)
SHADED = ("stubble", "short", "full", "long", "pointed")
"""Beards with thin hair on the skin around them."""


def moustache(style: str, skin: Unrolled, rng: np.random.Generator) -> list[Attached]:
    """The two halves of a moustache of a style, of random length, strength and height."""
    if style == "none":
        return []
    shape = _MOUSTACHES[style]
    length, wide, high = rng.uniform(0.88, 1.15), rng.uniform(0.75, 1.3), rng.uniform(0.7, 1.5)
    lift, ends = rng.normal(0, 0.12), rng.normal(0, 0.35)
    halves = []
    for side in (1, -1):
        knots, t = np.linspace(0, 1, len(shape.across)), np.linspace(0, 1, 30)
        x = PchipInterpolator(knots, shape.across)(t) * (1 + (length - 1) * t) * rng.uniform(0.97, 1.03)
        y = PchipInterpolator(knots, shape.y)(t) + lift + ends * t**3
        halves.append(
            _half(
                skin,
                np.stack([side * x, y], 1),
                PchipInterpolator(knots, shape.wide)(t) * wide,
                PchipInterpolator(knots, shape.high)(t) * high,
                shape.hang,
            )
        )
    return halves


def _half(skin: Unrolled, spine: np.ndarray, wide: np.ndarray, high: np.ndarray, hang: float) -> Attached:
    """A tube of elliptic section along a spine (S, 2) on the skin, held by the upper lip and the cheeks alone."""
    across, y = spine.T
    upper = np.where(np.abs(across) < 2.7, np.maximum(y, -2.9), y)
    middle = skin.places(across, upper, 0.4) + np.stack([0 * y, y - upper, 0 * y], 1)
    out = outward(across) + np.array((0, -hang, 0))
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    along = np.gradient(middle, axis=0)
    beside = np.cross(along, out)
    beside /= np.linalg.norm(beside, axis=1, keepdims=True) + 1e-9
    points, arc, faces = tube(middle, beside * wide[:, None], out * high[:, None])
    rings = len(points) // len(y)
    run = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(middle, axis=0), axis=1))])
    template = np.stack([arc * np.repeat(wide + 0.1, rings), np.repeat(run, rings), points[:, 2]], 1)
    return skin.attach(points, np.repeat(across, rings), np.repeat(upper, rings), template, faces)


def beard(style: str, skin: Unrolled, rng: np.random.Generator) -> list[Attached]:
    """A beard of a style, of random thickness and length."""
    if style not in _BEARDS:
        return []
    shape = _BEARDS[style]
    high, long = rng.uniform(*shape.high), rng.uniform(*shape.long)
    lift, cheek = rng.uniform(-0.15, 0.6), rng.uniform(-0.8, 0.6)
    reach = shape.across[-1]
    columns, rows = (72, 22) if reach > 2 else (25, 16)
    line = np.linspace(-1, 1, columns) * reach * rng.uniform(0.9, 1.1)
    share = np.abs(line) / np.abs(line).max()
    ragged = 0.10 * np.sin(line * rng.uniform(3, 6)) * np.sin(line * 1.3 + rng.uniform(0, 6))
    top = PchipInterpolator(shape.across, shape.top)(share * reach) + ragged + lift * (1 - share)
    top += cheek * np.clip(1 - np.abs(np.abs(line) - 6) / 3, 0, 1) * (reach > 2)
    bottom = np.minimum(PchipInterpolator(shape.across, shape.bottom)(share * reach), top - 0.3)
    length = long * np.clip(1 - share**2, 0, 1) ** (1 + 2 * shape.taper) + 1.5 * ragged * (long > 0)
    thick = high * np.clip(2.5 - 2.5 * share, 0, 1) ** 0.5
    return [_grown(skin, line, (top, bottom), thick, np.maximum(length, 0), shape.taper, rows)]


def _grown(
    skin: Unrolled,
    line: np.ndarray,
    edges: tuple[np.ndarray, np.ndarray],
    thick: np.ndarray,
    length: np.ndarray,
    taper: float,
    rows: int,
) -> Attached:
    """A sheet that rises from its upper edge, follows the skin to the lower one, hangs down and turns back."""
    top, bottom = edges
    v = np.linspace(0, 1, rows)[:, None]
    rise = np.clip(v / 0.3, 0, 1)
    rise = rise * rise * (3 - 2 * rise)
    y = top + (bottom - top) * v
    across = np.broadcast_to(line, y.shape)
    out = outward(line)
    base = skin.places(across.ravel(), y.ravel(), 0.7).reshape(rows, -1, 3)
    # The sheet does not recede under the chin.
    radius = np.hypot(base[..., 0], base[..., 2])
    radius = np.maximum(radius, 0.94 * radius[rows // 2]) + thick * rise * (1 + 0.25 * v) - 0.2 * (1 - rise)
    front = radius[..., None] * out
    front[..., 1] = y
    s = np.linspace(0.15, 1, 10)[:, None]
    narrower = np.array((0.10 + 0.55 * taper, 0, 0.05 + 0.06 * taper))
    hung = front[-1] * (1 - s[..., None] ** 1.4 * narrower)
    hung[..., 1] = bottom - s * length - 0.3 * np.sqrt(s)
    back = hung[-1] * np.array((0.8, 1, 0.72)) + np.array((0, 0.3, 0)) * np.linspace(0, 1, 3)[:, None, None]
    points = np.concatenate([front, hung, back])
    held = np.maximum(np.concatenate([y, np.broadcast_to(bottom, (13, len(line)))]), bottom + 0.4)
    depth = np.concatenate([y, hung[..., 1], back[..., 1] - 1])
    where = np.broadcast_to(line, depth.shape)
    template = np.stack([where, depth, points[..., 2]], -1).reshape(-1, 3)
    return skin.attach(points.reshape(-1, 3), where.ravel(), held.ravel(), template, sheet(len(line), len(points)))


def carved(style: str, places: np.ndarray) -> np.ndarray:
    """Height (P,) in model units of carved hair, at places (P, 2), across and along it. style: one of CARVINGS."""
    across, along = places.T
    if style == "plain":
        return 0.04 * np.abs(np.sin(3 * across + 0.8 * np.sin(along)))
    if style == "strands":
        return 0.09 * np.abs(np.sin(6.5 * across + 0.9 * np.sin(1.2 * along) + 0.5 * np.sin(3.1 * along)))
    if style == "locks":  # wavy tufts, each of strands
        tuft = 2.1 * across + 0.9 * np.sin(1.9 * along + 1.7 * np.sin(0.7 * across))
        return 0.26 * np.sqrt(np.abs(np.sin(tuft))) + 0.05 * np.abs(np.sin(4 * tuft))
    size = 1.2  # snail curls in staggered rows
    row = np.floor(along / size)
    u = np.mod(across / size + 0.5 * np.mod(row, 2), 1) - 0.5
    v = np.mod(along / size, 1) - 0.5
    away, turn = np.hypot(u, v), np.arctan2(v, u)
    return 0.32 * np.sqrt(np.clip(1 - (1.9 * away) ** 2, 0, 1)) + 0.05 * np.cos(20 * away - turn)


def stubble(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """0 to 1 where cut hair darkens a face, at |x| and y of the mean head's front: lip, cheeks and chin."""
    lip = np.clip((3.3 - x) / 0.8, 0, 1) * np.exp(-(((y + 1.9 + 0.09 * x * x) / 0.5) ** 2))
    cheek = np.clip((-2.2 - 0.25 * (6.5 - x) - y) / 1.0, 0, 1) * np.clip((x - 2.9) / 0.8, 0, 1)
    chin = np.clip((-4.9 - y) / 0.6, 0, 1)
    return np.maximum(np.maximum(cheek, chin) * np.clip((y + 11) / 2, 0, 1), lip)
