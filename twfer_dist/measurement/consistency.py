"""Photographs beside the rendered heads: nobody knows their Action Units, but a change of light or lens moves none.

In every augmented view of a photograph the network learns to give the answer that an earlier one gives for the
photograph itself (consistency; Laine and Aila 2017), while the rendered heads hold it to the truth.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow.compute as pc
import torch
from torch import Tensor, nn

from twfer_dist.core import images
from twfer_dist.core.errors import UserError
from twfer_dist.core.landmarks import apply_affine
from twfer_dist.core.schema import FACES
from twfer_dist.core.status import OK
from twfer_dist.core.taxonomy import MAX_INTENSITY
from twfer_dist.engine.artifact import Artifact
from twfer_dist.measurement import augmentation, training
from twfer_dist.measurement.analyzer import open_network
from twfer_dist.measurement.augmentation import Examples, Heads
from twfer_dist.measurement.network import UNITS, Measured, predict_batch
from twfer_dist.measurement.training import MeasuringConfig, TrainingObjective

VIEWS = 8
"""Slightly different crops of a photograph over which the earlier network's answer is averaged."""

_EVERY = 2  # a photograph is shown beside every other head


def load_photographs(faces: Sequence[Artifact]) -> Heads:
    """The measured faces of outputs of `twfer faces`; `answered` fills in their units. UserError where none is."""
    columns = ["figure_id", "landmarks68", "crop_matrix", "pose", "image", "status"]
    tables = [artifact.table("faces", FACES, columns=columns) for artifact in faces]
    usable = (pc.field("status") == OK) & pc.field("landmarks68").is_valid()
    measured = [row for table in tables for row in table.filter(usable).to_pylist()]
    if not measured:
        raise UserError(f"{faces[0].uri} holds no measured face: name photographs with faces.")
    parts = []
    for row in measured:
        crop = images.decode_grey(row["image"])
        assert crop is not None  # of our own tables
        matrix = np.array(row["crop_matrix"], np.float32).reshape(2, 3)
        points = apply_affine(np.array(row["landmarks68"], np.float32), matrix)
        pose = np.array([row["pose"]], np.float32)
        parts.append(
            Heads(crop[None], points[None], np.zeros((1, UNITS), np.float32), pose, np.array([row["figure_id"]]))
        )
    return Heads.joined(parts)


def answered(photographs: Heads, network: nn.Module, seed: int) -> Heads:
    """The photographs with the units that `network`, in inference mode, reads in them: means over VIEWS slightly
    misaligned crops of each, and their mirror images.
    """
    rows = np.arange(len(photographs.images))
    units = []
    for view in range(VIEWS):
        crops = augmentation.jittered(photographs, np.stack([rows, rows], 1), (seed, 4, view)).crops
        units.append(torch.cat([predict_batch(network, part).units for part in crops.split(64)]).numpy())
    return replace(photographs, units=np.clip(np.mean(units, 0), 0, MAX_INTENSITY).astype(np.float32))


def consistent_objective(
    heads: Heads, photographs: Heads, config: MeasuringConfig, device: torch.device | str = "cpu"
) -> TrainingObjective:
    """`training.measurement_objective`, with a photograph beside every other head of a worker's share, and a further
    term of the loss for them: `config.consistency` times the squared error of the units against those of `photographs`.
    """
    alone = training.measurement_objective(heads, config, device)
    deviations = training.deviations(heads).to(device)

    def draw(heads: Heads, rows: np.ndarray, seed: tuple[int, ...]) -> Examples:
        positions = rows[::_EVERY, 1]
        chosen = [np.random.default_rng((*seed, 5, int(p))).integers(len(photographs.images)) for p in positions]
        pictured = augmentation.augmented(photographs, np.stack([chosen, positions], 1), (*seed, 6))
        shown = alone.draw(heads, rows, seed)
        return Examples(*(torch.cat(both) for both in zip(vars(shown).values(), vars(pictured).values(), strict=True)))

    def loss_of(prediction: Measured, truth: Examples) -> dict[str, Tensor]:
        count = len(truth.units) * _EVERY // (_EVERY + 1)
        terms = alone.loss_of(prediction.first(count), truth.first(count))
        errors = (prediction.units[count:] - truth.units[count:]) / deviations
        return terms | {"photographs": config.consistency * (errors**2).mean()}

    return TrainingObjective(alone.rows_of, draw, loss_of)


@dataclass(frozen=True)
class ObjectiveOf:
    """Makes the objective of a network that measures faces: where there are photographs, with the answers that the
    network in the file `initial` gives for them.
    """

    photographs: tuple[Artifact, ...]
    initial: str

    def __call__(self, heads: Heads, config: MeasuringConfig, device: torch.device | str) -> TrainingObjective:
        if not self.photographs:
            return training.measurement_objective(heads, config, device)
        photographs = answered(load_photographs(self.photographs), open_network(self.initial).network, config.seed)
        return consistent_objective(heads, photographs, config, device)
