"""Images to train a generator on: pairs of one figure that differ in Action Units alone, from heads rendered as crops;
and faces of photographs, whose Action Units are known and that have no such pairs.

A draw shifts, mirrors, tints, greys and softens both images of a pair alike, because a detector's crops and photographs
vary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

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
"""At most so many pixels of 64 are images shifted; whole pixels, so that nothing is blurred."""


@dataclass(frozen=True)
class PairBatch:
    """Which pairs a batch holds and how they are changed: numpy arrays of B rows, cheap to cut into workers' shares."""

    source: np.ndarray  # int64 (B,), index of the input image
    target: np.ndarray  # int64 (B,), index of the image that should come out
    shift: np.ndarray  # int64 (B, 2): pixels down and right
    mirror: np.ndarray  # bool (B,)
    tone: np.ndarray  # float32 (B, 4): exponent, and a factor for each of red, green, blue
    grey: np.ndarray  # float32 (B,), 0 to 1: how much of the colour is taken away
    soft: np.ndarray  # float32 (B,), 0 to 1: how much of the detail of single pixels is taken away
    mix: np.ndarray  # float32 (B,): where between real and fake the gradient penalty looks

    def share(self, rank: int, workers: int) -> "PairBatch":
        """The rows of worker `rank` of `workers`."""
        return PairBatch(*(np.array_split(value, workers)[rank] for value in vars(self).values()))


