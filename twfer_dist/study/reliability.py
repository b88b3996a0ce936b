"""Whether a model is right as often as it says: accuracy by confidence, and the expected calibration error."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twfer_dist.core.intervals import as_dict, effective_size, of_resamples, share
from twfer_dist.core.schema import PREDICTIONS, figures
from twfer_dist.engine.artifact import Artifact
from twfer_dist.study.inputs import NEW, SEEN, ReportInputs, dataset_images, output_name, predictions_of
from twfer_dist.study.roads import is_road

MOST_BINS = 10
LEAST_ANSWERS = 20
"""Of a bin. With fewer than two such bins nothing is said."""

RESAMPLES = 1000
_DRAWS = 10_000
_TOGETHER = 50  # resamples at a time, so that memory does not grow with their number


@dataclass(frozen=True)
class Bin:
    """Answers of similar confidence."""

    low: float  # the lowest and the highest confidence
    high: float
    confidence: float  # the mean
    right: dict[str, Any]  # `as_dict` of the share of correct answers


@dataclass(frozen=True)
class Reliability:
    """How far one model's confidence can be taken at its word, on labelled images of one split.

    error: the expected calibration error (Naeini et al. 2015), the mean over answers of the distance between accuracy
    and mean confidence of their bin; low, high: its 95 % interval, from a bootstrap over figures less its bias, and
    down to 0 where chance alone explains the error. In simulations of 60 to 600 answers, 200 draws each, it covers a
    true error of 0 in 95 to 99 %, of 0.1 in 86 to 90 %, of 0.2 in 91 to 96 %. by_chance: the error to be expected of a
    perfectly calibrated model with as few images and figures, and by_chance_95 what it stays below in 95 of 100
    samples. An error is never negative, and chance alone makes it positive: the fewer answers, the more.
    """

    model: str
    images: str
    split: str
    n: int
    figures: int
    confidence: float  # the mean of all answers
    right: dict[str, Any]  # `as_dict` of the share of all answers that are correct
    bins: list[Bin]
    error: float
    low: float | None  # None with a single figure
    high: float | None
    by_chance: float
    by_chance_95: float

    @property
    def nearest(self) -> Bin:
        """The bin whose confidence is nearest to 0.8, the one that the page puts in words."""
        return min(self.bins, key=lambda found: abs(found.confidence - 0.8))


def reliabilities(inputs: ReportInputs, images: pa.Table) -> list[Reliability]:
    """One for each model and its most telling split: labelled photographs (of figures that are new to the model, where
    there are any), and the test images of each data set. images: `inputs.photograph_splits`.
    """
    found = list(
        _of_images("labelled photographs", predictions_of(inputs.predictions, inputs.faces), images, roads=True)
    )
    for dataset in inputs.datasets:
        test = dataset_images(dataset)
        test = test.filter(pc.equal(test["split"], "test"))
        name = f"data set {output_name(dataset)}"
        found += _of_images(name, predictions_of(inputs.predictions, [dataset]), test, roads=False)
    return found


def _of_images(name: str, predictions: Sequence[Artifact], images: pa.Table, *, roads: bool) -> Iterator[Reliability]:
    rows = _labelled(predictions, images)
    for model in sorted(pc.unique(rows["model"]).to_pylist()):
        if is_road(model) and not roads:
            continue
        own = rows.filter(pc.equal(rows["model"], model))
        splits = set(pc.unique(own["split"]).to_pylist())
        # A road reads every figure as new to it.
        split = NEW if splits == {NEW, SEEN} or (is_road(model) and SEEN in splits) else max(splits)
        if not is_road(model):
            own = own.filter(pc.equal(own["split"], split))
        confidence, right = (own[column].to_numpy() for column in ("confidence", "right"))
        _, figure = np.unique(own["figure"].to_numpy(zero_copy_only=False).astype(str), return_inverse=True)
        if found := reliability(model, name, split, confidence, right, figure):
            yield found


def _labelled(predictions: Sequence[Artifact], images: pa.Table) -> pa.Table:
    """model, split, figure, confidence and right (0 or 1) of the answers to labelled images."""
    ids, splits = images["image_id"].combine_chunks(), images["split"].combine_chunks()
    wanted = pc.is_valid(pc.field("label")) & pc.is_valid(pc.field("predicted"))
    columns = ["image_id", "model", "corpus", "figure_id", "label", "predicted", "confidence"]
    types = {"model": pa.string(), "split": pa.string(), "figure": pa.string(), "confidence": pa.float32()}
    pieces = [pa.schema([*types.items(), ("right", pa.int8())]).empty_table()]
    for output in predictions:
        for batch in output.scan(".", PREDICTIONS).to_batches(columns=columns, filter=wanted):
            index = pc.index_in(batch["image_id"], ids)
            batch, index = batch.filter(pc.is_valid(index)), index.drop_null()
            right = pc.equal(batch["label"], batch["predicted"]).cast(pa.int8())
            values = (batch["model"], splits.take(index), figures(batch), batch["confidence"], right)
            pieces.append(pa.table(dict(zip((*types, "right"), values, strict=True))))
    return pa.concat_tables(pieces)


def reliability(
    model: str, images: str, split: str, confidence: np.ndarray, right: np.ndarray, figure: np.ndarray
) -> Reliability | None:
    """The reliability of answers: confidence (N,) 0 to 1, right (N,) 0 or 1, figure (N,) numbers from 0. None with
    fewer than two bins of LEAST_ANSWERS answers.
    """
    n, confidence, right = len(confidence), confidence.astype(np.float64), right.astype(np.int64)
    edges = np.quantile(confidence, np.linspace(0, 1, min(MOST_BINS, n // LEAST_ANSWERS) + 1)[1:-1]) if n else []
    if not len(edges):
        return None
    _, number = np.unique(np.searchsorted(np.unique(edges), confidence, side="right"), return_inverse=True)
    bins = [_bin(confidence[own], right[own], figure[own]) for own in (number == b for b in range(number.max() + 1))]
    gaps = np.zeros((int(figure.max()) + 1, len(bins)))
    np.add.at(gaps, (figure, number), right - confidence)
    error = float(np.abs(gaps.sum(0)).sum() / n)
    by_chance, most = _by_chance(
        confidence, number, n / effective_size(np.bincount(figure, right), np.bincount(figure))
    )
    low, high = _interval(error, gaps, np.bincount(figure))
    low = 0.0 if low is not None and error <= most else low
    every = _bin(confidence, right, figure)
    numbers = (None if value is None else round(value, 6) for value in (error, low, high, by_chance, most))
    return Reliability(model, images, split, n, len(gaps), every.confidence, every.right, bins, *numbers)  # type: ignore[arg-type]


def _bin(confidence: np.ndarray, right: np.ndarray, figure: np.ndarray) -> Bin:
    low, high, mean = (round(float(value), 6) for value in (confidence.min(), confidence.max(), confidence.mean()))
    return Bin(low, high, mean, as_dict(share(np.bincount(figure, right).astype(np.int64), np.bincount(figure))))


def _interval(error: float, gaps: np.ndarray, sizes: np.ndarray) -> tuple[float | None, float | None]:
    """The 95 % interval of the error. gaps: (figures, bins) sums of right less confidence. sizes: (figures,)."""
    figures = len(sizes)
    if figures < 2:
        return None, None
    random = np.random.default_rng(0)
    resampled = []
    for _ in range(RESAMPLES // _TOGETHER):
        drawn = random.multinomial(figures, np.full(figures, 1 / figures), size=_TOGETHER)
        resampled.append(np.abs(drawn @ gaps).sum(1) / (drawn @ sizes))
    low, high = of_resamples(error, np.concatenate(resampled), figures)
    return max(0.0, low), max(0.0, high)


def _by_chance(confidence: np.ndarray, number: np.ndarray, design_effect: float) -> tuple[float, float]:
    """The mean and the 95th percentile of the error if every answer were right with the probability that it states:
    a bin's sum of deviations is then normal, with the binomial variance times the design effect of sampling figures.
    """
    variance = design_effect * np.bincount(number, confidence * (1 - confidence))
    drawn = np.abs(np.random.default_rng(0).standard_normal((_DRAWS, len(variance)))) @ np.sqrt(variance)
    mean = np.sqrt(2 / np.pi) * np.sqrt(variance).sum()
    return float(mean) / len(confidence), float(np.quantile(drawn, 0.95)) / len(confidence)
