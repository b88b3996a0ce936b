"""How fast stages are: the same work in plain loops and through the engine, in one run, one after the other, several
times.

What is given out are images a second and ratios; a ratio of one run tells more than a rate, which hangs on the machine
and on what else it does.
"""

import concurrent.futures
import contextlib
import multiprocessing
import os
import platform
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import torch

from twfer_dist.core import schema
from twfer_dist.core.status import OK
from twfer_dist.core.taxonomy import ACTION_UNITS, EXPRESSIONS, MAX_INTENSITY
from twfer_dist.corpus.corpus import open_corpus
from twfer_dist.engine import ray_cluster, resources, storage
from twfer_dist.engine.config import package_path
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.shards import Step
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import run_stage
from twfer_dist.faces.stage import FacesConfig, faces_job
from twfer_dist.measurement.analyzer import SHIPPED
from twfer_dist.measurement.evaluate import bench
from twfer_dist.synthesis.animate import animate
from twfer_dist.synthesis.checkpoints import PUBLIC_SIZE, LoadedGenerator, load_generator
from twfer_dist.synthesis.networks import Generator
from twfer_dist.synthesis.stage import AnimateConfig, animate_job
from twfer_dist.training import precision

CORPUS = package_path("package:demo/tw58")
GENERATOR = package_path("package:weights/generator.safetensors")
ROUNDS = 3
IMAGE_BYTES = 8192  # about a crop of 128 pixels
ROWS = schema.stamped(("id", pa.string()), ("image", pa.binary()), ("status", pa.string()))
_BATCHES = (1, 4, 16)  # of the public network


def bench_faces(images: int, actors: int | None) -> dict[str, Any]:
    """Photographs a second through the faces stage: see `_compared`. The photographs are those of the demo's corpus,
    over and over. Beside it the faces a second through the network alone on one core (`evaluate.bench`).
    """
    with tempfile.TemporaryDirectory() as folder:

        def job(count: int) -> StageSpec:
            photographs = Path(folder) / f"photographs-{count}"
            if not photographs.exists():
                photographs.mkdir()
                originals = sorted(Path(CORPUS).rglob("*.jpg"))
                for number in range(count):
                    shutil.copyfile(originals[number % len(originals)], photographs / f"{number:06d}.jpg")
            return faces_job([open_corpus(str(photographs))], FacesConfig(), actors=actors)

        return bench(SHIPPED) | _compared(job, images, actors, folder)


