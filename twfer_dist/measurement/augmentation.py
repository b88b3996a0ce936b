"""Rendered heads to learn from, and their crops as photographs might show them.

Every example is drawn from (seed, step, position in the batch), so that it does not depend on the number of workers,
and a resumed training sees what an uninterrupted one would have seen. Only which positions have a photograph beside
them depends on the workers (see `consistency.consistent_objective`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from twfer_dist.core import images
from twfer_dist.core.crop import aligned_matrix
from twfer_dist.core.errors import UserError
from twfer_dist.core.landmarks import MIRRORED, apply_affine
from twfer_dist.core.schema import RENDERED
from twfer_dist.core.status import OK
from twfer_dist.engine.artifact import Artifact
from twfer_dist.measurement import effects
from twfer_dist.measurement.network import SIZE


@dataclass(frozen=True)
class Heads:
    """Rendered heads in memory, N of them; those of one corpus are sorted by id."""

    images: np.ndarray  # uint8 (N, S, S), grey
    points: np.ndarray  # float32 (N, 68, 2), pixels
    units: np.ndarray  # float32 (N, 17), 0 to 5
    pose: np.ndarray  # float32 (N, 3), degrees
    figure_ids: np.ndarray  # str (N,)

    @classmethod
    def joined(cls, parts: Sequence["Heads"]) -> "Heads":
        """The heads of several corpora. UserError where their pictures differ in size."""
        if len({part.images.shape[1:] for part in parts}) > 1:
            raise UserError("The pictures to learn from differ in size: make all of them with the same size.")
        return cls(*(np.concatenate(values) for values in zip(*(vars(part).values() for part in parts), strict=True)))

    def of(self, rows: np.ndarray) -> "Heads":
        return Heads(*(value[rows] for value in vars(self).values()))


@dataclass(frozen=True)
class Examples:
    """B crops with their truth, as the network's loss takes them."""

    crops: Tensor  # uint8 (B, 112, 112), grey
    points: Tensor  # float32 (B, 68, 2), pixels of the crop
    units: Tensor  # float32 (B, 17), 0 to 5
    pose: Tensor  # float32 (B, 3), degrees

    def to(self, device: torch.device) -> "Examples":
        return Examples(*(value.to(device, non_blocking=True) for value in vars(self).values()))

    def first(self, count: int) -> "Examples":
        return Examples(*(value[:count] for value in vars(self).values()))


def load_heads(rendered: Artifact) -> Heads:
    """All heads of a rendered corpus. UserError where it holds none."""
    columns = ["figure_id", "action_units", "landmarks68", "pose", "image", "status"]
    grey, truths = [], []
    for batch in rendered.scan(".", RENDERED).to_batches(columns=columns):
        for row in batch.to_pylist():
            if row["status"] == OK:
                image = images.decode_grey(row["image"])
                assert image is not None  # of our own tables
                grey.append(image)
                truths.append((row["figure_id"], row["action_units"], row["landmarks68"], row["pose"]))
    if not grey:
        raise UserError(f"{rendered.uri} holds no rendered heads: render some with plan units.")
    figure_ids, units, points, pose = zip(*truths, strict=True)
    centred = np.array(points, np.float32).reshape(-1, 68, 2) - 0.5  # here pixel centres have whole-number coordinates
    return Heads(np.stack(grey), centred, np.array(units, np.float32), np.array(pose, np.float32), np.array(figure_ids))


def aligned(heads: Heads) -> Examples:
    """The heads unchanged, aligned by their true points."""
    matrices = [aligned_matrix(points, SIZE) for points in heads.points]
    crops = [_warp(image, matrix) for image, matrix in zip(heads.images, matrices, strict=True)]
    points = [apply_affine(points, matrix) for points, matrix in zip(heads.points, matrices, strict=True)]
    return _examples(crops, points, heads.units, _in_crop(heads.pose, matrices))


