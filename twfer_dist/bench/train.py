"""`twfer bench train`: a recogniser's training on Ray Train beside a bare loop and the loader alone, and how much its
workers read.
"""

import functools
import itertools
import multiprocessing
import platform
import tempfile
import uuid
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import torch

from twfer_dist.bench import compare
from twfer_dist.bench.faces import CORPUS
from twfer_dist.core import schema
from twfer_dist.core.images import encode_jpeg
from twfer_dist.core.status import OK
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.dataset import loader
from twfer_dist.dataset.augmentation import mild
from twfer_dist.dataset.loader import Batch, Decoding
from twfer_dist.dataset.order import batch_edges
from twfer_dist.dataset.parts import parts_of
from twfer_dist.dataset.stage import ROWS_PER_SHARD
from twfer_dist.dataset.stream import Encoded, ImageSource
from twfer_dist.engine import resources, storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.mlflow_store import sqlite_uri
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.shards import Step
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import run_stage
from twfer_dist.engine.tracking import Tracking
from twfer_dist.recognition import training
from twfer_dist.recognition.train_config import TrainConfig
from twfer_dist.recognition.train_stage import train_spec

CONFIG = TrainConfig(network="resnet18", size=96, epochs=6)
TRAINED, VALIDATED = 640, 64  # images of the trainings that are timed
PHOTOGRAPHS = 50  # of which the images are variants
LOADED = 200  # batches that the loader alone prepares
SIDE = 224  # pixels of the stored images
READERS = (1, 2, 4)  # workers whose reading is counted


@dataclass(frozen=True)
class Spread:
    """A ratio in each round."""

    median: float
    lowest: float
    highest: float


@dataclass(frozen=True)
class TrainingSpeed:
    """Training images a second in whole epochs, each with its look at the validation images; every process computes on
    one thread. Medians of `rounds` rounds.
    """

    bare_rate: float  # the batches of an epoch, held in memory, in a loop without Ray and MLflow
    loader_rate: float  # the loader alone: reading, decoding and augmentation
    one_worker_rate: float  # the stage with one worker of Ray Train
    two_workers_rate: float
    one_worker_over_bare: Spread
    loader_over_bare: Spread
    two_workers_over_one: Spread
    read_over_share: dict[str, float]  # see `_read_over_share`, by the number of workers
    images: int  # of the data set that was read
    row_groups: int
    rounds: int
    cores: int
    machine: str
    torch: str


def bench_train(images: int) -> dict[str, Any]:
    """A `TrainingSpeed`. images: of the data set whose reading is measured; the timed trainings have TRAINED."""
    with tempfile.TemporaryDirectory() as folder:
        small, large = make_dataset(TRAINED, folder), make_dataset(images, folder)
        timed, read = (ImageSource(each, parts_of(each, seed=CONFIG.seed)) for each in (small, large))
        rates: dict[str, list[float]] = {name: [] for name in ("bare", "loader", "one", "two")}
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as alone:
            for _ in range(compare.ROUNDS):
                rates["bare"].append(alone.submit(_bare_rate, CONFIG, timed).result())
                rates["loader"].append(alone.submit(_loader_rate, CONFIG, read).result())
                for workers, name in enumerate(("one", "two"), start=1):
                    rates[name].append(_stage_rate(small, workers, folder))
            shares = {str(n): alone.submit(_read_over_share, CONFIG, read, n).result() for n in READERS}
    speed = TrainingSpeed(
        bare_rate=_median(rates["bare"]),
        loader_rate=_median(rates["loader"]),
        one_worker_rate=_median(rates["one"]),
        two_workers_rate=_median(rates["two"]),
        one_worker_over_bare=_spread(rates["one"], rates["bare"]),
        loader_over_bare=_spread(rates["loader"], rates["bare"]),
        two_workers_over_one=_spread(rates["two"], rates["one"]),
        read_over_share=shares,
        images=images,
        row_groups=len(read.parts.groups),
        rounds=compare.ROUNDS,
        cores=resources.cores(),
        machine=platform.machine(),
        torch=torch.__version__,
    )
    return asdict(speed)


def _median(rates: list[float]) -> float:
    return round(float(np.median(rates)), 1)


def _spread(ours: list[float], theirs: list[float]) -> Spread:
    ratios = np.divide(ours, theirs)
    return Spread(*(round(float(value), 3) for value in (np.median(ratios), ratios.min(), ratios.max())))