class Pairs:
    """Images of scenes in memory.

    images: uint8 (N, S, S, 3) RGB; units: float32 (N, 17) in 0..1; labels: int (N,), 0 where the Action Units are free;
    scenes: for each scene the indices of its images, from neutral (the least Action Units) to strong. Faces of
    photographs are one scene: a draw's truth then lends its Action Units alone. neutral: share of the inputs that are
    their scene's calmest image.
    """

    def __init__(
        self, images: np.ndarray, units: np.ndarray, labels: np.ndarray, scenes: list[np.ndarray], neutral: float = 0.5
    ) -> None:
        self.images, self.units, self.labels, self.scenes, self.neutral = images, units, labels, scenes, neutral

    def of(self, scenes: Sequence[int]) -> "Pairs":
        """Some of the scenes alone."""
        chosen = [self.scenes[k] for k in scenes]
        keep = np.sort(np.concatenate(chosen))
        numbers = [np.searchsorted(keep, scene) for scene in chosen]
        return Pairs(self.images[keep], self.units[keep], self.labels[keep], numbers, self.neutral)

    def draw(self, rng: np.random.Generator, count: int) -> PairBatch:
        """`count` random pairs, changed at random."""
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
        """Up to `count` unchanged pairs from the calmest image of each scene to others of it, spread evenly, always the
        same.
        """
        every = np.array([(scene[0], other) for scene in self.scenes for other in scene[1:]])
        chosen = every[np.linspace(0, len(every) - 1, min(count, len(every))).round().astype(int)]
        return self.plain(chosen[:, 0], chosen[:, 1])

    def plain(self, source: np.ndarray, target: np.ndarray) -> PairBatch:
        """The pairs figure -> target, unchanged."""
        n = len(source)
        none = np.zeros(n, np.float32)
        return PairBatch(
            source, target, np.zeros((n, 2), np.int64), np.zeros(n, bool), np.ones((n, 4), np.float32), none, none, none
        )

    def batch(self, draw: PairBatch, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """A draw as tensors: image and truth float32 (B, 3, S, S) in -1..1, and their Action Units float32 (B, 17) in
        0..1.
        """
        n, side = len(draw.source), self.images.shape[1]
        index = np.concatenate([draw.source, draw.target])
        place = np.clip(np.arange(side) - np.tile(draw.shift, (2, 1))[:, :, None], 0, side - 1)  # (2B, 2, S)
        across = np.where(np.tile(draw.mirror, 2)[:, None], side - 1 - place[:, 1], place[:, 1])
        pixels = self.images[index[:, None, None], place[:, 0][:, :, None], across[:, None, :]]
        tone = torch.from_numpy(draw.tone).to(device).repeat(2, 1)[:, :, None, None]
        grey, soft = (
            torch.from_numpy(share).to(device).repeat(2)[:, None, None, None] for share in (draw.grey, draw.soft)
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
    """The scenes of at least two images of heads rendered as crops, at `size` pixels, and the figure of each scene."""
    light = rendered.table(".", RENDERED, columns=["image_id", "figure_id", "scene", "label", "action_units", "status"])
    rows = [row for row in light.to_pylist() if row["status"] == OK]
    units = to_unit(np.array([row["action_units"] for row in rows], np.float32).reshape(len(rows), -1))
    scenes: dict[str, list[int]] = {}
    for index in sorted(range(len(rows)), key=lambda i: (units[i].sum(), rows[i]["image_id"])):
        scenes.setdefault(rows[index]["scene"], []).append(index)
    usable = [np.array(scene) for _, scene in sorted(scenes.items()) if len(scene) > 1]
    images = np.zeros((len(rows), size, size, 3), np.uint8)
    _read(rendered, ".", RENDERED, {row["image_id"]: index for index, row in enumerate(rows)}, images)
    labels = np.array([row["label"] or 0 for row in rows])
    return Pairs(images, units, labels, usable), [rows[scene[0]]["figure_id"] for scene in usable]


def load_pairs(rendered: Artifact, size: int, held_out: float) -> tuple[Pairs, Pairs]:
    """The scenes of the figures to learn from and of those held out to be tested on (see `load_scenes`).

    held_out: share of the figures, at least one, chosen by the hash of their name. Problem where there are no two
    figures with scenes of at least two images.
    """
    every, figures = load_scenes(rendered, size)
    names = sorted(set(figures), key=lambda name: storage.sha256(name.encode()))
    if len(names) < 2:
        raise UserError(
            f"{rendered.uri} has no two figures with two images of one scene each: render more to train a generator on."
        )
    tested = set(names[: max(1, round(held_out * len(names)))])
    learn, test = ([k for k, figure in enumerate(figures) if (figure in tested) == inside] for inside in (False, True))
    return every.of(learn), every.of(test)


def load_faces(faces: Sequence[Artifact], size: int) -> Pairs:
    """The faces with Action Units at `size` pixels, as one scene. Problem where there are no two."""
    rows: list[dict] = []
    for finished in faces:
        light = finished.table("faces", FACES, columns=["face_id", "label", "action_units", "status"])
        rows += [{**row, "from": finished} for row in light.to_pylist() if row["status"] == OK and row["action_units"]]
    if len(rows) < 2:
        places = ", ".join(finished.uri for finished in faces)
        raise UserError(
            f"{places} has no two faces with Action Units to train a generator on: give the corpus an OpenFace table."
        )
    units = to_unit(np.array([row["action_units"] for row in rows], np.float32))
    images = np.zeros((len(rows), size, size, 3), np.uint8)
    for finished in faces:
        _read(
            finished,
            "faces",
            FACES,
            {row["face_id"]: k for k, row in enumerate(rows) if row["from"] is finished},
            images,
        )
    labels = np.array([row["label"] or 0 for row in rows])
    return Pairs(images, units, labels, [np.argsort(units.sum(axis=1), kind="stable")], neutral=0)


def _read(finished: Artifact, table: str, expected: pa.Schema, wanted: dict[str, int], images: np.ndarray) -> None:
    """Put the images with the ids `wanted` into `images`, uint8 (N, S, S, 3) RGB, at their index."""
    key = expected.names[0]
    for batch in finished.scan(table, expected).to_batches(columns=[key, "image"], batch_size=256):
        for image_id, data in zip(batch[key].to_pylist(), batch["image"].to_pylist(), strict=True):
            if image_id in wanted:
                if (image := decode(data)) is None:
                    raise UserError(
                        f"{finished.uri}: the image of {image_id} cannot be decoded; delete the directory and make "
                        "it again."
                    )
                images[wanted[image_id]] = cv2.resize(image, images.shape[1:3], interpolation=cv2.INTER_AREA)
