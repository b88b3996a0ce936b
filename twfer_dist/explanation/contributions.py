"""How much each Action Unit moved the reader's answer: Shapley values."""

import hashlib

import numpy as np
import torch
from captum.attr import ShapleyValueSampling
from torch import Tensor

from twfer_dist.core.taxonomy import ACTION_UNITS, MAX_INTENSITY
from twfer_dist.measurement.face import LAPLACE_90
from twfer_dist.reading.reader import Reader

PERMUTATIONS = 40
"""Orders in which the units are added. Twice as many change a value by 0.01 at most."""


def contributions(
    reader: Reader, units: np.ndarray, half_width_90: np.ndarray | None, label: int, face_id: str
) -> tuple[np.ndarray, float]:
    """What each unit adds to the probability of `label` (1 to 7), float32 (17,), and the probability of a face at rest.

    Shapley values (Shapley 1953), the mean gain over orders in which the units go from their value at rest to the
    measured one; PERMUTATIONS orders are drawn, seeded by the face (Castro, Gómez and Tejada 2009). Together with the
    probability at rest they add up to the reader's. units: (17,), 0 to 5. half_width_90: as in `Reader.read`.
    """
    scale = np.zeros_like(reader.rest) if half_width_90 is None else half_width_90 / LAPLACE_90
    noise = reader.draws * scale

    def probability(batch: Tensor) -> Tensor:
        drawn = np.clip(batch.numpy()[:, None] + noise[None], 0, MAX_INTENSITY)
        answers = reader.answers(drawn.reshape(-1, len(ACTION_UNITS)))[0]
        return torch.from_numpy(answers[:, label - 1].reshape(len(batch), -1).mean(1))

    face, rest = (torch.from_numpy(np.asarray(values, np.float32)[None]) for values in (units, reader.rest))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int.from_bytes(hashlib.sha256(face_id.encode()).digest()[:4]))
        # Captum adds up the gains of each order, so that the sum is exact; only its division among units is drawn.
        found = ShapleyValueSampling(probability).attribute(
            face, baselines=rest, n_samples=PERMUTATIONS, perturbations_per_eval=len(ACTION_UNITS)
        )
    return found[0].numpy().astype(np.float32), float(probability(rest)[0])
