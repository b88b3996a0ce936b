"""What figures are made of: procedural relief and colour of terracotta, stone, bronze and skin.

Everything is a function of the position on the head model's mean head (`template`), so that it stays on the figure when
the face moves. Colours are linear RGB, 0 to 1.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from twfer_dist.core.taxonomy import ACTION_UNITS
from twfer_dist.rendering import brows, eyes, facial_hair
from twfer_dist.rendering.complexion import Complexion, tones
from twfer_dist.rendering.dress import ARMOUR, BEARD, CLOTH, EYE, HAIR, MOUTH, SKIN, TEETH, Dress

TEXTURE = 512  # pixels of the tile
TILE = 16.0  # model units that the tile covers
BLOTCH, GRAIN, RIDGE, PITS = range(4)


@dataclass(frozen=True)
class Material:
    """Base colours, which a scene mixes into one, and the surface's response to light."""

    colours: tuple[tuple[float, float, float], ...]
    stain: tuple[float, float, float]  # of blotches: soot, veins, verdigris
    stained: float  # share of the surface, 0 to 1
    dust: tuple[float, float, float]  # in hollows
    dusty: float
    gloss: float  # strength of the highlight
    sharp: float  # its exponent
    wrap: float  # light that goes round the edge: marble is translucent
    grain: float  # relief in model units
    pits: float
    cracks: float
    metal: bool = False
    living: bool = False  # skin: eyes with irises, dark brows and hair, lips


MATERIALS = {"terracotta": Material(((0.30, 0.15, 0.085), (0.34, 0.20, 0.12), (0.24, 0.15, 0.10), (0.20,
    0.165, 0.13)), (0.075, 0.062, 0.055), 0.45, (0.50, 0.42, 0.33), 0.55, 0.06, 8, 0.15, 0.030, 0.05,
    0.10), "marble": Material(((0.50, 0.475, 0.43), (0.44, 0.395, 0.32), (0.52, 0.515, 0.50)), (0.30,
    0.27, 0.225), 0.35, (0.20, 0.155, 0.105), 0.60, 0.12, 28, 0.26, 0.012, 0.03, 0.04), "bronze":
    Material(((0.150, 0.086, 0.042), (0.085, 0.060, 0.042), (0.075, 0.078, 0.058), (0.18, 0.110, 0.050)),
    (0.105, 0.150, 0.118), 0.36, (0.14, 0.19, 0.15), 0.45, 0.9, 22, 0.05, 0.012, 0.03, 0.03, metal=True),
    "basalt": Material(((0.080, 0.083, 0.086), (0.130, 0.122, 0.114), (0.068, 0.075, 0.066)), (0.045,
    0.045, 0.047), 0.35, (0.25, 0.23, 0.20), 0.40, 0.22, 14, 0.10, 0.030, 0.07, 0.02), "limestone":
    Material(((0.42, 0.37, 0.27), (0.36, 0.34, 0.30), (0.46, 0.40, 0.33)), (0.16, 0.145, 0.12), 0.50,
    (0.22, 0.19, 0.14), 0.50, 0.03, 8, 0.18, 0.045, 0.12, 0.06), "skin": Material(((0.52, 0.31, 0.22),
    (0.36, 0.19, 0.11), (0.13, 0.065, 0.04), (0.60, 0.40, 0.32), (0.22, 0.12, 0.075), (0.07, 0.035,
    0.025), (0.70, 0.52, 0.44)), (0.42, 0.20, 0.15), 0.10, (0.30, 0.15,
    0.10), 0.20, 0.20, 16, 0.22, 0.006, 0.01, 0.0, living=True), }  # fmt: skip


@lru_cache(maxsize=4)
def _tiles(blur: float) -> np.ndarray:
    """The four textures, float32 (512, 512, 4): tileable, mean 0, deviation about 1, without detail under `blur`
    pixels.
    """
    rng = np.random.default_rng(20)
    frequency = np.hypot(np.fft.fftfreq(TEXTURE)[:, None], np.fft.rfftfreq(TEXTURE)[None]) + 1e-9
    keep = np.exp(-0.5 * (frequency * blur * 2.2) ** 2)

    def field(slope: float, low: float) -> np.ndarray:
        spectrum = np.fft.rfft2(rng.normal(size=(TEXTURE, TEXTURE))) * frequency**-slope * (frequency > low)
        noise = np.fft.irfft2(spectrum, s=(TEXTURE, TEXTURE))
        return noise / noise.std()

    def smooth(noise: np.ndarray) -> np.ndarray:
        return np.fft.irfft2(np.fft.rfft2(noise) * keep, s=(TEXTURE, TEXTURE))

    ridge = np.exp(-((field(1.6, 0.004) / 0.035) ** 2)) * (field(1.6, 0.004) > 0.2)  # thin lines, broken off
    pits = np.clip(field(0.8, 0.04) - 2.0, 0, 1.2)
    return np.stack([smooth(f) for f in (field(1.5, 0.003), field(0.5, 0.03), ridge, pits)], -1).astype(np.float32)


