"""How good the measuring of faces is, on rendered heads whose truth is known, from a detector's framing on."""

import time
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from twfer_dist.core.crop import crop_matrix
from twfer_dist.core.errors import UserError
from twfer_dist.core.images import to_rgb
from twfer_dist.core.taxonomy import ACTION_UNITS
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.config import package_path
from twfer_dist.measurement import augmentation, training
from twfer_dist.measurement.analyzer import Face, FaceAnalyzer, open_analyzer, open_network
from twfer_dist.measurement.network import SIZE, standardised

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.9, 0.95)
# standard deviation of a detector's place and size, of the box's longer side; as measured in faces.detector
_OFF = 0.04

TEST = package_path("package:weights/faces-test")
"""What ships: 600 rendered heads of figures and in materials that are in no training (jobs/faces.yaml)."""

BENCH_BATCH = 32
_BENCH_SECONDS = 3.0


def evaluate(weights: str, rendered: Artifact) -> dict[str, Any]:
    """`learning.scores` on the heads of `rendered`, found as the faces stage finds them in photographs; `missed`: heads
    not seen.
    """
    heads = augmentation.load_heads(rendered)
    seen = [(k, face) for k, face in enumerate(measured(open_analyzer(weights), heads.images, heads.points)) if face]
    if not seen:
        raise UserError(
            f"{weights} sees none of the heads of {rendered.uri}: name the weights of a network that measures faces."
        )
    rows, faces = zip(*seen, strict=True)
    truth = [torch.from_numpy(value[list(rows)]) for value in (heads.images, heads.points, heads.units, heads.pose)]
    points, units, pose = (np.stack([getattr(face, name) for face in faces]) for name in ("points", "units", "pose"))
    half_width_90 = None if faces[0].half_width_90 is None else np.stack([face.half_width_90 for face in faces])
    return training.scores(points, units, pose, augmentation.Examples(*truth), half_width_90) | {
        "missed": len(heads.images) - len(seen)
    }


def measured_units(weights: str, rendered: Artifact) -> dict[str, Any]:
    """What the network reads on the heads of `rendered`: the `quantiles` of each of `units`, against which a corpus can
    be held.
    """
    heads = augmentation.load_heads(rendered)
    values = np.stack([face.units for face in measured(open_analyzer(weights), heads.images, heads.points) if face])
    found = np.quantile(values, QUANTILES, axis=0).round(3).T.tolist()
    return {"heads": len(values), "quantiles": list(QUANTILES), "units": dict(zip(ACTION_UNITS, found, strict=True))}


def measured(analyzer: FaceAnalyzer, images: Iterable[np.ndarray], points: Iterable[np.ndarray]) -> list[Face | None]:
    """Heads (uint8 grey) measured from framings that are about as good as a detector's. points: the true ones (68,
    2).
    """
    found: list[Face | None] = []
    for number, (image, places) in enumerate(zip(images, points, strict=True)):
        rng = np.random.default_rng(number)
        low, high = places.min(0), places.max(0)
        side = (high - low).max()
        box = np.concatenate([low + rng.normal(0, _OFF * side, 2), (high - low) * np.exp(rng.normal(0, _OFF))])
        found += analyzer.measure(to_rgb(image), [crop_matrix(box, SIZE)])
    return found


@torch.inference_mode()
def bench(weights: str) -> dict[str, Any]:
    """Faces a second through the network alone, in batches of 32 on one core."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        network = open_network(weights).network
        crops = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (BENCH_BATCH, SIZE, SIZE), np.uint8))
        network(standardised(crops).contiguous(memory_format=torch.channels_last))
        done, started = 0, time.monotonic()
        while time.monotonic() - started < _BENCH_SECONDS:
            network(standardised(crops).contiguous(memory_format=torch.channels_last))
            done += BENCH_BATCH
        return {"batch": BENCH_BATCH, "cores": 1, "faces_per_second": round(done / (time.monotonic() - started), 1)}
    finally:
        torch.set_num_threads(threads)
