"""Hair and headgear, as solids around the skull with a kind each."""

import numpy as np

from twfer_dist.rendering.dress import CLOTH, HAIR, Dress
from twfer_dist.rendering.solids import Line, Skull, Solid, blob, ring

WARRIORS = ("topknot", "cap", "general", "board", "pillbox")
_CENTRED = ("fringe", "parted", "long", "veil")  # hair that falls from the crown, not from a knot


def knot(skull: Skull, skin: np.ndarray, dress: Dress, rng: np.random.Generator) -> np.ndarray:
    """Where the hair is tied or parts, float32 (3,)."""
    x, z = rng.uniform(-2.2, 0.5), rng.uniform(-3, 0)
    if dress.headgear in _CENTRED:
        x, z = 0.3 * x, 2.5 if dress.headgear == "parted" else -1.0
    return np.array([x, skull.height(skin, x, z), z], np.float32)


def _lowered(line: Line, by: float) -> Line:
    """A line lower on the forehead by some degrees, but above the eyes."""
    return max(line[0] - by, 3.0), max(line[1] - by, -2.0), line[2] - 0.3 * by, line[3], line[4]


def headgear(
    skull: Skull, skin: np.ndarray, dress: Dress, tied: np.ndarray, rng: np.random.Generator
) -> list[tuple[Solid, int]]:
    """Solids with their kinds. skin: (N, 3), the figure's neutral head. tied: (3,), see `knot`."""
    low = rng.uniform(-3, 4) - dress.low  # degrees by which the hairline is shifted
    if dress.headgear == "bald":
        return []
    if dress.headgear in WARRIORS:
        return _warrior(skull, skin, dress, tied, low, rng)
    if dress.headgear == "curls":
        line = _lowered((27, 15, -3, -14, -48), -low)
        curls = (skull.shell(skin, line, rng.uniform(0.7, 1.2), 10, 2.5), HAIR)
        return [curls, (skull.band(skin, (33, 27, 12, -2, -14), 0.9, 0.4), CLOTH)] if rng.random() < 0.3 else [curls]
    if dress.headgear in ("fringe", "parted", "long"):
        return _hair(skull, skin, dress, low, rng)
    return _covered(skull, skin, dress, low, rng)


def _warrior(
    skull: Skull, skin: np.ndarray, dress: Dress, tied: np.ndarray, low: float, rng: np.random.Generator
) -> list[tuple[Solid, int]]:
    hair = (skull.shell(skin, (33 + low, 25 + low, 1, -12, -46), rng.uniform(0.2, 0.35), 9), HAIR)
    if dress.headgear == "topknot":
        size = rng.uniform(0.85, 1.15)
        bun = blob(tied + (0, 2.2 * size, 0), (2.3 * size, 2.5 * size, 2.3 * size), 1.0)
        return [hair, (bun, HAIR), (ring(tied + (0, 0.5, 0), (1.9, 1.9), 0.5), CLOTH)]
    edge = _lowered((26, 19, 9, -6, -30), -low)
    cap = (skull.shell(skin, edge, rng.uniform(0.6, 0.9), 4), CLOTH)
    if dress.headgear == "cap":  # soft, over the knot
        return [hair, cap, (blob(tied + (0, 0.4, 0), (3.0, 2.2, 3.0), 1.0), CLOTH)]
    top = skull.height(skin, 0, -1)
    if dress.headgear == "general":  # with a split crown
        crown = [
            (blob(np.array((side * 2.0, top + 1.0, -1.8)), (2.1, 2.2, 2.4), 0.45, roll=side * -9), CLOTH)
            for side in (-1, 1)
        ]
        return [hair, cap, *crown, (skull.band(skin, edge, 0.9, 0.5), CLOTH)]
    if dress.headgear == "board":  # the long flat cap of officials
        board = blob(np.array((0, top + 1.7, -0.6)), (3.4, 0.9, 6.6), 0.35)
        return [hair, (board, CLOTH), (blob(np.array((0, top + 0.3, -2.5)), (3.0, 1.6, 3.2), 0.5), CLOTH)]
    rim = _lowered((41, 38, 30, 22, 12), -low)
    return [hair, (skull.shell(skin, rim, 0.8, 4), CLOTH), (skull.band(skin, rim, 0.7, 0.4), CLOTH)]


