"""How often a figure wears what: hair, headgear, clothing, moustache, beard, brows and eyes, drawn at random."""

import numpy as np

from twfer_dist.rendering import brows, eyes, facial_hair
from twfer_dist.rendering.dress import Dress

_POSTURE_HEADGEAR = {
    "kneeling": ("topknot",),
    "general": ("general",),
    "vertical": ("topknot", "cap"),
    "cavalry": ("pillbox",),
    "civil": ("board",),
}
_HEADGEAR = {"topknot": 0.17, "cap": 0.10, "general": 0.04, "board": 0.04, "pillbox": 0.05, "curls": 0.15, "bald": 0.08,
    "fringe": 0.10, "parted": 0.08, "long": 0.06, "turban": 0.03, "wreath": 0.03, "helmet": 0.03,
    "veil": 0.04}  # fmt: skip
_WARRIOR = ("topknot", "cap", "general", "board", "pillbox")
_GREEK = ("curls", "bald", "fringe", "parted", "long", "wreath", "helmet", "veil")
_WOMEN = ("parted", "long", "veil")  # mostly
_EYES = {"blank": 0.40, "ring": 0.20, "drilled": 0.14, "hooked": 0.08, "painted": 0.14, "hollow": 0.04}
_WARRIORS_MOUSTACHES = ("thin", "drooping", "upturned", "drawn", "chevron")


def drawn(rng: np.random.Generator, posture: str) -> Dress:
    """The dress of a figure. Each posture has its headgear, as among the warriors; "" is any figure."""
    headgear = str(rng.choice(_POSTURE_HEADGEAR[posture])) if posture else _of(_HEADGEAR, rng)
    bare = headgear in _GREEK
    clothing = str(rng.choice(("armour", "robe", "bare"), p=(0.1, 0.2, 0.7) if bare else (0.5, 0.4, 0.1)))
    if posture:
        clothing = "robe" if posture == "civil" else "armour"
    moustache, beard = _facial_hair(headgear, rng)
    return Dress(
        headgear,
        clothing,
        moustache,
        _of(_EYES, rng),
        teeth=bool(rng.random() < 0.6),
        beard=beard,
        carving=str(rng.choice(facial_hair.CARVINGS, p=(0.35, 0.3, 0.2, 0.15))),
        coarse=float(rng.uniform(0.7, 1.6)),
        brows=brows.drawn(rng),
        lids=eyes.drawn(rng),
        low=float(rng.uniform(6, 22)) if rng.random() < 0.35 else 0.0,
        grey=float(rng.uniform(0.3, 1)) if rng.random() < 0.25 else 0.0,
        dye=_dye(rng),
        paint=float(rng.uniform(0.2, 1)) if rng.random() < 0.2 else 0.0,
    )


def _facial_hair(headgear: str, rng: np.random.Generator) -> tuple[str, str]:
    """The names of a moustache and a beard: neither on half of the figures, and on most of the hair that women wear."""
    if rng.random() < (0.85 if headgear in _WOMEN else 0.42):
        return "none", "none"
    if headgear in _WARRIOR and rng.random() < 0.7:
        beard = rng.choice(("none", "patch", "goatee", "strap", "short"), p=(0.45, 0.22, 0.18, 0.05, 0.10))
        return str(rng.choice(_WARRIORS_MOUSTACHES)), str(beard)
    kind = rng.random()
    moustache = "none" if kind < 0.2 else str(rng.choice(facial_hair.MOUSTACHES[1:]))
    if 0.2 <= kind < 0.45:
        return moustache, "none"
    return moustache, str(rng.choice(facial_hair.BEARDS[1:]))


def _dye(rng: np.random.Generator) -> tuple[float, float, float]:
    """Undyed, dyed or black cloth."""
    red, green, blue = (
        float(v) for v in rng.choice((0.03, 0.12, 0.3, 0.55)) * rng.uniform(0.35, 1, 3) ** rng.choice((0.2, 1))
    )
    return red, green, blue


def _of(shares: dict[str, float], rng: np.random.Generator) -> str:
    return str(rng.choice(list(shares), p=list(shares.values())))
