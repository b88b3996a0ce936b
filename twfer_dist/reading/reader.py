"""The reader in a file: from measured Action Units and their uncertainties to expressions, with reasons."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from twfer_dist.core.errors import UserError
from twfer_dist.core.language import mark
from twfer_dist.core.taxonomy import ACTION_UNIT_MOVEMENTS, ACTION_UNITS, MAX_INTENSITY, NEUTRAL
from twfer_dist.engine.config import package_path
from twfer_dist.measurement.face import LAPLACE_90
from twfer_dist.reading.network import ReaderNetwork
from twfer_dist.training import weights

NAME = "reader"
"""The reader's name in tables of predictions."""

WEIGHTS = "reader.safetensors"
SHIPPED = package_path("package:weights/reader.safetensors")

_REASONS = 3  # units named at most
AT_REST = mark("nothing far above a face at rest; most ")
"""How the reason for an answer begins where no unit decided it."""

_LEAST_PART = 0.2  # of the strongest reason, for a unit to be named too


@dataclass(frozen=True)
class Reading:
    """What one face shows."""

    probabilities: np.ndarray  # float32 (7,), calibrated
    intensities: np.ndarray  # float32 (7,), 0 to 1: how strongly each expression is shown
    reason: str  # the units that decided the answer


@dataclass(frozen=True)
class Reader:
    """A trained reader.

    draws: float32 (D, 17), of Laplace distributions of scale 1: a face's probabilities are averaged over them, so that
    an uncertain measurement gives an uncertain answer. rest: float32 (17,), the median units of expressionless faces.
    threshold: the probability from which an answer is accepted. held_out: its errors on heads of figures that it was
    not trained on, disturbed as photographs may be (`recognition.calibration.Confusion.as_dict`).
    """

    network: ReaderNetwork
    draws: np.ndarray
    rest: np.ndarray
    threshold: float
    held_out: dict[str, Any]
    sha256: str

    def read(self, units: np.ndarray, half_width_90: np.ndarray | None) -> Reading:
        """The reading of one face, whatever other faces are read.

        units: (17,), 0 to 5. half_width_90: (17,), half of each unit's 90 % interval; None where it is unknown.
        """
        scale = np.zeros_like(self.rest) if half_width_90 is None else half_width_90 / LAPLACE_90
        drawn = np.clip(units + self.draws * scale, 0, MAX_INTENSITY)
        probabilities, intensities = (values.mean(0) for values in self.answers(drawn))
        reason = self._reason(units, half_width_90, int(probabilities.argmax()))
        return Reading(probabilities, intensities, reason)

    def relative(self, units: np.ndarray, half_width_90: np.ndarray | None, median: np.ndarray) -> Reading:
        """The reading once `median` (17,), the units of a corpus's median face, is taken for a face at rest."""
        return self.read(np.clip(units - median + self.rest, 0, MAX_INTENSITY), half_width_90)

    @torch.inference_mode()
    def answers(self, units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities and intensities, float32 (B, 7), of exact units (B, 17)."""
        probabilities, intensities = self.network(torch.from_numpy(np.asarray(units, np.float32)))
        return probabilities.numpy(), intensities.numpy()

    def _reason(self, units: np.ndarray, half_width_90: np.ndarray | None, answer: int) -> str:
        """The units without which the answer would be less probable, the most important first."""
        without = np.tile(units, (len(ACTION_UNITS) + 1, 1)).astype(np.float32)
        np.fill_diagonal(without, self.rest)  # the last row stays as it is
        log_probability = np.log(self.answers(without)[0][:, answer] + 1e-9)
        parts = log_probability[-1] - log_probability[:-1]
        raised = units > self.rest
        order = [k for k in np.argsort(-parts) if parts[k] > 0 and raised[k]]
        if answer + 1 == NEUTRAL or not order:
            strongest = int((units - self.rest).argmax())
            return AT_REST + _shown(strongest, units, half_width_90)
        named = [k for k in order[:_REASONS] if parts[k] >= _LEAST_PART * parts[order[0]]]
        return ", ".join(_shown(k, units, half_width_90) for k in named)


def _shown(k: int, units: np.ndarray, half_width_90: np.ndarray | None) -> str:
    doubt = "" if half_width_90 is None else f" ± {half_width_90[k]:.1f}"
    return f"{ACTION_UNITS[k]} {ACTION_UNIT_MOVEMENTS[k]} {units[k]:.1f}{doubt}"


def to_bytes(reader: Reader, *, recipe: str) -> bytes:
    """A file for `open_reader`. recipe: the stage's fingerprint, kept in the metadata."""
    extra = {"draws": reader.draws, "rest": reader.rest, "threshold": np.array([reader.threshold])}
    tensors = {name: torch.from_numpy(value.astype(np.float32)) for name, value in extra.items()}
    metadata = {"recipe": recipe, "held_out": json.dumps(reader.held_out)}
    return weights.encode(reader.network, metadata=metadata, extra=tensors)


def open_reader(uri: str = SHIPPED) -> Reader:
    """The reader in a file of `to_bytes`. UserError where the file is missing, damaged or of another model."""
    remedy = "name the weights of a reader, or leave it out"
    file = weights.read(uri, remedy)
    tensors = file.tensors
    try:
        draws, rest, threshold = (tensors.pop(name).numpy() for name in ("draws", "rest", "threshold"))
        members = len({name.split(".")[1] for name in tensors})
        network = ReaderNetwork(members, len(tensors["members.0.0.bias"]))
        network.load_state_dict(tensors)
        held_out = json.loads(file.metadata["held_out"])
        fits = draws.ndim == 2 and draws.shape[1:] == rest.shape == (len(ACTION_UNITS),) and threshold.size == 1
    except (KeyError, IndexError, ValueError, RuntimeError):
        fits = False
    if not fits:
        raise UserError(f"{uri} holds the weights of another model: {remedy}.")
    network.eval()
    return Reader(network, draws, rest, float(threshold[0]), held_out, file.sha256)