def textures(template: np.ndarray, normals: np.ndarray, footprint: float, shift: np.ndarray) -> np.ndarray:
    """The four textures, float32 (P, 4), at positions on the figure, projected from three sides.

    template: (P, 3). normals: (P, 3) of the figure. footprint: model units per pixel. shift: (3,) moves the pattern.
    """
    tiles = _tiles(2.0 ** round(np.log2(max(1.0, footprint * TEXTURE / TILE))))
    weights = np.abs(normals) ** 3 + 1e-4
    weights /= weights.sum(1, keepdims=True)
    position = (template + shift) * np.float32(TEXTURE / TILE)
    total = np.zeros((len(position), 4), np.float32)
    for axis, (u, v) in enumerate(((2, 1), (0, 2), (0, 1))):
        chosen = np.flatnonzero(weights[:, axis] > 0.02)
        columns = np.mod(position[chosen, u], TEXTURE).astype(np.int32)
        rows = np.mod(position[chosen, v], TEXTURE).astype(np.int32)
        texel = np.minimum(rows, TEXTURE - 1) * TEXTURE + np.minimum(columns, TEXTURE - 1)
        total[chosen] += tiles.reshape(-1, 4)[texel] * weights[chosen, axis, None]
    return total


def relief(
    dress: Dress,
    material: Material,
    kind: np.ndarray,
    template: np.ndarray,
    knot: np.ndarray,
    texture: np.ndarray,
    folds: np.ndarray,
) -> np.ndarray:
    """Height, float32 (P,), in model units that carving and age add to the surface. folds: see `wrinkles`."""
    x, y, z = np.abs(template[:, 0]), template[:, 1], template[:, 2]
    height = material.grain * texture[:, GRAIN] - material.pits * texture[:, PITS] - material.cracks * texture[:, RIDGE]
    front = (kind == SKIN) & (z > 4)
    height[front] += (0.4 if material.living else 1.0) * brows.relief(dress.brows, x[front], y[front])
    height[front] += eyes.relief(dress.lids, x[front], y[front])
    if folds.any():
        height[front] += wrinkles(x[front], y[front], folds)
    if dress.beard == "stubble" and not material.living:  # short strokes of the chisel
        height[front] -= 0.05 * facial_hair.stubble(x[front], y[front]) * np.clip(texture[front, GRAIN], 0, 2)
    grown = kind == BEARD
    places = template[grown, :2] + 0.12 * texture[grown, :2]  # by hand, not by rule
    if material.living:
        height[grown] += 0.5 * (facial_hair.carved("locks", places) + facial_hair.carved("strands", 2 * places))
    else:
        height[grown] += dress.coarse * facial_hair.carved(dress.carving, places / dress.coarse)
    hair = kind == HAIR
    height[hair] += _hair(dress, template[hair], knot, texture[hair, BLOTCH])
    height += (kind == CLOTH) * 0.10 * np.sin(1.6 * y + 0.8 * np.sin(0.4 * template[:, 0]) + 0.5 * texture[:, BLOTCH])
    height += (kind == ARMOUR) * _plates(template[:, 0], y)
    height += (kind == EYE) * eyes.ball(dress.eyes, x, y)
    return height.astype(np.float32)


def _hair(dress: Dress, template: np.ndarray, knot: np.ndarray, blotch: np.ndarray) -> np.ndarray:
    """Height (P,) in model units of the hair on the head: curls, or strands combed from where it is tied or parts."""
    x, y, z = template.T
    if dress.headgear == "curls":
        curls = np.sin(2.3 * x + 1.5 * np.sin(1.1 * y)) * np.sin(2.3 * y + 1.2 * np.sin(1.3 * z)) * np.cos(1.7 * z)
        return 0.34 * np.abs(curls) ** 0.6
    away = template - knot
    turn = np.arctan2(away[:, 0], away[:, 2] + 0.35 * away[:, 1])
    wave = 1.6 * np.sin(1.3 * y) if dress.headgear in ("parted", "long") else 0.6 * blotch
    return 0.17 * dress.coarse * np.abs(np.sin(turn * 26 / dress.coarse + wave))


