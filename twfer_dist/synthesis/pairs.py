"""Training images for a generator: pairs of one figure that differ only in Action Units, from rendered heads, and faces
of photographs, whose Action Units are known but which have no such pairs.

Augmentation shifts, mirrors, tints, desaturates and blurs both images of a pair alike, as detectors and photographs do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.nn import functional as F

from twfer_dist.core.errors import UserError
from twfer_dist.core.images import decode
from twfer_dist.core.schema import FACES, RENDERED
from twfer_dist.core.status import OK
from twfer_dist.core.taxonomy import to_unit
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact

SHIFT = 3
"""The largest shift, in pixels of 64; always whole pixels, so that nothing is blurred."""


@dataclass(frozen=True)
class PairBatch:
    """The pairs of a batch and their augmentation: numpy arrays of B rows, cheap to split between workers."""

    source: np.ndarray  # int64 (B,): index of the input image
    target: np.ndarray  # int64 (B,): index of the true output image
    shift: np.ndarray  # int64 (B, 2): pixels down and right
    mirror: np.ndarray  # bool (B,)
    tone: np.ndarray  # float32 (B, 4): gamma, and gains of red, green and blue
    grey: np.ndarray  # float32 (B,), 0 to 1: desaturation
    soft: np.ndarray  # float32 (B,), 0 to 1: blur
    mix: np.ndarray  # float32 (B,): where the gradient penalty is taken between real and fake

    def share(self, rank: int, workers: int) -> "PairBatch":
        """The rows of worker `rank` of `workers`."""
        return PairBatch(*(np.array_split(value, workers)[rank] for value in vars(self).values()))


class Pairs:
    """Images of scenes in memory.

    images: uint8 (N, S, S, 3) RGB. units: float32 (N, 17) in 0..1. labels: int (N,), 0 where the Action Units are free.
    scenes: the indices of each scene's images, from neutral (the smallest Action Units) to strong. Faces of photographs
    form one scene, and of a target only the Action Units are used. neutral: share of the inputs that are the neutral
    image of their scene.
    """

    def __init__(
        self, images: np.ndarray, units: np.ndarray, labels: np.ndarray, scenes: list[np.ndarray], neutral: float = 0.5
    ) -> None:
        self.images, self.units, self.labels, self.scenes, self.neutral = images, units, labels, scenes, neutral

    @classmethod
    def joined(cls, parts: Sequence["Pairs"]) -> "Pairs":
        """The scenes of several corpora, whose images have one size."""
        starts = np.cumsum([0, *(len(part.images) for part in parts)])
        return cls(
            np.concatenate([part.images for part in parts]),
            np.concatenate([part.units for part in parts]),
            np.concatenate([part.labels for part in parts]),
            [scene + start for part, start in zip(parts, starts, strict=False) for scene in part.scenes],
            parts[0].neutral,
        )

    def subset(self, scenes: Sequence[int]) -> "Pairs":
        """Only the given scenes."""
        chosen = [self.scenes[k] for k in scenes]
        keep = np.sort(np.concatenate(chosen))
        numbers = [np.searchsorted(keep, scene) for scene in chosen]
        return Pairs(self.images[keep], self.units[keep], self.labels[keep], numbers, self.neutral)

    def draw(self, rng: np.random.Generator, count: int) -> PairBatch:
        """`count` random pairs with random augmentation."""
        scenes = [self.scenes[k] for k in rng.integers(len(self.scenes), size=count)]
        any_source = np.array([rng.choice(scene) for scene in scenes])
        target = np.array([rng.choice(scene) for scene in scenes])
        neutral = np.array([scene[0] for scene in scenes])
        shift = round(SHIFT * self.images.shape[1] / 64)
        return PairBatch(
            np.where(rng.random(count) < self.neutral, neutral, any_source),
            target,
            rng.integers(-shift, shift + 1, (count, 2)),
            rng.random(count) < 0.5,
            np.exp(rng.normal(0, [0.2, 0.06, 0.06, 0.06], (count, 4))).astype(np.float32),
            ((rng.random(count) < 0.4) * rng.random(count)).astype(np.float32),
            ((rng.random(count) < 0.4) * rng.random(count)).astype(np.float32),
            rng.random(count, dtype=np.float32),
        )

    def neutral_batch(self, count: int) -> PairBatch:
        """Up to `count` pairs from each scene's neutral image to its others, evenly spaced, without augmentation."""
        pairs = np.array([(scene[0], other) for scene in self.scenes for other in scene[1:]])
        chosen = pairs[np.linspace(0, len(pairs) - 1, min(count, len(pairs))).round().astype(int)]
        return self.unaugmented(chosen[:, 0], chosen[:, 1])

    def unaugmented(self, source: np.ndarray, target: np.ndarray) -> PairBatch:
        """The pairs source -> target, int64 (B,) each, without augmentation."""
        n = len(source)
        none = np.zeros(n, np.float32)
        return PairBatch(
            source, target, np.zeros((n, 2), np.int64), np.zeros(n, bool), np.ones((n, 4), np.float32), none, none, none
        )

    def batch(self, chosen: PairBatch, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Tensors of a batch: image and truth, float32 (B, 3, S, S) in -1..1, and the Action Units of both, float32 (B,
        17) in 0..1.
        """
        n, side = len(chosen.source), self.images.shape[1]
        index = np.concatenate([chosen.source, chosen.target])
        shifted = np.clip(np.arange(side) - np.tile(chosen.shift, (2, 1))[:, :, None], 0, side - 1)  # (2B, 2, S)
        rows, columns = shifted[:, 0], shifted[:, 1]
        columns = np.where(np.tile(chosen.mirror, 2)[:, None], side - 1 - columns, columns)
        pixels = self.images[index[:, None, None], rows[:, :, None], columns[:, None, :]]
        tone = torch.from_numpy(chosen.tone).to(device).repeat(2, 1)[:, :, None, None]
        grey, soft = (
            torch.from_numpy(share).to(device).repeat(2)[:, None, None, None] for share in (chosen.grey, chosen.soft)
        )
        image = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float() / 255
        image = image.lerp(image.mean(1, keepdim=True), grey)
        image = image.lerp(
            F.interpolate(F.avg_pool2d(image, 2), scale_factor=2.0, mode="bilinear", align_corners=False), soft
        )
        image = (image ** tone[:, :1] * tone[:, 1:]).clamp(0, 1) * 2 - 1
        units = torch.from_numpy(self.units[index]).to(device)
        return image[:n], image[n:], units[:n], units[n:]


def load_scenes(rendered: Artifact, size: int) -> tuple[Pairs, list[str]]:
    """The scenes with at least two images of heads rendered as crops, at `size` pixels, and each scene's figure."""
    table = rendered.table(".", RENDERED, columns=["image_id", "figure_id", "scene", "label", "action_units", "status"])
    rows = [row for row in table.to_pylist() if row["status"] == OK]
    units = to_unit(np.array([row["action_units"] for row in rows], np.float32).reshape(len(rows), -1))
    scenes: dict[str, list[int]] = {}
    for index in sorted(range(len(rows)), key=lambda i: (units[i].sum(), rows[i]["image_id"])):
        scenes.setdefault(rows[index]["scene"], []).append(index)
    usable = [np.array(scene) for _, scene in sorted(scenes.items()) if len(scene) > 1]
    images = np.zeros((len(rows), size, size, 3), np.uint8)
    _read_images(rendered, ".", RENDERED, {row["image_id"]: index for index, row in enumerate(rows)}, images)
    labels = np.array([row["label"] or 0 for row in rows])
    return Pairs(images, units, labels, usable), [rows[scene[0]]["figure_id"] for scene in usable]


def load_pairs(rendered: Sequence[Artifact], size: int, held_out: float) -> tuple[Pairs, Pairs]:
    """The scenes of the training figures and of the held-out figures of all corpora (see `load_scenes`).

    held_out: share of the figures, at least one, chosen by a hash of their names. Raises UserError unless two figures
    have a scene with at least two images.
    """
    loaded = [load_scenes(artifact, size) for artifact in rendered]
    pairs = Pairs.joined([scenes for scenes, _ in loaded])
    figures = [f"{number}/{name}" for number, (_, names) in enumerate(loaded) for name in names]
    names = sorted(set(figures), key=lambda name: storage.sha256(name.encode()))
    if len(names) < 2:
        raise UserError(
            f"{', '.join(artifact.uri for artifact in rendered)} needs at least two figures with two images of one "
            "scene to train a generator: render more."
        )
    test_figures = set(names[: max(1, round(held_out * len(names)))])
    learn, test = (
        [k for k, figure in enumerate(figures) if (figure in test_figures) == held] for held in (False, True)
    )
    return pairs.subset(learn), pairs.subset(test)


def load_faces(faces: Sequence[Artifact], size: int) -> Pairs:
    """The faces with Action Units at `size` pixels, as one scene. Raises UserError for fewer than two."""
    rows: list[dict[str, Any]] = []
    for artifact in faces:
        table = artifact.table("faces", FACES, columns=["face_id", "label", "action_units", "status"])
        rows += [{**row, "from": artifact} for row in table.to_pylist() if row["status"] == OK and row["action_units"]]
    if len(rows) < 2:
        raise UserError(
            f"{', '.join(artifact.uri for artifact in faces)} has fewer than two faces with Action Units to train a "
            "generator: add an OpenFace table to the corpus."
        )
    units = to_unit(np.array([row["action_units"] for row in rows], np.float32))
    images = np.zeros((len(rows), size, size, 3), np.uint8)
    for artifact in faces:
        index = {row["face_id"]: k for k, row in enumerate(rows) if row["from"] is artifact}
        _read_images(artifact, "faces", FACES, index, images)
    labels = np.array([row["label"] or 0 for row in rows])
    return Pairs(images, units, labels, [np.argsort(units.sum(axis=1), kind="stable")], neutral=0)


def _read_images(
    artifact: Artifact, table: str, expected: pa.Schema, index: Mapping[str, int], images: np.ndarray
) -> None:
    """Decode the image of each id in `index` into `images`, uint8 (N, S, S, 3) RGB, at its index."""
    key = expected.names[0]
    for batch in artifact.scan(table, expected).to_batches(columns=[key, "image"], batch_size=256):
        for image_id, data in zip(batch[key].to_pylist(), batch["image"].to_pylist(), strict=True):
            if image_id in index:
                if (image := decode(data)) is None:
                    raise UserError(
                        f"{artifact.uri}: the image of {image_id} cannot be decoded; delete the directory and run the "
                        "stage again."
                    )
                images[index[image_id]] = cv2.resize(image, images.shape[1:3], interpolation=cv2.INTER_AREA)