def bench_animate(images: int, actors: int | None) -> dict[str, Any]:
    """Animated images a second through the animate stage: see `_compared`. Beside it `public_rate`, of GANimation's
    public network (128 pixels, width 64) in eager PyTorch on one thread at its best batch size, `ours_rate`, of ours at
    the stage's, `ours_over_public`, and `bfloat16_over_float32`, of ours, where the processor has bfloat16.
    """
    with tempfile.TemporaryDirectory() as folder:
        faces = run_stage(faces_job([open_corpus(CORPUS)], FacesConfig()), folder, quiet=True)
        count = len(EXPRESSIONS)

        def job(wanted: int) -> StageSpec:
            config = AnimateConfig(per_expression=wanted // count)  # no more: a part of a few rows costs a whole batch
            return animate_job([faces], config, GENERATOR, actors=actors)

        told = _compared(job, images, actors, folder)
        return told | _networks()


def bench_io(images: int, actors: int | None, out: str | None) -> dict[str, Any]:
    """Rows a second through a stage that computes nothing and writes an image of IMAGE_BYTES a row: see `_compared`.
    Beside it `pipeline_mb_per_second`, and `read_mb_per_second` of all rows read back. out: where to, a path or URI,
    such as `s3://...`; nothing stays there.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = storage.join(storage.absolute(out), f"bench-{uuid.uuid4().hex[:8]}") if out else folder
        try:

            def job(count: int) -> StageSpec:
                plan = pa.table({"id": [f"{k:09d}" for k in range(count)]})
                step = Step(with_images, actors=actors)
                return StageSpec(
                    "io",
                    1,
                    {},
                    {"rows": count},
                    {},
                    {".": ROWS},
                    lambda work: work.map(plan, [step], rows_per_shard=256),
                )

            told = _compared(job, images, actors, place)
            finished = run_stage(job(images), storage.join(place, "read"), quiet=True)
            started = time.perf_counter()
            size = finished.table(".", ROWS).nbytes
            read = size / (time.perf_counter() - started)
        finally:
            storage.delete_folder(place)
        return told | {
            "pipeline_mb_per_second": round(told["pipeline_rate"] * IMAGE_BYTES / 1e6, 1),
            "read_mb_per_second": round(read / 1e6, 1),
            "image_bytes": IMAGE_BYTES,
            "out": "this disk" if out is None else out.partition("?")[0],
        }


def with_images(plan: pa.Table) -> pa.Table:
    """The planned rows with pictures that no compression makes smaller."""
    pictures = np.random.default_rng(0).integers(0, 256, (len(plan), IMAGE_BYTES), np.uint8)
    return plan.append_column("image", pa.array([picture.tobytes() for picture in pictures])).append_column(
        "status", pa.array([OK] * len(plan))
    )


def _networks() -> dict[str, Any]:
    """Rates of the two networks alone, in turn, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    ours, public = load_generator(GENERATOR), LoadedGenerator(Generator(64).eval(), PUBLIC_SIZE, "")
    rng = np.random.default_rng(0)
    crop = rng.integers(0, 255, (PUBLIC_SIZE, PUBLIC_SIZE, 3), np.uint8)

    def rate(loaded: LoadedGenerator, batch: int, bfloat16: bool) -> float:
        units = rng.uniform(0, MAX_INTENSITY, (2, batch, len(ACTION_UNITS))).astype(np.float32)
        started = time.perf_counter()
        animate(loaded, np.repeat(crop[None], batch, axis=0), *units, bfloat16=bfloat16)
        return batch / (time.perf_counter() - started)

    batch = AnimateConfig().batch
    systems = {"ours": (ours, batch, False), **{f"public_{b}": (public, b, False) for b in _BATCHES}}
    if not (without := precision.device_without_bfloat16("cpu")):
        systems["bfloat16"] = (ours, batch, True)
    rates: dict[str, list[float]] = {name: [] for name in systems}
    for number in range(ROUNDS + 1):
        for name, system in systems.items():
            found = rate(*system)
            if number:  # the first one warms the caches
                rates[name].append(found)
    torch.set_num_threads(threads)
    middle = {name: float(np.median(values)) for name, values in rates.items()}
    batch = max(_BATCHES, key=lambda b: middle[f"public_{b}"])
    best = middle[f"public_{batch}"]
    return {
        "ours_rate": round(middle["ours"], 2),
        "public_rate": round(best, 2),
        "public_batch": batch,
        "ours_over_public": round(middle["ours"] / best, 2),
        "bfloat16_over_float32": f"not in {without}" if without else round(middle["bfloat16"] / middle["ours"], 2),
    }


class _Asked(Exception):
    """What a job asks of the engine: stands in for `Work`, and is raised in the place of the work."""

    def __init__(self) -> None:
        super().__init__()
        self.results: dict[str, Any] = {}

    def map(
        self, plan: pa.Table, steps: Sequence[Step], *, rows_per_shard: int, reuse_key_columns: Sequence[str] = ()
    ) -> None:
        self.plan, self.steps, self.rows_per_shard = plan, steps, rows_per_shard
        raise self


def _asked(job: StageSpec) -> _Asked:
    asked = _Asked()
    with contextlib.suppress(_Asked):
        job.do(cast(StageOutput, asked))
    return asked


def _compared(job: Callable[[int], StageSpec], images: int, actors: int | None, folder: str) -> dict[str, Any]:
    """`bare_rate`: rows a second of the stage's own steps, one after the other in a plain loop in each of `actors`
    processes, Parquet parts written as the stage writes them; as many as the stage has actors where not given.
    `pipeline_rate`: through the engine, start-up apart: what the second half of the rows took. `pipeline_over_bare`;
    medians of ROUNDS rounds. job: of so many rows. images: so many rows at least.
    """
    ray_cluster.start()
    processes = actors or resources.slots(1, 0)
    half, parts = _even(job, images, processes)
    images = 2 * half
    _seconds(job(half), storage.join(folder, "warm"))  # Ray's first worker processes take longest to come
    bare, pipeline, starts = [], [], []
    for number in range(ROUNDS):
        bare.append(_bare_rate(job(images), processes, folder))
        first, whole = (_seconds(job(count), storage.join(folder, f"{number}-{count}")) for count in (half, images))
        pipeline.append(half / (whole - first))
        starts.append(max(0.0, 2 * first - whole))
    rates = {"bare_rate": float(np.median(bare)), "pipeline_rate": float(np.median(pipeline))}
    return {
        **{name: round(value, 2) for name, value in rates.items()},
        "pipeline_over_bare": round(rates["pipeline_rate"] / rates["bare_rate"], 3),
        "start_seconds": round(float(np.median(starts)), 1),
        "images": images,
        "shards_per_process": parts,
        "rounds": ROUNDS,
        "processes": processes,
        "cores": resources.cores(),
        "machine": platform.machine(),
        "torch": torch.__version__,
    }


def _even(job: Callable[[int], StageSpec], images: int, processes: int) -> tuple[int, int]:
    """The least number of rows, half of `images` or more, that gives each process equally many parts, and how many
    these are: a last round of parts in which some processes have none would count as slowness of the engine, up to half
    of it where parts are few.
    """
    rows = -(-images // 2)
    while True:
        at_once = processes * _asked(job(rows)).rows_per_shard
        if not rows % at_once:
            return rows, rows // at_once
        rows += at_once - rows % at_once


def _seconds(job: StageSpec, out: str) -> float:
    started = time.perf_counter()
    run_stage(job, out, quiet=True)
    return time.perf_counter() - started


def _bare_rate(job: StageSpec, processes: int, folder: str) -> float:
    """Rows a second of all processes together, each over its share of the parts; what they build first is not
    counted.
    """
    asked = _asked(job)
    rows = asked.rows_per_shard
    parts = [asked.plan.slice(start, rows) for start in range(0, len(asked.plan), rows)]
    shares = [share for k in range(processes) if (share := parts[k::processes])]
    with concurrent.futures.ProcessPoolExecutor(len(shares), multiprocessing.get_context("spawn")) as pool:
        return sum(
            pool.map(_loop, [asked.steps] * len(shares), shares, [folder] * len(shares), [job.tables] * len(shares))
        )


def _loop(steps: Sequence[Step], parts: list[pa.Table], folder: str, tables: Mapping[str, pa.Schema]) -> float:
    calls = [
        step.call(**step.kwargs) if isinstance(step.call, type) else partial(step.call, **step.kwargs) for step in steps
    ]
    started = time.perf_counter()
    for number, part in enumerate(parts):
        result = part
        for step in calls:
            result = step(result)
        made = result if isinstance(result, Mapping) else {next(iter(tables)): result}
        for name, expected in tables.items():
            place = storage.join(folder, f"bare-{os.getpid()}-{number}-{name.strip('.')}.parquet")
            storage.write_parquet(place, schema.conform(made[name], expected))
    return sum(map(len, parts)) / (time.perf_counter() - started)
