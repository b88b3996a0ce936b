"""How good the measuring of faces is, on rendered heads whose truth is known, from a detector's framing on."""

import time
from typing import Any

import cv2
import numpy as np
import torch

from twfer_dist.faces import examples, learning
from twfer_dist.faces.examples import Heads
from twfer_dist.faces.measure import LoadedNetwork, measure, open_network
from twfer_dist.faces.network import SIZE, standardised
from twfer_dist.framing import crop_matrix
from twfer_dist.settings import package_path
from twfer_dist.storage import Finished

_OFF = 0.04  # standard deviation of a detector's place and size, of the box's longer side; as measured in faces.detector

TEST = package_path("package:weights/faces-test")
"""What ships: 600 rendered heads of figures and in materials that are in no training (jobs/faces.yaml)."""

BENCH_BATCH = 32
_BENCH_SECONDS = 3.0


def evaluate(weights: str, rendered: Finished) -> dict[str, Any]:
    """`learning.scores` of the network in `weights` on the heads of `rendered`, found as `measure.measure` finds them in photographs."""
    loaded, heads = open_network(weights), examples.load_heads(rendered)
    return learning.scores(answers(loaded, heads), loaded.factors)


def answers(loaded: LoadedNetwork, heads: Heads) -> learning.Answers:
    """What is measured of heads that a detector has framed about as well as detectors do."""
    found = []
    for number, (image, points) in enumerate(zip(heads.images, heads.points, strict=True)):
        rng = np.random.default_rng(number)
        low, high = points.min(0), points.max(0)
        side = (high - low).max()
        box = np.concatenate([low + rng.normal(0, _OFF * side, 2), (high - low) * np.exp(rng.normal(0, _OFF))])
        found += measure(loaded, cv2.cvtColor(image, cv2.COLOR_GRAY2RGB), [crop_matrix(box, SIZE)])
    truth = [torch.from_numpy(value) for value in (heads.images, heads.points, heads.units, heads.pose)]
    return learning.Answers(
        points=np.stack([face.points for face in found]),
        point_scales=np.zeros(heads.points.shape[:2]),
        units=np.stack([face.units for face in found]),
        unit_scales=np.stack([face.reach for face in found]) / loaded.factors,
        pose=np.stack([face.pose for face in found]),
        truth=examples.Examples(*truth),
    )


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
