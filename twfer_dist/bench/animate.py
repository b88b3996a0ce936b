"""`twfer bench animate`: the animate stage, and its generator alone against the public one."""

import tempfile
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from twfer_dist.bench import compare
from twfer_dist.bench.faces import copy_photographs
from twfer_dist.core.taxonomy import ACTION_UNITS, EXPRESSIONS, MAX_INTENSITY
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import run_stage
from twfer_dist.faces.stage import FacesConfig, faces_spec
from twfer_dist.synthesis.animate import animate, intensities
from twfer_dist.synthesis.checkpoints import PUBLIC_SIZE, SHIPPED, LoadedGenerator, load_generator
from twfer_dist.synthesis.networks import Generator
from twfer_dist.synthesis.stage import AnimateConfig, animate_spec, rows_per_shard
from twfer_dist.training import precision

PUBLIC_BATCHES = (1, 4, 16)
_SPARE = 1.25  # photographs for each face that is needed, as a face may be missed


@dataclass(frozen=True)
class GeneratorRates:
    """Images a second of the generators alone, on one thread; medians."""

    ours_rate: float
    public_rate: float  # GANimation's network, 128 pixels and width 64, at its best batch size
    public_batch: int
    ours_over_public: float
    bfloat16_over_float32: float | str  # of ours; the processor's name where it lacks bfloat16


def bench_animate(images: int, actors: int | None) -> dict[str, Any]:
    """A `compare.Comparison` of the animate stage on at least `images` images, and `GeneratorRates`."""
    config = AnimateConfig(select="unlabelled")
    size = compare.even_size(images, actors, lambda rows: rows_per_shard(rows, config.batch))
    of_one_face = len(EXPRESSIONS) * len(intensities(config.levels, config.drop_last))
    with tempfile.TemporaryDirectory() as folder:
        photographs = copy_photographs(folder, round(_SPARE * 2 * size.half / of_one_face) + 1)
        faces = run_stage(faces_spec([photographs], FacesConfig()), folder, quiet=True)

        def job(rows: int) -> StageSpec:
            # Rounded down: a shard with a few rows costs a whole batch.
            config = AnimateConfig(select="unlabelled", per_expression=rows // len(EXPRESSIONS))
            return animate_spec([faces], config, SHIPPED, actors=actors)

        return asdict(compare.compare(job, size, folder)) | asdict(_generator_rates(config.batch))


def _generator_rates(batch: int) -> GeneratorRates:
    """Rates of the two networks, measured in turn. batch: of ours."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    ours, public = load_generator(SHIPPED), LoadedGenerator(Generator(64).eval(), PUBLIC_SIZE, "")
    systems = {"ours": (ours, batch, False), **{f"public_{b}": (public, b, False) for b in PUBLIC_BATCHES}}
    if not (without := precision.device_without_bfloat16("cpu")):
        systems["bfloat16"] = (ours, batch, True)
    rates: dict[str, list[float]] = {name: [] for name in systems}
    for number in range(compare.ROUNDS + 1):
        for name, (generator, of_system, bfloat16) in systems.items():
            rate = _rate(generator, of_system, bfloat16)
            if number:  # the first round warms the caches
                rates[name].append(rate)
    torch.set_num_threads(threads)
    median = {name: float(np.median(values)) for name, values in rates.items()}
    best = max(PUBLIC_BATCHES, key=lambda b: median[f"public_{b}"])
    return GeneratorRates(
        ours_rate=round(median["ours"], 2),
        public_rate=round(median[f"public_{best}"], 2),
        public_batch=best,
        ours_over_public=round(median["ours"] / median[f"public_{best}"], 2),
        bfloat16_over_float32=f"not in {without}" if without else round(median["bfloat16"] / median["ours"], 2),
    )


def _rate(generator: LoadedGenerator, batch: int, bfloat16: bool) -> float:
    rng = np.random.default_rng(0)
    crop = rng.integers(0, 255, (PUBLIC_SIZE, PUBLIC_SIZE, 3), np.uint8)
    units = rng.uniform(0, MAX_INTENSITY, (2, batch, len(ACTION_UNITS))).astype(np.float32)
    started = time.perf_counter()
    animate(generator, np.repeat(crop[None], batch, axis=0), *units, bfloat16=bfloat16)
    return batch / (time.perf_counter() - started)