def _hair(
    skull: Skull, skin: np.ndarray, dress: Dress, low: float, rng: np.random.Generator
) -> list[tuple[Solid, int]]:
    """Hair cut or combed over the forehead, and long hair beside the face."""
    thick = rng.uniform(0.35, 0.9)
    if dress.headgear == "fringe":  # cut above or at the brows
        line = _lowered((18, 13, -2, -14, -48), -low)
        hair = [(skull.shell(skin, line, thick, 3.5, rng.uniform(0.2, 1.6)), HAIR)]
    else:  # parted in the middle and combed to the temples
        hair = [(skull.shell(skin, (31 + low, 9 + low / 2, -12, -22, -48), rng.uniform(0.6, 1.7), 8, 0.8), HAIR)]
    if dress.headgear == "long" or rng.random() < 0.3:
        free, bottom = rng.uniform(56, 78), rng.uniform(-16, -5)
        hair.append(
            (skull.curtain(skin, (free, free + rng.uniform(-12, 12)), thick + 0.5, bottom, rng.uniform(0, 0.05)), HAIR)
        )
    if rng.random() < 0.3:  # a diadem, or a fillet
        line = (rng.uniform(26, 36), 22, 12, 0, -10)
        hair.append((skull.band(skin, line, thick + 0.2, rng.uniform(0.25, 0.7)), CLOTH))
    return hair


def _covered(
    skull: Skull, skin: np.ndarray, dress: Dress, low: float, rng: np.random.Generator
) -> list[tuple[Solid, int]]:
    """Turban, wreath, helmet and veil."""
    hair = (skull.shell(skin, (27 + low / 2, 17 + low / 2, 0, -12, -46), rng.uniform(0.3, 0.6), 8, 0.8), HAIR)
    if dress.headgear == "turban":
        edge = _lowered((26, 20, 12, 6, 0), -0.6 * low)
        turns: list[tuple[Solid, int]] = [
            (
                skull.band(
                    skin, (edge[0] + up, edge[1] + up + lean, edge[2] + up, edge[3] + up, edge[4] + up), 0.9, 1.25
                ),
                CLOTH,
            )
            for up, lean in ((0, 0), (11, rng.uniform(-6, 6)), (22, rng.uniform(-6, 6)))
        ]
        return [hair, (skull.shell(skin, edge, 1.6, 6), CLOTH), *turns]
    if dress.headgear == "wreath":
        line = _lowered((24, 21, 15, 8, 4), -0.6 * low)
        tube = skull.band(skin, line, 0.5, 0.3)
        return [hair, (tube, CLOTH), *_leaves(tube, rng)]
    if dress.headgear == "helmet":
        edge = _lowered((17, 13, 8, -4, -40), -low)
        parts = [(skull.shell(skin, edge, rng.uniform(0.8, 1.3), 2), CLOTH), (skull.band(skin, edge, 1.0, 0.3), CLOTH)]
        if rng.random() < 0.4:
            parts.append((skull.curtain(skin, (rng.uniform(50, 66), 46), 0.9, rng.uniform(-8, -4)), CLOTH))
        return parts
    thick = rng.uniform(0.7, 1.5)  # a veil or hood, over hair
    edge = _lowered((35, 25, 6, -20, -50), -low)
    free = rng.uniform(60, 82)
    return [
        hair,
        (skull.shell(skin, edge, thick, 3), CLOTH),
        (skull.curtain(skin, (free, free + rng.uniform(-18, 8)), thick, -18, rng.uniform(0, 0.06)), CLOTH),
    ]


def _leaves(tube: Solid, rng: np.random.Generator) -> list[tuple[Solid, int]]:
    """Leaves along a band around the skull, standing up and down by turns."""
    middle = tube[0].reshape(13, -1, 3)[:12].mean(0)
    size, lean = rng.uniform(0.7, 1.2), rng.uniform(20, 60)
    leaves = []
    for number, column in enumerate(range(22, len(middle) - 21, 4)):
        up = 1 if number % 2 else -1
        centre = middle[column] * np.array((1.04, 1, 1.04)) + (0, 0.5 * up * size, 0)
        roll = np.sign(middle[column, 0]) * (90 - up * lean)
        leaves.append((blob(centre, (0.5 * size, 1.25 * size, 0.4 * size), 1.0, roll, (12, 9)), CLOTH))
    return leaves
