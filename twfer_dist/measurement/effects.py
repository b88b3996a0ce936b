"""What photographs do to faces: make-up, hair, spectacles, light, lens and camera, occlusion, JPEG.

Every function takes a grey crop of SIZE pixels a side and draws from `rng` alone. Crops are uint8 (S, S); inside
`camera` they are float32, 0 to 1. points: (68, 2) in pixels of the crop.
"""

import cv2
import numpy as np

from twfer_dist.core import images
from twfer_dist.core.landmarks import (
    BOTH_EYES,
    CHIN,
    JAW_ENDS,
    LEFT_BROW,
    LEFT_EYE,
    OUTER_EYE_CORNERS,
    OUTER_LIPS,
    RIGHT_BROW,
    RIGHT_EYE,
    interocular_distance,
)
from twfer_dist.measurement.network import SIZE


def makeup(crop: np.ndarray, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The crop with lighter or darker eyes, brows and lips, as light, make-up and skin give them, and with glints in
    the eyes: how bright an eye is says nothing about how wide it is open.
    """
    x, span = crop.astype(np.float32), interocular_distance(points)
    eyes = [points[RIGHT_EYE], points[LEFT_EYE]]
    if rng.random() < 0.6:
        around = [eye.mean(0) + (eye - eye.mean(0)) * rng.uniform(1, 1.8) for eye in eyes]
        _shade(x, around, 0, rng.uniform(0.02, 0.08) * span, rng.normal(0, 0.35))
    if rng.random() < 0.4:
        brows = [points[RIGHT_BROW], points[LEFT_BROW]]
        thickness = max(1, round(rng.uniform(0.02, 0.09) * span))
        _shade(x, brows, thickness, rng.uniform(0.01, 0.03) * span, rng.normal(-0.3, 0.3))
    if rng.random() < 0.4:
        _shade(x, [points[OUTER_LIPS]], 0, rng.uniform(0.01, 0.04) * span, rng.normal(-0.1, 0.25))
    if rng.random() < 0.3:
        offset, size = rng.normal(0, 0.03, 2) * span, rng.uniform(0.006, 0.02) * span
        for eye in eyes:
            glint = np.zeros_like(x)
            centre = [round(float(v) * 16) for v in eye.mean(0) + offset]
            cv2.circle(glint, centre, round(max(size, 0.6) * 16), 1.0, -1, cv2.LINE_AA, 4)
            x += glint * (rng.uniform(180, 255) - x)
    return np.clip(x, 0, 255).astype(np.uint8)


def _shade(x: np.ndarray, parts: list[np.ndarray], thickness: int, blur: float, strength: float) -> None:
    """Lighten (or darken, below 0) parts of `x` in place: their outlines of a thickness, or their insides at 0."""
    mask = np.zeros_like(x)
    for part in parts:
        outline = np.round(part).astype(np.int32)
        if thickness:
            cv2.polylines(mask, [outline], False, 1.0, thickness, cv2.LINE_AA)
        else:
            cv2.fillPoly(mask, [cv2.convexHull(outline)], 1.0)
    np.multiply(x, np.exp(np.float32(strength) * cv2.GaussianBlur(mask, (0, 0), blur)), out=x)


def hair(crop: np.ndarray, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The crop with hair around the face, short or long, with or without a fringe: rendered heads have only caps and
    carved curls.
    """
    right, left = OUTER_EYE_CORNERS
    first, last = JAW_ENDS
    across = points[left] - points[right]
    span, tilt = float(np.linalg.norm(across)), float(np.degrees(np.arctan2(across[1], across[0])))
    down = np.array([-across[1], across[0]]) / span
    middle, half = points[BOTH_EYES].mean(0), float(np.linalg.norm(points[last] - points[first])) / 2
    hairline = span * rng.uniform(0.35, 0.95)  # above the eyes
    chin = float((points[CHIN] - middle) @ down)
    inner, outer = np.zeros_like(crop), np.zeros_like(crop)

    def fill(mask: np.ndarray, top: float, bottom: float, wide: float) -> None:
        x, y = middle + down * (bottom - top) / 2
        cv2.ellipse(mask, ((float(x), float(y)), (2 * wide, top + bottom), tilt), 255.0, -1, cv2.LINE_AA)

    fill(inner, hairline, chin * rng.uniform(1.05, 1.3), half * rng.uniform(0.85, 1.0))
    fill(outer, hairline + span * rng.uniform(0.3, 1.2), chin * rng.uniform(1.0, 2.0), half * rng.uniform(1.1, 1.6))
    y, x = np.mgrid[:SIZE, :SIZE]
    below = (x - middle[0]) * down[0] + (y - middle[1]) * down[1] - chin * rng.choice((-0.1, 0.3, 1.0, 3.0))
    mask = np.where((below < 0) & (inner < 128), outer, 0).astype(np.float32)
    cover = cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.5, 2)) / 255
    noise = rng.normal(0, 1, (6, SIZE // 2)).astype(np.float32)
    strands = cv2.resize(noise, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
    tone = rng.choice((rng.uniform(5, 50), rng.uniform(50, 200))) * (1 + np.float32(rng.uniform(0.05, 0.3)) * strands)
    return np.clip(crop * (1 - cover) + tone * cover, 0, 255).astype(np.uint8)


def spectacles(crop: np.ndarray, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The crop with the rims of spectacles, now and then with tinted or shining glass."""
    glass, rims = np.zeros_like(crop), crop.copy()
    eyes = points[RIGHT_EYE].mean(0), points[LEFT_EYE].mean(0)
    across = float(np.linalg.norm(eyes[1] - eyes[0]))
    half, tilt = across * rng.uniform(0.30, 0.44), float(np.degrees(np.arctan2(*(eyes[1] - eyes[0])[::-1])))
    shade, thickness, is_round = float(rng.uniform(0, 160)), int(rng.integers(1, 4)), rng.random() < 0.5
    for x, y in eyes:
        rim = (float(x), float(y) + 0.1 * half), (2 * half, 2 * half * rng.uniform(0.6, 0.95)), tilt
        if is_round:
            cv2.ellipse(rims, rim, shade, thickness, cv2.LINE_AA)
            cv2.ellipse(glass, rim, 255.0, -1)
        else:
            corners = cv2.boxPoints(rim).astype(np.int32)
            cv2.polylines(rims, [corners], True, shade, thickness, cv2.LINE_AA)
            cv2.fillConvexPoly(glass, corners, 255.0)
    bridge = [
        tuple(int(v) for v in eye + side * half * (eyes[1] - eyes[0]) / across)
        for eye, side in zip(eyes, (1, -1), strict=True)
    ]
    cv2.line(rims, bridge[0], bridge[1], shade, thickness, cv2.LINE_AA)
    if rng.random() < 0.4:
        tint = np.float32(rng.uniform(0.05, 0.4)) * (glass / np.float32(255))
        rims = (rims * (1 - tint) + tint * np.float32(rng.choice((30, 230)))).astype(np.uint8)
    return rims


def camera(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The crop under another light, lens, camera and file format, now and then with something in front of it."""
    x = (crop / np.float32(255)) ** np.float32(np.exp(rng.normal(0, 0.3)))
    x = 0.5 + (x - 0.5) * np.float32(np.exp(rng.normal(0, 0.25))) + np.float32(rng.normal(0, 0.08))
    if rng.random() < 0.45:
        x = _relight(x, rng)
    if rng.random() < 0.35:
        x = _occlusion(x, rng)
    if rng.random() < 0.35:
        few = int(rng.uniform(28, 90))
        small = cv2.resize(x, (few, few), interpolation=cv2.INTER_AREA)
        x = np.asarray(cv2.resize(small, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR))
    elif rng.random() < 0.4:
        x = np.asarray(cv2.GaussianBlur(x, (0, 0), rng.uniform(0.4, 1.8)))
    if rng.random() < 0.4:
        x = x + rng.normal(0, rng.uniform(0.005, 0.045), x.shape).astype(np.float32)
    out = np.clip(255 * x + 0.5, 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        compressed = images.decode_grey(images.encode_jpeg(out, int(rng.uniform(15, 80))))
        assert compressed is not None  # encoded above
        return compressed
    return out


def _relight(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Uneven light, stronger from one side, now and then with the edge of a shadow."""
    few = int(rng.integers(2, 5))
    uneven = rng.normal(0, rng.uniform(0.1, 0.45), (few, few)).astype(np.float32)
    x = x * np.exp(cv2.resize(uneven, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC))
    if rng.random() < 0.3:
        along, angle = np.linspace(-1, 1, SIZE, dtype=np.float32), rng.uniform(0, 2 * np.pi)
        slope = along[None] * np.float32(np.cos(angle)) + along[:, None] * np.float32(np.sin(angle))
        beyond = slope - np.float32(rng.uniform(-0.4, 0.6))
        x = x * (1 - np.float32(rng.uniform(0.2, 0.8)) * np.clip(beyond / np.float32(rng.uniform(0.02, 0.3)), 0, 1))
    return x


def _occlusion(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Something grey, smooth or rough, over a part: a break, a hand, a stain, a label."""
    middle, radius = rng.uniform(0, SIZE, 2), rng.uniform(0.05, 0.22, 2) * SIZE
    mask = np.zeros((SIZE, SIZE), np.float32)
    ellipse = (
        (float(middle[0]), float(middle[1])),
        (2 * float(radius[0]), 2 * float(radius[1])),
        float(rng.uniform(0, 180)),
    )
    if rng.random() < 0.6:
        cv2.ellipse(mask, ellipse, 1.0, -1)
    else:
        cv2.fillConvexPoly(mask, cv2.boxPoints(ellipse).astype(np.int32), 1.0)
    mask = cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.3, 4)) * np.float32(rng.uniform(0.5, 1))
    rough = rng.normal(0, rng.uniform(0, 0.25), (int(rng.integers(3, 40)),) * 2).astype(np.float32)
    surface = np.float32(rng.uniform(0, 1)) + cv2.resize(rough, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
    return x * (1 - mask) + surface * mask
