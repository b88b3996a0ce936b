"""Pictures of a sweep: parallel coordinates of its trials, scores over alpha and gamma, and learning curves."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.colors
import numpy as np

from twfer_dist.core.canvas import ACCENT, INK, PAGE, QUIET, RULE, Canvas
from twfer_dist.core.language import _

SCORE = "balanced_accuracy/validation"

PARALLEL, SURFACE, CURVES = "parallel_coordinates", "alpha_gamma", "learning_curves"

_LOGARITHMIC = ("learning_rate", "alpha_")  # what the names of settings on a logarithmic scale begin with
_FAINT = "#d5dde3"  # of the worst trial
_WIDTH = 0.18  # of the smoothing over alpha and gamma, as a share of their ranges
_CELLS = 24
_DARKEST = 0.75  # of a surface, on which dots are seen

Trials = Sequence[Mapping[str, Any]]


def pictures(swept: Sequence[str], trials: Trials, best: int) -> Iterator[tuple[str, Canvas]]:
    """Each picture by name. trials: in order, as in trials.json, with the history of their epochs; those that have
    no score are not drawn. best: the number of the best. The surface is drawn where alpha and gamma vary.
    """
    drawn = [trial | {"best": number == best} for number, trial in enumerate(map(dict, trials)) if SCORE in trial]
    drawn.sort(key=lambda trial: (trial["best"], trial[SCORE]))  # the best is painted last
    yield PARALLEL, _parallel(swept, drawn)
    if all(name in swept and len({trial[name] for trial in drawn}) > 1 for name in ("alpha", "gamma")):
        yield SURFACE, _surface(drawn)
    yield CURVES, _curves(drawn)


@dataclass(frozen=True)
class _Scale:
    """A value's place between two ends on the page, in millimetres."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    @classmethod
    def of(cls, values: Sequence[float], start: float, end: float, *, logarithmic: bool = False) -> "_Scale":
        return cls(min(values), max(values), start, end, logarithmic)

    def at(self, value: float) -> float:
        if self.high == self.low:
            return (self.start + self.end) / 2
        if self.logarithmic:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def _parallel(swept: Sequence[str], trials: Trials) -> Canvas:
    """A line for each trial, through its settings to its score."""
    names = [*swept, SCORE]
    height, top, bottom = 78.0, 15.0, 70.0
    canvas = Canvas(PAGE, height)
    places = np.linspace(20, PAGE - 20, len(names))
    scales = [
        _Scale.of([trial[name] for trial in trials], bottom, top, logarithmic=name.startswith(_LOGARITHMIC))
        for name in names
    ]
    for trial in trials:
        marks = [scale.at(trial[name]) for name, scale in zip(names, scales, strict=True)]
        for k in range(len(names) - 1):
            ends, heights = (places[k], places[k + 1]), (marks[k], marks[k + 1])
            canvas.line(ends, heights, _shade(trial[SCORE], trials), 2.2 if trial["best"] else 0.9)
    for name, place, scale in zip(names, places, scales, strict=True):
        canvas.line((place, place), (top, bottom), INK, 0.7)
        for row, words in enumerate(_called(name).split(" ", 1)):
            canvas.text(place, 3 + 3 * row, words, align="center", bold=True)
        for value in {scale.low, scale.high}:
            text = _percent(value) if name == SCORE else f"{value:.3g}"
            canvas.text(
                place, scale.at(value) + (3.5 if scale.at(value) > top else -3), text, align="center", color=QUIET
            )
    return canvas


def _surface(trials: Trials) -> Canvas:
    """The score over alpha and gamma: of a grid the best of each cell, else smoothed between the trials."""
    left, right, top, bottom = 18.0, 150.0, 6.0, 78.0
    canvas = Canvas(PAGE, 92.0)
    if cells := _cells(trials):
        across, up = _paint_grid(canvas, cells, (left, right), (bottom, top), trials)
    else:
        across, up = _paint_smoothed(canvas, trials, (left, right), (bottom, top))
    for value, place in across.items():
        canvas.text(place, bottom + 4, f"{value:g}", align="center", color=QUIET)
    for value, place in up.items():
        canvas.text(left - 2, place, f"{value:g}", align="right", color=QUIET)
    canvas.text((left + right) / 2, bottom + 10, "alpha", align="center", bold=True)
    canvas.text(5, (top + bottom) / 2, "gamma", align="center", bold=True, angle=90)
    _legend(canvas, trials, right + 6, top)
    return canvas


def _cells(trials: Trials) -> dict[tuple[float, float], float]:
    """The best score of each pair of alpha and gamma, where the trials are a grid; else nothing."""
    cells: dict[tuple[float, float], float] = {}
    for trial in trials:
        pair = (trial["alpha"], trial["gamma"])
        cells[pair] = max(trial[SCORE], cells.get(pair, 0.0))
    alphas, gammas = ({pair[k] for pair in cells} for k in (0, 1))
    return cells if len(cells) == len(alphas) * len(gammas) else {}


