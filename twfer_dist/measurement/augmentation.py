"""Rendered heads to learn from, and what photographs do to them: another crop, blur, noise, JPEG, few pixels, covered
parts.

Every example is drawn from (seed, step, place in the batch), so that it belongs to no worker, and a resumed training
sees what an unbroken one would have seen.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from twfer_dist.core import images
from twfer_dist.core.crop import aligned_matrix
from twfer_dist.core.errors import UserError
from twfer_dist.core.landmarks import (
    BOTH_EYES,
    CHIN,
    JAW_ENDS,
    LEFT_BROW,
    LEFT_EYE,
    MIRRORED,
    OUTER_EYE_CORNERS,
    OUTER_LIPS,
    RIGHT_BROW,
    RIGHT_EYE,
    apply_affine,
    interocular_distance,
)
from twfer_dist.core.schema import RENDERED
from twfer_dist.core.status import OK
from twfer_dist.engine.artifact import Artifact
from twfer_dist.measurement.network import SIZE


@dataclass(frozen=True)
class Heads:
    """Rendered heads in memory, N of them, sorted by id."""

    images: np.ndarray  # uint8 (N, S, S), grey
    points: np.ndarray  # float32 (N, 68, 2), pixels
    units: np.ndarray  # float32 (N, 17), 0 to 5
    pose: np.ndarray  # float32 (N, 3), degrees
    figure_ids: np.ndarray  # str (N,)

    def of(self, rows: np.ndarray) -> "Heads":
        return Heads(*(value[rows] for value in vars(self).values()))


@dataclass(frozen=True)
class Examples:
    """B crops with their truth, as the network's loss takes them."""

    crops: Tensor  # uint8 (B, 112, 112), grey
    points: Tensor  # float32 (B, 68, 2), pixels of the crop
    units: Tensor  # float32 (B, 17)
    pose: Tensor  # float32 (B, 3)

    def to(self, device: torch.device) -> "Examples":
        return Examples(*(value.to(device, non_blocking=True) for value in vars(self).values()))


def load_heads(rendered: Artifact) -> Heads:
    """All heads of a rendered corpus. Problem where it holds none."""
    columns = ["figure_id", "action_units", "landmarks68", "pose", "image", "status"]
    heads, rest = [], []
    for batch in rendered.scan(".", RENDERED).to_batches(columns=columns):
        for row in batch.to_pylist():
            if row["status"] == OK:
                heads.append(_decoded(row["image"]))
                rest.append((row["figure_id"], row["action_units"], row["landmarks68"], row["pose"]))
    if not heads:
        raise UserError(f"{rendered.uri} holds no rendered heads: render some with plan units.")
    figure_ids, units, points, pose = zip(*rest, strict=True)
    points_of = np.array(points, np.float32).reshape(-1, 68, 2) - 0.5  # a pixel's middle is at its whole number here
    return Heads(
        np.stack(heads), points_of, np.array(units, np.float32), np.array(pose, np.float32), np.array(figure_ids)
    )


def aligned(heads: Heads) -> Examples:
    """The heads as they are, aligned by their true points."""
    matrices = [aligned_matrix(points, SIZE) for points in heads.points]
    crops = [_cut(image, matrix) for image, matrix in zip(heads.images, matrices, strict=True)]
    points = [apply_affine(points, matrix) for points, matrix in zip(heads.points, matrices, strict=True)]
    return _examples(crops, points, heads.units, _turned(heads.pose, matrices))


def augmented(heads: Heads, rows: np.ndarray, seed: tuple[int, ...]) -> Examples:
    """Examples of heads `rows` as photographs might show them. seed: with the row's place in it, decides everything."""
    crops, points, matrices, mirrored = [], [], [], []
    for row, place in rows:
        rng = np.random.default_rng((*seed, int(place)))
        loose = 1.0 if rng.random() < 0.5 else 0.25  # half of the crops are as good as the points' own
        matrix = _jittered(aligned_matrix(heads.points[row], SIZE), loose, rng)
        where = apply_affine(heads.points[row], matrix)
        crop = _cut(heads.images[row], matrix, rng)
        if rng.random() < 0.5:
            crop = _makeup(crop, where, rng)
        if rng.random() < 0.25:
            crop = _hair(crop, where, rng)
        if rng.random() < 0.12:
            crop = _spectacled(crop, where, rng)
        crop = _camera(crop, rng)
        mirror = rng.random() < 0.5
        if mirror:
            crop = np.ascontiguousarray(crop[:, ::-1])
            where = np.stack([SIZE - 1 - where[:, 0], where[:, 1]], 1)[list(MIRRORED)]
        crops.append(crop)
        points.append(where)
        matrices.append(matrix)
        mirrored.append(mirror)
    pose = _turned(heads.pose[rows[:, 0]], matrices)
    pose[mirrored] *= (-1, 1, -1)
    return _examples(crops, points, heads.units[rows[:, 0]], pose)


