"""What a figure wears and how it is carved and painted, and its clothing as solids."""

from dataclasses import dataclass

import numpy as np

from twfer_dist.rendering.brows import Brows
from twfer_dist.rendering.eyes import Lids
from twfer_dist.rendering.solids import Solid, blob, ring

SKIN, EYE, MOUTH, TEETH, HAIR, CLOTH, ARMOUR, BEARD = range(8)
"""The kinds of triangles; `material` gives each kind its own relief and colour."""

HEADGEAR = (
    *("topknot", "cap", "general", "board", "pillbox", "curls", "bald"),
    *("fringe", "parted", "long", "turban", "wreath", "helmet", "veil"),
)


@dataclass(frozen=True)
class Dress:
    """headgear: see above. clothing: armour, robe or bare. moustache, beard, carving: names of `facial_hair`.
    eyes: a name of `eyes.EYES`.
    """

    headgear: str
    clothing: str
    moustache: str
    eyes: str
    teeth: bool  # carved, not a dark gap, where the lips part
    beard: str = "none"
    carving: str = "strands"  # of moustache and beard
    coarse: float = 1.0  # how large its locks are
    brows: Brows = Brows()
    lids: Lids = Lids()
    low: float = 0.0  # degrees by which hair or headgear comes down over the forehead
    grey: float = 0.0  # 0 to 1: how white the hair of a living face is
    dye: tuple[float, float, float] = (0.2, 0.2, 0.2)  # linear colour of the cloth of the living
    paint: float = 0.0  # 0 to 1: how much dark paint of brows and hair is left on clay and stone


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
