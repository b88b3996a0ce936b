"""What a figure wears: hair, headgear and clothing, as solids with a kind each."""

from dataclasses import dataclass

import numpy as np

from twfer_dist.rendering.solids import Line, Skull, Solid, blob, ring

SKIN, EYE, MOUTH, TEETH, HAIR, CLOTH, ARMOUR = range(7)
"""The kinds of triangles; `material` gives each kind its own relief and colour."""

HEADGEAR = ("topknot", "cap", "general", "board", "pillbox", "curls", "bald")
CLOTHING = ("armour", "robe", "bare")
FACIAL_HAIR = ("none", "moustache", "goatee", "beard")
EYES = ("blank", "ring", "drilled")


@dataclass(frozen=True)
class Dress:
    headgear: str
    clothing: str
    facial_hair: str
    eyes: str
    teeth: bool  # carved, not a dark gap, where the lips part


def headgear(
    skull: Skull, skin: np.ndarray, dress: Dress, knot: np.ndarray, rng: np.random.Generator
) -> list[tuple[Solid, int]]:
    """Solids with their kinds. skin: (N, 3), the figure's neutral head. knot: (3,), where the hair is tied."""
    if dress.headgear == "bald":
        return []
    low = rng.uniform(-3, 4)  # degrees by which the hairline is shifted
    if dress.headgear == "curls":
        curls = (skull.shell(skin, (27 + low, 15 + low, -3, -14, -48), rng.uniform(0.7, 1.2), 10, 2.5), HAIR)
        return [curls, (skull.band(skin, (33, 27, 12, -2, -14), 0.9, 0.4), CLOTH)] if rng.random() < 0.3 else [curls]
    hair = (skull.shell(skin, (33 + low, 25 + low, 1, -12, -46), rng.uniform(0.2, 0.35), 9), HAIR)
    if dress.headgear == "topknot":
        size = rng.uniform(0.85, 1.15)
        bun = blob(knot + (0, 2.2 * size, 0), (2.3 * size, 2.5 * size, 2.3 * size), 1.0)
        return [hair, (bun, HAIR), (ring(knot + (0, 0.5, 0), (1.9, 1.9), 0.5), CLOTH)]
    edge: Line = (26 + low, 19 + low, 9, -6, -30)
    cap = (skull.shell(skin, edge, rng.uniform(0.6, 0.9), 4), CLOTH)
    if dress.headgear == "cap":  # soft, over the knot
        return [hair, cap, (blob(knot + (0, 0.4, 0), (3.0, 2.2, 3.0), 1.0), CLOTH)]
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
    rim: Line = (41 + low, 38 + low, 30, 22, 12)
    return [hair, (skull.shell(skin, rim, 0.8, 4), CLOTH), (skull.band(skin, rim, 0.7, 0.4), CLOTH)]


def clothing(dress: Dress, rng: np.random.Generator) -> list[tuple[Solid, int]]:
    """Solids with their kinds: the chest, and what goes around the neck."""
    if dress.clothing == "bare":
        return []
    lean = rng.uniform(0.9, 1.1)
    if dress.clothing == "armour":  # over a scarf
        body, kind = blob(np.array((0, -26.5, -2)), (19, 12, 9.5 * lean), 0.75, steps=(96, 48)), ARMOUR
        turns = [(-12.2, 6.3, 1.15, 0.6), (-13.8, 7.4, 1.35, 1.0), (-15.4, 9.0, 1.2, 1.6)]
    else:  # a robe with crossed lapels
        body, kind = blob(np.array((0, -27.0, -2)), (19.5, 12.5, 9 * lean), 0.85, steps=(96, 48)), CLOTH
        turns = [(-11.4, 6.9, 0.85, 4.5), (-12.4, 8.4, 0.95, 5.5), (-13.4, 10.0, 0.95, 6.5)]
    return [
        (body, kind),
        *[(ring((0, y, -0.8), (wide, wide * 0.92), thick, tilt=-6, dip=dip), CLOTH) for y, wide, thick, dip in turns],
    ]
