"""Which settings of the focal loss a sweep tries: spread evenly, at random, as a grid, or as Optuna suggests."""

import dataclasses
import importlib.util
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
from scipy.stats import qmc

from twfer_dist.core.errors import UserError
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.engine.config import Range, Settings, shown
from twfer_dist.recognition.train_config import TrainConfig

ALPHA_OF = "alpha_"
"""The prefix of an expression's own alpha: `alpha_surprise`."""

Point = Mapping[str, float]
"""The values of the swept settings in one trial, by name."""


@dataclass(frozen=True)
class SweepConfig(Settings):
    """Which settings are tried. alpha, gamma and learning_rate are the lowest and the highest value of each; in a grid,
    all values of each.
    """

    train: TrainConfig = field(default_factory=TrainConfig)  # shared by all trials
    # latin spreads the trials evenly, tpe is Optuna's, which learns from the trials before
    search: Literal["latin", "random", "grid", "tpe"] = "latin"
    trials: Annotated[int, Range(1, 10_000)] = 12  # a grid has as many as there are combinations
    # of the sigmoid loss: the weight of the true expression, from the lowest to the highest; in a grid, all values
    alpha: tuple[Annotated[float, Range(0, 1)], ...] = (0.1, 0.9)
    gamma: tuple[Annotated[float, Range(0, 20)], ...] = (0.0, 4.0)  # of the focal loss, in the same way
    # of Adam, in the same way, on a logarithmic scale
    learning_rate: tuple[Annotated[float, Range(0, 1, above=True)], ...] = (3e-5, 1e-3)
    # of the softmax loss, instead of alpha: of each expression, on a logarithmic scale
    class_alphas: tuple[Annotated[float, Range(0, 1000, above=True)], ...] = ()
    patience: Annotated[int, Range(1, 100_000)] = 2  # epochs of each trial before ASHA may stop it
    reduction: Annotated[int, Range(2, 100)] = 3  # ASHA lets the best 1 in this many continue
    seed: Annotated[int, Range(0, 2**32 - 1)] = 0  # of the points that are tried

    def agree(self) -> None:
        if self.train.loss == "softmax" and not self.class_alphas:
            raise ValueError(
                "an alpha before a softmax has no effect under Adam: a sweep needs the sigmoid loss, or class_alphas"
            )
        if self.train.loss == "sigmoid" and self.class_alphas:
            raise ValueError("class_alphas are of the softmax loss: write train: {loss: softmax}, or leave them out")
        if self.search == "grid" and self.class_alphas:
            raise ValueError("a grid over seven alphas has too many points: use search: latin, random or tpe")
        for name in ("gamma", "learning_rate", "class_alphas" if self.class_alphas else "alpha"):
            values = getattr(self, name)
            if self.search == "grid" and not values:
                raise ValueError(f"{name} is empty; use the values that the grid tries")
            if self.search != "grid" and (len(values) != 2 or values[0] > values[1]):
                raise ValueError(f"{name} is {shown(list(values))}; use two numbers, the lowest and the highest")

    @property
    def dimensions(self) -> "tuple[Dimension, ...]":
        """What is swept, in the order of tables."""
        alphas = (
            [Dimension(f"{ALPHA_OF}{name}", self.class_alphas, True) for name in EXPRESSIONS]
            if self.class_alphas
            else [Dimension("alpha", self.alpha, False)]
        )
        rate = Dimension("learning_rate", self.learning_rate, True)
        return (*alphas, Dimension("gamma", self.gamma, False), rate)

    @property
    def count(self) -> int:
        """The number of trials."""
        if self.search != "grid":
            return self.trials
        return math.prod(len(dimension.values) for dimension in self.dimensions)

    def points(self) -> list[dict[str, float]]:
        """What each trial tries; not known beforehand with `tpe`."""
        names = [dimension.name for dimension in self.dimensions]
        if self.search == "grid":
            values = itertools.product(*(dimension.values for dimension in self.dimensions))
            return [dict(zip(names, one, strict=True)) for one in values]
        if self.search == "latin":
            shares = qmc.LatinHypercube(len(names), rng=self.seed).random(self.trials)
        else:
            shares = np.random.default_rng(self.seed).random((self.trials, len(names)))
        return [
            {dimension.name: dimension.at(share) for dimension, share in zip(self.dimensions, row, strict=True)}
            for row in shares
        ]

    def trial(self, point: Point) -> TrainConfig:
        """The configuration of the trial at a point."""
        alphas = tuple(point[f"{ALPHA_OF}{name}"] for name in EXPRESSIONS) if self.class_alphas else None
        return dataclasses.replace(
            self.train,
            alpha=point.get("alpha", self.train.alpha),
            class_alphas=alphas or self.train.class_alphas,
            gamma=point["gamma"],
            learning_rate=point["learning_rate"],
        )


@dataclass(frozen=True)
class Dimension:
    """A swept setting. values: from the lowest to the highest; of a grid, all of them."""

    name: str
    values: tuple[float, ...]
    logarithmic: bool

    def at(self, share: float) -> float:
        """The value at a share of the range, 0 to 1, on the dimension's scale."""
        low, high = self.values
        return rounded(low * (high / low) ** share if self.logarithmic else low + share * (high - low))


def rounded(value: float) -> float:
    """A value as it is tried and shown: four digits."""
    return float(f"{value:.4g}")


def check_optuna(config: SweepConfig) -> None:
    """UserError where a sweep needs Optuna and it is not installed."""
    if config.search == "tpe" and importlib.util.find_spec("optuna") is None:
        raise UserError(
            "search: tpe needs Optuna, which is not installed: pip install 'twfer_dist[optuna]', or use search: latin."
        )