def augmented(heads: Heads, rows: np.ndarray, seed: tuple[int, ...]) -> Examples:
    """Examples of heads as photographs might show them.

    rows: (B, 2), the index of each head and its position in the batch, which with `seed` decides everything.
    """
    crops, points, matrices, mirrored = [], [], [], []
    for row, position in rows:
        rng = np.random.default_rng((*seed, int(position)))
        looseness = 1.0 if rng.random() < 0.5 else 0.25  # half of the crops are as good as the points' own
        matrix = _jitter(aligned_matrix(heads.points[row], SIZE), looseness, rng)
        moved = apply_affine(heads.points[row], matrix)
        crop = _warp(heads.images[row], matrix, rng)
        if rng.random() < 0.5:
            crop = effects.makeup(crop, moved, rng)
        if rng.random() < 0.25:
            crop = effects.hair(crop, moved, rng)
        if rng.random() < 0.12:
            crop = effects.spectacles(crop, moved, rng)
        crop = effects.camera(crop, rng)
        mirror = rng.random() < 0.5
        if mirror:
            crop = np.ascontiguousarray(crop[:, ::-1])
            moved = np.stack([SIZE - 1 - moved[:, 0], moved[:, 1]], 1)[list(MIRRORED)]
        crops.append(crop)
        points.append(moved)
        matrices.append(matrix)
        mirrored.append(mirror)
    pose = _in_crop(heads.pose[rows[:, 0]], matrices)
    pose[mirrored] *= (-1, 1, -1)
    return _examples(crops, points, heads.units[rows[:, 0]], pose)


def jittered(heads: Heads, rows: np.ndarray, seed: tuple[int, ...]) -> Examples:
    """Examples of heads unchanged but for a slightly misaligned crop. rows, seed: as in `augmented`."""
    crops, points, matrices = [], [], []
    for row, position in rows:
        matrix = _jitter(aligned_matrix(heads.points[row], SIZE), 0.4, np.random.default_rng((*seed, int(position))))
        crops.append(_warp(heads.images[row], matrix))
        points.append(apply_affine(heads.points[row], matrix))
        matrices.append(matrix)
    return _examples(crops, points, heads.units[rows[:, 0]], _in_crop(heads.pose[rows[:, 0]], matrices))


def _examples(crops: list[np.ndarray], points: list[np.ndarray], units: np.ndarray, pose: np.ndarray) -> Examples:
    stacked = torch.from_numpy(np.stack(crops)), torch.from_numpy(np.stack(points).astype(np.float32))
    return Examples(*stacked, torch.from_numpy(units), torch.from_numpy(pose.astype(np.float32)))


def _in_crop(pose: np.ndarray, matrices: list[np.ndarray]) -> np.ndarray:
    """Yaw, pitch and roll as the crop shows them."""
    turned = pose.copy()
    turned[:, 2] -= [np.degrees(np.arctan2(m[1, 0], m[0, 0])) for m in matrices]
    return turned


def _jitter(matrix: np.ndarray, looseness: float, rng: np.random.Generator) -> np.ndarray:
    """The matrix of a turned, scaled and shifted crop, at looseness 1 as imprecise as a detector's."""
    angle, scale = np.radians(rng.normal(0, 12 * looseness)), np.exp(rng.normal(0, 0.10 * looseness))
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    turn = np.array([[cosine, -sine], [sine, cosine]])
    shift = rng.normal(0, 0.05 * looseness, 2) * SIZE
    middle = SIZE / 2
    return np.column_stack([turn @ matrix[:, :2], turn @ (matrix[:, 2] - middle) + middle + shift]).astype(np.float32)


def _warp(image: np.ndarray, matrix: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
    """The crop; beyond the image's edge its pixels are repeated or, if `rng` says so, reflected."""
    border = cv2.BORDER_REPLICATE if rng is None or rng.random() < 0.5 else cv2.BORDER_REFLECT
    return cv2.warpAffine(image, matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR, borderMode=border)
