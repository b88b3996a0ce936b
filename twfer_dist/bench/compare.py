"""A stage's own steps in plain loops against the same steps through the engine, alternating, in one run.

A ratio of one run tells more than a rate, which depends on the machine and on what else it does.
"""

import concurrent.futures
import contextlib
import multiprocessing
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
import pyarrow as pa
import torch

from twfer_dist.core.conformity import conform
from twfer_dist.engine import ray_cluster, resources, storage
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.plan import Plan, in_memory, sort_by_id
from twfer_dist.engine.shards import Step
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import run_stage

ROUNDS = 3


@dataclass(frozen=True)
class Comparison:
    """Medians of `rounds` rounds. Rates are rows a second."""

    bare_rate: float  # of the stage's steps in plain loops, one in each of `processes` processes
    pipeline_rate: float  # through the engine, without its start: from the time for the second half of the rows
    pipeline_over_bare: float
    start_seconds: float  # of the engine
    images: int
    shards_per_process: int
    rounds: int
    processes: int
    cores: int
    machine: str
    torch: str


@dataclass(frozen=True)
class Size:
    """The rows of the smaller of the two runs, half those of the larger, that give each process as many shards."""

    half: int
    processes: int
    shards_per_process: int


def even_size(images: int, actors: int | None, rows_per_shard: Callable[[int], int]) -> Size:
    """The least size of at least `images` rows at which each process gets equally many shards.

    In a last round of shards some processes would be idle, and where shards are few that would count as slowness of the
    engine, up to half of it. actors: as many as the stage has by default when None. rows_per_shard: of a plan of so
    many rows.
    """
    ray_cluster.start()
    processes = actors or resources.slots(1, 0)
    rows = -(-images // 2)
    while rows % (at_once := processes * rows_per_shard(rows)):
        rows += at_once - rows % at_once
    return Size(rows, processes, rows // at_once)


def compare(job: Callable[[int], StageSpec], size: Size, folder: str) -> Comparison:
    """Measure `job`, a stage by its number of rows; outputs go to `folder`."""
    images = 2 * size.half
    _seconds(job(size.half), storage.join(folder, "warm"))  # Ray's first worker processes are the slowest to start
    bare, pipeline, starts = [], [], []
    for number in range(ROUNDS):
        bare.append(_bare_rate(job(images), size.processes, folder))
        first, whole = (_seconds(job(rows), storage.join(folder, f"{number}-{rows}")) for rows in (size.half, images))
        pipeline.append(size.half / (whole - first))
        starts.append(max(0.0, 2 * first - whole))
    bare_rate, pipeline_rate = float(np.median(bare)), float(np.median(pipeline))
    return Comparison(
        bare_rate=round(bare_rate, 2),
        pipeline_rate=round(pipeline_rate, 2),
        pipeline_over_bare=round(pipeline_rate / bare_rate, 3),
        start_seconds=round(float(np.median(starts)), 1),
        images=images,
        shards_per_process=size.shards_per_process,
        rounds=ROUNDS,
        processes=size.processes,
        cores=resources.cores(),
        machine=platform.machine(),
        torch=torch.__version__,
    )


def _seconds(job: StageSpec, out: str) -> float:
    started = time.perf_counter()
    run_stage(job, out, quiet=True)
    return time.perf_counter() - started


class _Recorder(Exception):
    """Stands in for a StageOutput: records what the stage maps, and ends the stage by raising itself."""

    plan: Sequence[pa.Table]
    steps: Sequence[Step]
    rows_per_shard: int

    def __init__(self) -> None:
        super().__init__()
        self.results: dict[str, Any] = {}

    def map(
        self,
        plan: pa.Table | Plan,
        steps: Sequence[Step],
        *,
        rows_per_shard: int,
        reuse_key_columns: Sequence[str] = (),
    ) -> None:
        whole = in_memory(plan, len(plan) or 1) if isinstance(plan, pa.Table) else plan
        self.plan = [sort_by_id(rows) for rows in map(whole.make, whole.parts)]
        self.steps, self.rows_per_shard = steps, rows_per_shard
        raise self


def _bare_rate(job: StageSpec, processes: int, folder: str) -> float:
    """Rows a second of all processes together, each with its share of the shards; loading models does not count."""
    recorder = _Recorder()
    with contextlib.suppress(_Recorder):
        job.do(cast(StageOutput, recorder))
    rows = recorder.rows_per_shard
    shards = [part.slice(start, rows) for part in recorder.plan for start in range(0, len(part), rows)]
    shares = [share for k in range(processes) if (share := shards[k::processes])]
    loop = partial(_loop, recorder.steps, folder, job.tables)
    with concurrent.futures.ProcessPoolExecutor(len(shares), multiprocessing.get_context("spawn")) as pool:
        return sum(pool.map(loop, shares))


def _loop(steps: Sequence[Step], folder: str, tables: Mapping[str, pa.Schema], shards: Sequence[pa.Table]) -> float:
    """Rows a second of the steps on the shards, with Parquet files written as the stage writes them."""
    calls = [
        step.call(**step.kwargs) if isinstance(step.call, type) else partial(step.call, **step.kwargs) for step in steps
    ]
    started = time.perf_counter()
    for number, shard in enumerate(shards):
        result = shard
        for call in calls:
            result = call(result)
        results = result if isinstance(result, Mapping) else {next(iter(tables)): result}
        for name, expected in tables.items():
            uri = storage.join(folder, f"bare-{os.getpid()}-{number}-{name.strip('.')}.parquet")
            storage.write_parquet(uri, conform(results[name], expected))
    return sum(map(len, shards)) / (time.perf_counter() - started)