def jittered(heads: Heads, rows: np.ndarray, seed: tuple[int, ...]) -> Examples:
    """Examples of heads `rows` as they are, in a crop that is a little off. seed: as in `drawn`."""
    crops, points, matrices = [], [], []
    for row, place in rows:
        matrix = _jittered(aligned_matrix(heads.points[row], SIZE), 0.4, np.random.default_rng((*seed, int(place))))
        crops.append(_cut(heads.images[row], matrix))
        points.append(apply_affine(heads.points[row], matrix))
        matrices.append(matrix)
    return _examples(crops, points, heads.units[rows[:, 0]], _turned(heads.pose[rows[:, 0]], matrices))


def _examples(crops: list[np.ndarray], points: list[np.ndarray], units: np.ndarray, pose: np.ndarray) -> Examples:
    stacked = torch.from_numpy(np.stack(crops)), torch.from_numpy(np.stack(points).astype(np.float32))
    return Examples(*stacked, torch.from_numpy(units), torch.from_numpy(pose.astype(np.float32)))


def _turned(pose: np.ndarray, matrices: list[np.ndarray]) -> np.ndarray:
    """Yaw, pitch and roll as the crop shows them."""
    turned = pose.copy()
    turned[:, 2] -= [np.degrees(np.arctan2(m[1, 0], m[0, 0])) for m in matrices]
    return turned


def _jittered(matrix: np.ndarray, loose: float, rng: np.random.Generator) -> np.ndarray:
    """A crop that is turned, larger or smaller, and shifted: as loose as a detector's where loose is 1."""
    angle, scale = np.radians(rng.normal(0, 12 * loose)), np.exp(rng.normal(0, 0.10 * loose))
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    turn = np.array([[cosine, -sine], [sine, cosine]])
    shift = rng.normal(0, 0.05 * loose, 2) * SIZE
    middle = SIZE / 2
    return np.column_stack([turn @ matrix[:, :2], turn @ (matrix[:, 2] - middle) + middle + shift]).astype(np.float32)


def _decoded(data: bytes) -> np.ndarray:
    grey = images.decode_grey(data)
    assert grey is not None  # our own pictures
    return grey