def make_dataset(images: int, folder: str) -> Artifact:
    """A data set of `images` training images, with VALIDATED others among them: photographs of the demo corpus, each
    changed a little, and with a camera's noise, so that they compress like photographs.
    """
    plan = pa.table({"image_id": [f"{k:08d}" for k in range(images + VALIDATED)]})
    step = Step(_rows, kwargs={"every": len(plan) // VALIDATED})

    def do(output: StageOutput) -> None:
        output.map(plan, [step], rows_per_shard=ROWS_PER_SHARD)

    spec = StageSpec("dataset", 1, {}, {"images": images}, {}, {".": schema.DATASET}, do)
    return run_stage(spec, folder, quiet=True)


def _rows(plan: pa.Table, *, every: int) -> pa.Table:
    return pa.Table.from_pylist([_row(image_id, every) for image_id in plan["image_id"].to_pylist()], schema.DATASET)


def _row(image_id: str, every: int) -> dict[str, Any]:
    number = int(image_id)
    turn, rest = divmod(number, every)
    random = np.random.default_rng(number)
    pixels = mild(_photographs()[number % PHOTOGRAPHS], random).astype(np.int16)
    pixels += random.integers(-6, 7, pixels.shape, np.int16)
    return {
        "image_id": image_id,
        "split": "validation" if rest == 0 and turn < VALIDATED else "train",
        "label": number % len(EXPRESSIONS) + 1,
        "figure_id": str(number),
        "corpus": "bench",
        "origin": "photograph",
        "image": encode_jpeg(np.clip(pixels, 0, 255).astype(np.uint8)),
        "width": SIDE,
        "height": SIDE,
        "status": OK,
        "error": "",
    }


@functools.cache
def _photographs() -> list[np.ndarray]:
    """The first of the demo corpus: uint8 RGB (SIDE, SIDE, 3)."""
    paths = sorted(Path(CORPUS).rglob("*.jpg"))[:PHOTOGRAPHS]
    return [Decoding(SIDE).image(path.read_bytes(), path.name, 0) for path in paths]


def _stage_rate(dataset: Artifact, workers: int, folder: str) -> float:
    """Of the stage: from the end of its first epoch to the end of the last but one, by the times at which they were
    logged. So neither the start counts nor what is written at the end, but all checkpoints in between.
    """
    tracking = Tracking(sqlite_uri(f"{folder}/mlflow.db"), "bench")
    out = storage.join(folder, uuid.uuid4().hex)
    output = run_stage(train_spec(dataset, CONFIG, tracking, workers=workers), out, quiet=True)
    ends = [metric.timestamp for metric in tracking.client.get_metric_history(output.results["run_id"], "loss/train")]
    return TRAINED * (len(ends) - 2) / (ends[-2] - ends[0]) * 1000


def _bare_rate(config: TrainConfig, source: ImageSource) -> float:
    """Of as many epochs as count in `_stage_rate`."""
    torch.set_num_threads(1)
    state = training.new_state(config)
    batches = list(loader.batches(_epoch(config, source), _decoding(config)))
    validation = list(loader.batches(source.in_order("validation", config.batch), Decoding(config.size)))
    _step(config, state, batches[0])  # the slowest
    started = perf_counter()
    for _ in range(config.epochs - 2):
        state.network.train()
        for batch in batches:
            _step(config, state, batch)
        state.network.eval()
        with torch.inference_mode():
            for batch in validation:
                state.network(loader.normalise(batch.pixels, "cpu"))
    return (config.epochs - 2) * source.count("train") / (perf_counter() - started)


def _step(config: TrainConfig, state: training.State, batch: Batch) -> None:
    state.optimizer.zero_grad()
    logits = state.network(loader.normalise(batch.pixels, "cpu"))
    config.losses_of(logits, batch.labels).mean().backward()
    state.optimizer.step()


def _loader_rate(config: TrainConfig, source: ImageSource) -> float:
    """Of batches of an epoch that are read, decoded and augmented, and not trained on."""
    encoded = itertools.islice(_epoch(config, source), LOADED)
    started = perf_counter()
    images = sum(len(batch.labels) for batch in loader.batches(encoded, _decoding(config)))
    return images / (perf_counter() - started)


def _read_over_share(config: TrainConfig, source: ImageSource, workers: int) -> float:
    """The bytes that a worker reads in an epoch over those of its images, as they are stored: of the worker that reads
    most. Counted by the operating system.
    """
    ratios = []
    for rank in range(workers):
        before = psutil.Process().io_counters().read_chars
        share = sum(len(image) for batch in _epoch(config, source.of_worker(rank, workers)) for image in batch.images)
        ratios.append((psutil.Process().io_counters().read_chars - before) / share)
    return round(max(ratios), 3)


def _decoding(config: TrainConfig) -> Decoding:
    return Decoding(config.size, config.augment, config.seed)


def _epoch(config: TrainConfig, source: ImageSource) -> Iterator[Encoded]:
    """A worker's share of the first epoch."""
    return source.epochs(batch_edges(source.count("train"), config.batch), config.seed, (1, 0), 1)