def _bump(distance: np.ndarray, width: float) -> np.ndarray:
    return np.exp(-((distance / width) ** 2))


def wrinkles(x: np.ndarray, y: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Height (P,) of the skin folds of Action Units, at positions (|x|, y) of the mean head's front.

    folds: (17,), the depth of each unit's, 0 to 1. The head model's shapes are smooth; in people and in sculpture the
    forehead, the root of the nose, the corners of the eyes, the cheeks and the chin fold (Ekman, Friesen and Hager
    2002).
    """
    depth = dict(zip(ACTION_UNITS, folds, strict=True))

    def between(value: np.ndarray, low: float, high: float, soft: float) -> np.ndarray:
        return np.clip((value - low) / soft, 0, 1) * np.clip((high - value) / soft, 0, 1)

    forehead = np.cos(5.5 * y + 0.6 * np.sin(0.9 * x)) * between(y, 6.9, 10.8, 0.8)
    away, angle = np.hypot(x - 4.5, y - 3.4), np.arctan2(y - 3.4, x - 4.5)
    cheek = between(y, -3.8, -0.4, 0.7) * _bump(x - 1.75 - 0.62 * (-0.8 - y), 0.22)
    return (
        0.10 * forehead * (depth["AU01"] * between(x, -1, 3.6, 1.2) + depth["AU02"] * between(x, 2.2, 6.2, 1.2))
        - 0.20 * depth["AU04"] * _bump(x - 0.75, 0.22) * between(y, 4.4, 7.4, 0.7)
        + 0.06 * depth["AU09"] * np.cos(8.5 * (y - 0.5 * x)) * between(x, -1, 1.5, 0.4) * between(y, 1.8, 4.9, 0.5)
        + 0.08 * depth["AU06"] * np.cos(11 * angle) * _bump(away - 1.3, 0.8) * (np.abs(angle) < 1)
        - 0.09 * depth["AU07"] * _bump(y - 2.5 + 0.1 * (x - 3.2) ** 2, 0.16) * between(x, 1.7, 4.8, 0.6)
        - 0.14 * np.maximum(depth["AU12"], 0.8 * depth["AU10"]) * cheek
        - 0.25 * depth["AU14"] * _bump(np.hypot(x - 3.2, y + 3.5), 0.4)
        - 0.12 * depth["AU15"] * _bump(x - 2.9 - 0.2 * (-3.7 - y), 0.2) * between(y, -5.8, -3.7, 0.5)
        + 0.06
        * depth["AU17"]
        * np.sin(5 * x + 1)
        * np.sin(5 * y)
        * between(x, -1, 1.8, 0.5)
        * between(y, -7.2, -5.0, 0.4)
    ).astype(np.float32)


def _plates(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Lamellae in staggered rows, each with a rivet."""
    row = np.floor(y / 2.6)
    across, down = np.mod(x / 2.2 + 0.5 * np.mod(row, 2), 1.0), np.mod(y / 2.6, 1.0)
    seam = np.minimum(np.minimum(across, 1 - across) * 2.2, down * 2.6)
    return (
        0.30 * np.clip(seam / 0.22, 0, 1)
        + 0.2 * (1 - down)
        + 0.22 * _bump(np.hypot((across - 0.5) * 2.2, (down - 0.3) * 2.6), 0.22)
    )


def albedo(
    material: Material,
    kind: np.ndarray,
    dress: Dress,
    template: np.ndarray,
    texture: np.ndarray,
    hollow: np.ndarray,
    colour: np.ndarray,
    stained: float,
    complexion: Complexion,
) -> tuple[np.ndarray, np.ndarray]:
    """Colour (P, 3) of the surface and the share of bare, clean material (P,), 0 to 1.

    hollow: (P,), 0 to 1, how recessed a position is. colour: (3,) of this figure. stained: 0 to 1, how weathered it is.
    complexion: of a living material.
    """
    tone = 1 + 0.08 * texture[:, BLOTCH] + 0.05 * texture[:, GRAIN] - 0.25 * texture[:, RIDGE] - 0.10 * texture[:, PITS]
    result = colour * np.clip(tone, 0.4, 1.6)[:, None]
    patches = np.clip((texture[:, BLOTCH] - 1.7 + 2.4 * stained * material.stained + 0.5 * hollow) / 1.6, 0, 1) * 0.75
    result += (np.array(material.stain, np.float32) - result) * patches[:, None]
    dust = (
        np.clip(hollow * 1.6 - 0.25 + 0.25 * texture[:, GRAIN] + 0.2 * texture[:, BLOTCH], 0, 1)
        * material.dusty
        * stained
    )
    result += (np.array(material.dust, np.float32) - result) * dust[:, None]
    if material.living:
        result = _living(result, kind, template, texture, dress, complexion)
    else:
        result *= _painted(kind, template, dress)[:, None]
    result *= np.where(kind == MOUTH, 0.10, 1.0)[:, None]
    return result.astype(np.float32), (1 - np.clip(patches + dust, 0, 1)).astype(np.float32)


def _painted(kind: np.ndarray, template: np.ndarray, dress: Dress) -> np.ndarray:
    """Share of light (P,) that hair, brows and eyes of clay and stone return beside the bare material."""
    x, y = np.abs(template[:, 0]), template[:, 1]
    result = np.where((kind == HAIR) | (kind == BEARD), 0.78 - 0.55 * dress.paint, 1.0)
    front = (kind == SKIN) & (template[:, 2] > 4)
    if dress.paint:
        result[front] -= 0.75 * dress.paint * brows.hair(dress.brows, x[front], y[front])
    ball = kind == EYE
    result[ball] *= eyes.paint(dress.eyes, x[ball], y[ball])
    return result


def _living(
    colour: np.ndarray,
    kind: np.ndarray,
    template: np.ndarray,
    texture: np.ndarray,
    dress: Dress,
    complexion: Complexion,
) -> np.ndarray:
    """Colour (P, 3) with the eyes, brows, lips, hair and teeth of a living face."""
    x, y, z = np.abs(template[:, 0]), template[:, 1], template[:, 2]
    front = (kind == SKIN) & (z > 4)
    lips = front * np.clip(3 - 3 * ((x / 2.5) ** 2 + ((y + 3.4) / 1.02) ** 2), 0, 1)
    hairy = front * brows.hair(dress.brows, x, y)
    above, below = eyes.edges(x, y)
    lashes = front * np.maximum(_bump(above, 0.13), 0.5 * _bump(below, 0.1)) * ((x > 1.8) & (x < 4.7))
    away = np.hypot(x - 3.1, y - 3.6)
    eye = kind == EYE
    tint = np.array([0.9, 0.7, 0.5], np.float32) * (1 - dress.grey) + dress.grey
    light = min(complexion.hair**1.5, float(colour.mean()))  # no lighter than the skin, until it turns white
    hair = (light + (0.45 - light) * dress.grey) * tint
    result = colour * (1 - complexion.lashes * lashes)[:, None]
    result *= 1 + front[:, None] * (tones(template, texture, complexion) - 1)[:, None]
    dark = np.minimum(hair, 0.3 * colour)  # brows are darker than the skin, until they turn white
    result += (complexion.brows * hairy)[:, None] * (dark + (hair - dark) * dress.grey - result)
    if dress.beard in facial_hair.SHADED:
        cut = front * facial_hair.stubble(x, y) * complexion.brows * 0.55
        result += cut[:, None] * (0.5 * hair + 0.2 * result - result)
    lip_colour = complexion.lip_tone * np.array([0.95, 1 - complexion.lips, 1 - complexion.lips], np.float32)
    result += lips[:, None] * (colour * lip_colour - result)
    result[eye] = complexion.sclera * np.array([1.04, 1.0, 0.95], np.float32)
    result[eye & (away < 0.62)] = complexion.iris * complexion.sclera
    result[eye & (away < complexion.pupil)] = 0.01
    result[kind == HAIR] = hair
    result[kind == CLOTH] = np.array(dress.dye, np.float32)
    grown = kind == BEARD
    strand = 1 + 0.25 * np.sin(16 * template[grown, 0] + 2 * np.sin(2 * y[grown]) + 1.5 * texture[grown, GRAIN])
    strand *= np.clip(0.85 + 0.3 * texture[grown, BLOTCH], 0.4, 1.4)
    result[grown] = hair * strand[:, None]
    result[kind == TEETH] = 0.9 * complexion.sclera
    return result


def box_blur(image: np.ndarray, radius: float) -> np.ndarray:
    """`image` smoothed with two box filters, about a Gaussian of `radius` pixels."""
    width = 2 * max(1, int(round(radius))) + 1
    return cv2.blur(cv2.blur(image, (width, width)), (width, width))