def _paint_grid(
    canvas: Canvas,
    cells: Mapping[tuple[float, float], float],
    x: tuple[float, float],
    y: tuple[float, float],
    trials: Trials,
) -> tuple[dict[float, float], dict[float, float]]:
    """Paint a cell for each pair between the ends x and y; where the values of alpha and of gamma are."""
    alphas, gammas = (sorted({pair[k] for pair in cells}) for k in (0, 1))
    width, height = (x[1] - x[0]) / len(alphas), (y[0] - y[1]) / len(gammas)
    across = {value: x[0] + (k + 0.5) * width for k, value in enumerate(alphas)}
    up = {value: y[0] - (k + 0.5) * height for k, value in enumerate(gammas)}
    for (alpha, gamma), score in cells.items():
        share = _share(score, trials)
        canvas.box(across[alpha] - width / 2, up[gamma] - height / 2, width, height, _DARKEST * share)
        canvas.text(across[alpha], up[gamma], _percent(score), align="center", color="white" if share > 0.6 else INK)
    return across, up


def _paint_smoothed(
    canvas: Canvas, trials: Trials, x: tuple[float, float], y: tuple[float, float]
) -> tuple[dict[float, float], dict[float, float]]:
    """Paint a mean of the trials around each place, and the trials; where the ends of alpha and of gamma are."""
    across = _Scale.of([trial["alpha"] for trial in trials], *x)
    up = _Scale.of([trial["gamma"] for trial in trials], *y)
    width, height = (x[1] - x[0]) / _CELLS, (y[0] - y[1]) / _CELLS
    places = np.array([[across.at(trial["alpha"]), up.at(trial["gamma"])] for trial in trials])
    scores, size = np.array([trial[SCORE] for trial in trials]), np.array([x[1] - x[0], y[0] - y[1]])
    for column, row in np.ndindex(_CELLS, _CELLS):
        left, top = x[0] + column * width, y[1] + row * height
        away = ((places - [left + width / 2, top + height / 2]) / size / _WIDTH) ** 2
        weights = np.exp(-0.5 * away.sum(1)) + 1e-9
        mean = float(weights @ scores / weights.sum())
        canvas.box(left, top, width, height, _DARKEST * _share(mean, trials))
    for trial, (left, top) in zip(trials, places, strict=True):
        canvas.dot(left, top, hollow=not trial["best"])
    return {v: across.at(v) for v in (across.low, across.high)}, {v: up.at(v) for v in (up.low, up.high)}


def _curves(trials: Trials) -> Canvas:
    """The score of each trial after each epoch."""
    height, left, right, top, bottom = 78.0, 18.0, PAGE - 8, 6.0, 64.0
    canvas = Canvas(PAGE, height)
    epochs = max(len(trial["history"]) for trial in trials)
    values = [line[SCORE] for trial in trials for line in trial["history"]]
    x, y = _Scale(1, max(epochs, 2), left + 3, right), _Scale(min(values), max(values), bottom, top)
    for value in (y.low, y.high):
        canvas.line((left, right), (y.at(value),) * 2, RULE, 0.5)
        canvas.text(left - 2, y.at(value), _percent(value), align="right", color=QUIET)
    for trial in trials:
        shade, width = _shade(trial[SCORE], trials), 2.0 if trial["best"] else 0.9
        history = trial["history"]
        for before, line in zip(history, history[1:], strict=False):
            ends = x.at(before["epoch"]), x.at(line["epoch"])
            canvas.line(ends, (y.at(before[SCORE]), y.at(line[SCORE])), shade, width)
        canvas.dot(x.at(history[-1]["epoch"]), y.at(history[-1][SCORE]), hollow=not trial["best"])
    for epoch in sorted({1, (epochs + 1) // 2, epochs}):
        canvas.text(x.at(epoch), bottom + 4, str(epoch), align="center", color=QUIET)
    canvas.text((left + right) / 2, bottom + 10, _("epoch"), align="center", bold=True)
    canvas.text(5, (top + bottom) / 2, _("balanced accuracy"), align="center", bold=True, angle=90)
    return canvas


def _legend(canvas: Canvas, trials: Trials, left: float, top: float) -> None:
    for step in range(11):
        canvas.box(left, top + 3 * step, 4, 3, _DARKEST * (1 - step / 10))
    scores = [trial[SCORE] for trial in trials]
    canvas.text(left + 5.5, top + 1.5, _percent(max(scores)), color=QUIET)
    canvas.text(left + 5.5, top + 31.5, _percent(min(scores)), color=QUIET)


def _share(score: float, trials: Trials) -> float:
    """Where a score lies between the worst and the best trial's, 0 to 1."""
    scores = [trial[SCORE] for trial in trials]
    return (score - min(scores)) / (max(scores) - min(scores)) if max(scores) > min(scores) else 1.0


def _shade(score: float, trials: Trials) -> str:
    low, high = (np.array(matplotlib.colors.to_rgb(color)) for color in (_FAINT, ACCENT))
    return matplotlib.colors.to_hex(low + _share(score, trials) * (high - low))


def _called(name: str) -> str:
    words = {SCORE: _("balanced accuracy"), "learning_rate": _("learning rate")}
    return words.get(name, name.replace("_", " "))


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"
