"""What each kind of work costs: rates measured on finished stages, and the file that keeps them."""

import json
import platform
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated

import numpy as np
import psutil
import torch
from scipy.optimize import nnls

from twfer_dist.core.errors import UserError
from twfer_dist.engine import storage
from twfer_dist.engine.config import Range, Settings, fill, package_path

SHIPPED = "package:recipe/rates.json"

_Number = Annotated[float, Range(0, 1e18)]


@dataclass(frozen=True)
class Rate(Settings):
    """The cost of one kind of work. CPU seconds are those of one CPU as the operating system counts them."""

    unit: str  # what is counted
    start: _Number = 0.0  # CPU seconds of a start, however much is done after it
    cpu: _Number = 0.0  # CPU seconds for each unit
    gpu: _Number = 0.0  # GPU seconds for each unit
    start_bytes: _Number = 0.0  # written for each start
    bytes: _Number = 0.0  # written for each unit
    memory: _Number | None = None  # bytes of the largest process of the largest stage
    stages: Annotated[int, Range(0, 10**9)] = 0  # that it was measured on
    source: str = ""  # where not measured by `measure`


@dataclass(frozen=True)
class Measured:
    """What a finished stage took. amount: in units, of which reused rows are no part. starts: as of its `Workload`."""

    rate: str
    unit: str
    amount: float
    starts: int
    cpu_seconds: float
    bytes: int
    peak_bytes: int


@dataclass(frozen=True)
class Rates:
    machine: str
    rates: Mapping[str, Rate] = field(default_factory=dict)

    def save(self, path: str) -> None:
        rates = {
            name: {key: value for key, value in asdict(rate).items() if value}
            for name, rate in sorted(self.rates.items())
        }
        storage.write_json(storage.absolute(path), {"machine": self.machine, "rates": rates})


def load_rates(path: str) -> Rates:
    """The rates in a JSON file. UserError naming the file where it is not one of rates."""
    try:
        given = json.loads(storage.read_bytes(storage.absolute(package_path(path))))
        found = {name: fill(Rate, rate, f"{path}, rate '{name}'") for name, rate in given["rates"].items()}
        return Rates(str(given["machine"]), found)
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(
            f"{path} is not a file of rates: make one with `twfer bench rates RECIPE --save {path}`."
        ) from None


def measure(stages: Iterable[Measured]) -> Rates:
    """The rates of these stages. Stages that did different amounts of the same work tell its start from the rest;
    where all did the same, all of it counts for the units.
    """
    of_rate: dict[str, list[Measured]] = defaultdict(list)
    for stage in stages:
        if stage.amount:
            of_rate[stage.rate].append(stage)
    machine = f"{psutil.cpu_count()} CPUs, {platform.machine()}, {platform.system()}, torch {torch.__version__}"
    return Rates(machine, {name: _rate(found) for name, found in of_rate.items()})


def _rate(stages: list[Measured]) -> Rate:
    amounts = np.array([stage.amount for stage in stages])
    starts = np.array([stage.starts for stage in stages])
    start, cpu = _fit(starts, amounts, [stage.cpu_seconds for stage in stages])
    start_bytes, each_bytes = _fit(starts, amounts, [stage.bytes for stage in stages])
    largest = max(stages, key=lambda stage: stage.amount)
    return Rate(
        stages[0].unit,
        start=_digits(start),
        cpu=_digits(cpu),
        start_bytes=_digits(start_bytes),
        bytes=_digits(each_bytes),
        memory=_digits(largest.peak_bytes),
        stages=len(stages),
    )


def _fit(starts: np.ndarray, amounts: np.ndarray, values: Sequence[float]) -> tuple[float, float]:
    """What a start takes and what each unit adds, neither below 0; relative errors count, so that small stages have a
    say.
    """
    of_stages = np.maximum(values, 0.1)
    if len(set(amounts / starts)) == 1:
        return 0.0, float((of_stages / amounts).mean())
    start, each = nnls(np.stack([starts / of_stages, amounts / of_stages], 1), np.ones(len(amounts)))[0]
    return float(start), float(each)


def _digits(value: float) -> float:
    """The value with three digits: it is no better known."""
    return float(f"{value:.3g}")