def _cut(image: np.ndarray, matrix: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
    outside = cv2.BORDER_REPLICATE if rng is None or rng.random() < 0.5 else cv2.BORDER_REFLECT
    return cv2.warpAffine(image, matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR, borderMode=outside)


def _camera(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A crop (uint8 (S, S)) after another light, lens, camera and file, with something before it now and then."""
    x = (crop / np.float32(255)) ** np.float32(np.exp(rng.normal(0, 0.3)))
    x = 0.5 + (x - 0.5) * np.float32(np.exp(rng.normal(0, 0.25))) + np.float32(rng.normal(0, 0.08))
    if rng.random() < 0.45:
        x = _relit(x, rng)
    if rng.random() < 0.35:
        x = _occlusion(x, rng)
    if rng.random() < 0.35:
        few = int(rng.uniform(28, 90))
        x = np.asarray(
            cv2.resize(
                cv2.resize(x, (few, few), interpolation=cv2.INTER_AREA), (SIZE, SIZE), interpolation=cv2.INTER_LINEAR
            )
        )
    elif rng.random() < 0.4:
        x = np.asarray(cv2.GaussianBlur(x, (0, 0), rng.uniform(0.4, 1.8)))
    if rng.random() < 0.4:
        x = x + rng.normal(0, rng.uniform(0.005, 0.045), x.shape).astype(np.float32)
    out = np.clip(255 * x + 0.5, 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        out = _decoded(images.encode_jpeg(out, int(rng.uniform(15, 80))))
    return out


def _makeup(crop: np.ndarray, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The crop with eyes, brows and lips of other lightness, as light, make-up and kin give them, and lights in the
    eyes: how bright an eye is says nothing of how wide it is open.
    """
    x, span = crop.astype(np.float32), interocular_distance(points)

    def over(parts: list[np.ndarray], thick: float, soft: float, strength: float) -> None:
        mask = np.zeros_like(x)
        for part in parts:
            places = np.round(part).astype(np.int32)
            if thick:
                cv2.polylines(mask, [places], False, 1.0, max(1, round(thick * span)), cv2.LINE_AA)
            else:
                cv2.fillPoly(mask, [cv2.convexHull(places)], 1.0)
        np.multiply(x, np.exp(np.float32(strength) * cv2.GaussianBlur(mask, (0, 0), soft * span)), out=x)

    eyes = [points[RIGHT_EYE], points[LEFT_EYE]]
    if rng.random() < 0.6:
        around = [eye.mean(0) + (eye - eye.mean(0)) * rng.uniform(1, 1.8) for eye in eyes]
        over(around, 0, rng.uniform(0.02, 0.08), rng.normal(0, 0.35))
    if rng.random() < 0.4:
        over(
            [points[RIGHT_BROW], points[LEFT_BROW]],
            rng.uniform(0.02, 0.09),
            rng.uniform(0.01, 0.03),
            rng.normal(-0.3, 0.3),
        )
    if rng.random() < 0.4:
        over([points[OUTER_LIPS]], 0, rng.uniform(0.01, 0.04), rng.normal(-0.1, 0.25))
    if rng.random() < 0.3:
        beside, size = rng.normal(0, 0.03, 2) * span, rng.uniform(0.006, 0.02) * span
        for eye in eyes:
            glint = np.zeros_like(x)
            cv2.circle(
                glint,
                [round(float(v) * 16) for v in eye.mean(0) + beside],
                round(max(size, 0.6) * 16),
                1.0,
                -1,
                cv2.LINE_AA,
                4,
            )
            x += glint * (rng.uniform(180, 255) - x)
    return np.clip(x, 0, 255).astype(np.uint8)


def _relit(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another light on it: uneven, stronger from one side, now and then with the edge of a shadow."""
    few = int(rng.integers(2, 5))
    uneven = rng.normal(0, rng.uniform(0.1, 0.45), (few, few)).astype(np.float32)
    x = x * np.exp(cv2.resize(uneven, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC))
    if rng.random() < 0.3:
        along, angle = np.linspace(-1, 1, SIZE, dtype=np.float32), rng.uniform(0, 2 * np.pi)
        beyond = (
            along[None] * np.float32(np.cos(angle))
            + along[:, None] * np.float32(np.sin(angle))
            - np.float32(rng.uniform(-0.4, 0.6))
        )
        x = x * (1 - np.float32(rng.uniform(0.2, 0.8)) * np.clip(beyond / np.float32(rng.uniform(0.02, 0.3)), 0, 1))
    return x


def _hair(crop: np.ndarray, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The crop with hair around the face, short or long, with or without a fringe: rendered heads have caps and carved
    curls.
    """
    across = points[OUTER_EYE_CORNERS[1]] - points[OUTER_EYE_CORNERS[0]]
    span, tilt = float(np.linalg.norm(across)), float(np.degrees(np.arctan2(across[1], across[0])))
    down = np.array([-across[1], across[0]]) / span
    first, last = JAW_ENDS
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
    cover = (
        cv2.GaussianBlur(
            np.where((below < 0) & (inner < 128), outer, 0).astype(np.float32), (0, 0), rng.uniform(0.5, 2)
        )
        / 255
    )
    strands = cv2.resize(
        rng.normal(0, 1, (6, SIZE // 2)).astype(np.float32), (SIZE, SIZE), interpolation=cv2.INTER_LINEAR
    )
    hair = rng.choice((rng.uniform(5, 50), rng.uniform(50, 200))) * (1 + np.float32(rng.uniform(0.05, 0.3)) * strands)
    return np.clip(crop * (1 - cover) + hair * cover, 0, 255).astype(np.uint8)


def _spectacled(crop: np.ndarray, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The crop with the rims of spectacles, and now and then tinted or shining glass."""
    glass, rims = np.zeros_like(crop), crop.copy()
    eyes = points[RIGHT_EYE].mean(0), points[LEFT_EYE].mean(0)
    across = float(np.linalg.norm(eyes[1] - eyes[0]))
    half, tilt = across * rng.uniform(0.30, 0.44), float(np.degrees(np.arctan2(*(eyes[1] - eyes[0])[::-1])))
    shade, thick, round_ = float(rng.uniform(0, 160)), int(rng.integers(1, 4)), rng.random() < 0.5
    for x, y in eyes:
        ring = (float(x), float(y) + 0.1 * half), (2 * half, 2 * half * rng.uniform(0.6, 0.95)), tilt
        if round_:
            cv2.ellipse(rims, ring, shade, thick, cv2.LINE_AA)
            cv2.ellipse(glass, ring, 255.0, -1)
        else:
            corners = cv2.boxPoints(ring).astype(np.int32)
            cv2.polylines(rims, [corners], True, shade, thick, cv2.LINE_AA)
            cv2.fillConvexPoly(glass, corners, 255.0)
    bridge = [
        tuple(int(v) for v in eye + side * half * (eyes[1] - eyes[0]) / across)
        for eye, side in zip(eyes, (1, -1), strict=True)
    ]
    cv2.line(rims, bridge[0], bridge[1], shade, thick, cv2.LINE_AA)
    if rng.random() < 0.4:
        tint = np.float32(rng.uniform(0.05, 0.4)) * (glass / np.float32(255))
        rims = (rims * (1 - tint) + tint * np.float32(rng.choice((30, 230)))).astype(np.uint8)
    return rims


def _occlusion(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Something grey, even or rough, over a part: a broken place, a hand, a stain, a label."""
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
    stuff = np.float32(rng.uniform(0, 1)) + cv2.resize(rough, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
    return x * (1 - mask) + stuff * mask
