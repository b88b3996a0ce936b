"""How many training images a second the loader delivers, and Ray Data: `python jobs/measure/measure_loader.py DATASET`.

DATASET is an output of kind dataset. Three ways decode and augment the same training images for batches of 32: the
loader in threads of its process, the loader in processes beside it (a torch DataLoader), and Ray Data (read_parquet,
map_batches, streaming_split, iter_torch_batches), in which Ray chooses the order. Prints a JSON object: the images a
second of each over an epoch, the median of ROUNDS rounds. Each round starts its own processes;
Ray's workers stay.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable

import numpy as np
import pyarrow.compute as pc
import ray.data
from ray.data.expressions import col

from twfer_dist.core.schema import DATASET
from twfer_dist.dataset import loader
from twfer_dist.dataset.loader import Decoding
from twfer_dist.dataset.order import batch_edges
from twfer_dist.dataset.parts import parts_of
from twfer_dist.dataset.stream import ImageSource
from twfer_dist.engine import ray_cluster
from twfer_dist.engine.artifact import Artifact, open_artifact
from twfer_dist.engine.storage import absolute

BATCH, ROUNDS = 32, 3
DECODING = Decoding(112, "mild")


def rate(batches: Iterable[int]) -> float:
    """Images a second of an epoch, its start included, in which Ray Data works ahead. batches: their sizes."""
    started = time.monotonic()
    return sum(batches) / (time.monotonic() - started)


def ours(dataset: Artifact, processes: int) -> float:
    images = ImageSource(dataset, parts_of(dataset, seed=0))
    edges = batch_edges(images.count("train"), BATCH)
    encoded = images.epochs(edges, seed=0, start=(1, 0), epochs=1)
    return rate(len(batch.labels) for batch in loader.batches(encoded, DECODING, processes=processes))


def decoded(rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    images = [DECODING.image(image, name, 0) for image, name in zip(rows["image"], rows["image_id"], strict=True)]
    return {"pixels": np.stack(images), "label": rows["label"]}


def ray_data(dataset: Artifact) -> float:
    files = [dataset.path(file.path) for file in dataset.manifest.files if file.path.endswith(".parquet")]
    rows = ray.data.read_parquet(files, columns=["image", "image_id", "label", "split"])
    rows = rows.filter(expr=col("split") == "train").map_batches(decoded, batch_size=BATCH)
    (split,) = rows.streaming_split(1)
    return rate(len(batch["label"]) for batch in split.iter_torch_batches(batch_size=BATCH, prefetch_batches=4))


def main() -> None:
    dataset = open_artifact(absolute(sys.argv[1]))
    images = pc.sum(pc.equal(dataset.table(".", DATASET, columns=["split"])["split"], "train")).as_py()
    ray_cluster.start()
    processes = os.cpu_count() or 1
    loaders: dict[str, Callable[[], float]] = {
        "threads": lambda: ours(dataset, 0),
        f"{processes} processes": lambda: ours(dataset, processes),
        "ray_data": lambda: ray_data(dataset),
    }
    rates: dict[str, list[float]] = {name: [] for name in loaders}
    for _ in range(ROUNDS):
        for name, load in loaders.items():
            rates[name].append(load())
    print(json.dumps({"images": images, **{name: round(statistics.median(rates[name])) for name in loaders}}))


if __name__ == "__main__":
    main()
