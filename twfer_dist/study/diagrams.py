"""The diagrams of a report as files for print: shares and Action Units by group, confusion, reliability."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from twfer_dist.core.canvas import COLUMN, INK, PAGE, QUIET, RULE, Canvas, shortened
from twfer_dist.core.taxonomy import EXPRESSIONS, MAX_INTENSITY
from twfer_dist.study.groups import MOST_VALUES
from twfer_dist.study.reliability import Reliability
from twfer_dist.study.report_data import Answers, Study
from twfer_dist.study.words import at_start, called

_ROW = 4.0  # millimetres of a group or an expression
_HEAD, _FOOT, _GAP = 8.5, 9.5, 3.0  # above, below and between panels


@dataclass(frozen=True)
class Diagram:
    """A picture and what it shows."""

    name: str  # of its files, without ending
    caption: str
    canvas: Canvas


@dataclass(frozen=True)
class Mark:
    """A value with its interval; low and high are None where none is claimed, value where nothing is known."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Panel:
    """One panel of intervals: a mark for each row."""

    title: str
    subtitle: str
    marks: Sequence[Mark]


@dataclass(frozen=True)
class Axis:
    """The horizontal axis of all panels: from 0 to `end`."""

    label: str
    end: float
    ticks: Sequence[float]


def diagrams(study: Study) -> Iterator[Diagram]:
    """Every diagram of a report. A column with more than MOST_VALUES values has none: its table does."""
    for reading in study.readings:
        if reading.overall:
            yield from _shares(reading)
    if study.profile.overall:
        yield from _units(study)
    yield from _confusions(study)
    yield from _reliabilities(study)


def diagram_files(study: Study) -> Iterator[tuple[str, bytes]]:
    """Each diagram as `<name>.png` and `<name>.svg`, and `captions.md`, which says what each shows."""
    lines = ["# Captions", "", "Each picture is there as PNG (300 dpi) and as SVG, 84 or 174 mm wide.", ""]
    names: Counter[str] = Counter()
    for diagram in diagrams(study):
        names[diagram.name] += 1  # two columns may differ in signs that a file's name leaves out
        name = diagram.name if names[diagram.name] == 1 else f"{diagram.name}-{names[diagram.name]}"
        yield f"{name}.png", diagram.canvas.png()
        yield f"{name}.svg", diagram.canvas.svg()
        lines.append(f"**{name}** {diagram.caption}\n")
    yield "captions.md", "\n".join(lines).encode()


def _shares(reading: Answers) -> Iterator[Diagram]:
    model, overall = reading.model or "", reading.overall or {}
    corrected = overall["expressions"][0]["corrected"] is not None
    axis = Axis("share of faces, %" if corrected else "share of answers, %", 100, (0, 50, 100))
    what = (
        f"Estimated share of faces that show each expression, corrected for the errors of {called(model)}, with "
        "simultaneous 95 % confidence intervals for the seven shares of a row"
        if corrected
        else f"Share of the answers of {called(model)} that name each expression; hollow, without an interval, because "
        "the model's errors on these faces are not known"
    )
    panel = _all_faces(overall, [[_share(e)] for e in overall["expressions"]])
    yield Diagram(f"shares_{_slug(model)}", f"{what}.", _intervals(EXPRESSIONS, [panel], axis, COLUMN, 1))
    for column in reading.groups:
        if 1 < len(column["values"]) <= MOST_VALUES:
            groups = column["values"]
            panels = [
                Panel(name, "", [_share(g["expressions"][k]) for g in groups]) for k, name in enumerate(EXPRESSIONS)
            ]
            drawn = _intervals(_labels(groups), panels, axis, PAGE, len(EXPRESSIONS))
            words = f"{what}, by {column['column']}; in brackets the number of figures."
            yield Diagram(f"shares_{_slug(model)}_by_{_slug(column['column'])}", words, drawn)


def _all_faces(overall: Mapping[str, Any], marks: Sequence[Sequence[Mark]]) -> Panel:
    """marks: one for each row, in a list of its own."""
    return Panel("All faces", f"{overall['faces']:,} faces of {overall['figures']:,} figures", [m for (m,) in marks])


def _share(expression: Mapping[str, Any]) -> Mark:
    if expression["corrected"] is not None:
        return Mark(*(100 * expression[key] for key in ("corrected", "low", "high")))
    return Mark(None if expression["share"] is None else 100 * expression["share"], None, None)


def _units(study: Study) -> Iterator[Diagram]:
    overall = study.profile.overall or {}
    every = [overall, *(group for column in study.profile.columns for group in column["values"])]
    top = max(unit["high"] or unit["mean"] for group in every for unit in group["units"])
    end = float(min(MAX_INTENSITY, max(1, np.ceil(top))))
    axis = Axis("mean intensity (0 to 5)", end, (0, end / 2, end))
    what = (
        "Mean intensity of each Action Unit over the figures, 0 to 5, with its 95 % confidence interval (Student's t)"
    )
    names = [f"{unit['unit']} {unit['name']}" for unit in overall["units"]]
    yield Diagram("units", f"{what}.", _intervals(names, [_all_faces(overall, _means([overall]))], axis, COLUMN, 1))
    for column in study.profile.columns:
        groups = column["values"]
        if 1 < len(groups) <= MOST_VALUES:
            stars = [" *" if test.get("differs") else "" for test in column["tests"]]
            units = zip(overall["units"], stars, _means(groups), strict=True)
            panels = [Panel(unit["unit"] + star, unit["name"], marks) for unit, star, marks in units]
            words = (
                f"{what}, by {column['column']}; in brackets the number of figures. A star marks a unit that differs "
                "between these groups by more than chance (permutation test, p adjusted for units and columns)."
            )
            yield Diagram(
                f"units_by_{_slug(column['column'])}", words, _intervals(_labels(groups), panels, axis, PAGE, 6)
            )


def _means(groups: Sequence[Mapping[str, Any]]) -> list[list[Mark]]:
    """For each Action Unit a mark for each group."""
    return [
        [Mark(unit["mean"], unit["low"], unit["high"]) for unit in units]
        for units in zip(*(group["units"] for group in groups), strict=True)
    ]


def _labels(groups: Sequence[Mapping[str, Any]]) -> list[str]:
    return [f"{shortened(group['value'], 20)} ({group['figures']:,})" for group in groups]


def _intervals(rows: Sequence[str], panels: Sequence[Panel], axis: Axis, width: float, across: int) -> Canvas:
    """Panels side by side, `across` in a line, all with the same rows; row names at the left of each line."""
    left = max(len(name) + sum(ord(c) > 0x2E7F for c in name) for name in rows) * 1.42 + 4
    lines = -(-len(panels) // across)
    each = (width - left - 2 - _GAP * across) / across
    height = _HEAD + len(rows) * _ROW + _FOOT
    canvas = Canvas(width, lines * height)
    for number, panel in enumerate(panels):
        line, place = divmod(number, across)
        x, top = left + place * (each + _GAP) + _GAP / 2, line * height + _HEAD
        if place == 0:
            for k, name in enumerate(rows):
                canvas.text(left - 1, top + (k + 0.5) * _ROW, name, align="right")
        last = number + across >= len(panels)
        _panel(canvas, panel, axis, (x, top, each), len(rows), labelled=last and across == 1)
    if across > 1:
        canvas.text(left + (width - left) / 2, lines * height - 2.2, axis.label, align="center", color=QUIET)
    return canvas


def _panel(
    canvas: Canvas, panel: Panel, axis: Axis, place: tuple[float, float, float], rows: int, *, labelled: bool
) -> None:
    """place: left, top and width in millimetres."""
    x, top, width = place
    bottom = top + rows * _ROW
    middle = x + width / 2
    title_y = top - 5.2 if panel.subtitle else top - 2.4
    canvas.text(middle, title_y, panel.title, align="center", bold=True)
    canvas.text(middle, top - 2.1, panel.subtitle, align="center", size=6, color=QUIET)
    for tick in axis.ticks:
        at = x + width * tick / axis.end
        canvas.line((at, at), (top, bottom + 0.8), RULE, 0.5)
        last = tick == axis.ticks[-1]  # its number ends below it, so that it does not touch the next panel's first
        canvas.text(
            at + 0.6 * last, bottom + 2.6, f"{tick:g}", align="right" if last else "center", size=6, color=QUIET
        )
    canvas.line((x, x + width), (bottom, bottom), QUIET, 0.5)
    for k, mark in enumerate(panel.marks):
        y = top + (k + 0.5) * _ROW
        if mark.value is None:
            canvas.text(middle, y, "no answer", align="center", size=6, color=QUIET)
            continue
        if mark.low is not None and mark.high is not None:
            low, high = (x + width * min(end, axis.end) / axis.end for end in (mark.low, mark.high))
            canvas.line((low, high), (y, y), INK)
        canvas.dot(x + width * min(mark.value, axis.end) / axis.end, y, hollow=mark.low is None)
    if labelled:
        canvas.text(middle, bottom + 6.6, axis.label, align="center", color=QUIET)


def _confusions(study: Study) -> Iterator[Diagram]:
    """The confusion matrices of the models that the page shows, on images that they did not learn from."""
    shown = [name for name in (study.model, study.second and study.second.model) if name]
    for entry in study.accuracy:
        for found in entry["confusion"]:
            matrix = np.array(found["matrix"])
            if found["model"] in shown and found["split"] != "train" and matrix.sum():
                name = "_".join(_slug(found[key]) for key in ("model", "split"))
                words = (
                    f"Answers of {called(found['model'])} (columns) by what the images show (rows): counts, shaded by "
                    f"the share of the row. {at_start(entry['images'])}, {found['split']}, n = {matrix.sum():,} images."
                )
                yield Diagram(f"confusion_{_slug(entry['images'])}_{name}", words, _confusion(matrix))


def _confusion(matrix: np.ndarray) -> Canvas:
    """matrix: [7, 7] counts by true (row) and answered (column) expression."""
    left, top, cell = 19.0, 17.0, 7.6
    canvas = Canvas(COLUMN, top + len(matrix) * cell + 3)
    canvas.text(left + 3.5 * cell, 3, "answered", align="center", size=6, color=QUIET)
    canvas.text(left + 7 * cell + 5.5, top - 2, "n", align="center", size=6, color=QUIET)
    for k, name in enumerate(EXPRESSIONS):
        y, total = top + (k + 0.5) * cell, int(matrix[k].sum())
        canvas.text(left - 1.5, y, name, align="right")
        canvas.text(left + (k + 0.4) * cell, top - 1.5, name, angle=40)
        canvas.text(left + 7 * cell + 5.5, y, f"{total:,}", align="center", size=6, color=QUIET)
        for j, count in enumerate(matrix[k]):
            share = count / total if total else 0.0
            canvas.box(left + j * cell, top + k * cell, cell, cell, 0.06 + 0.94 * share if total else 0.03)
            words = f"{count:,}" if count else "\u00b7"
            color = "white" if share > 0.5 else INK
            canvas.text(left + (j + 0.5) * cell, y, words, align="center", color=color, bold=j == k and bool(count))
    return canvas


def _reliabilities(study: Study) -> Iterator[Diagram]:
    """Whether the models that the page shows are right as often as they say."""
    shown = {reading.model for reading in study.readings}
    for found in study.reliability:
        if found.model in shown:
            words = (
                f"Share of correct answers of {called(found.model)} by the probability that it gave them, in bins "
                "of about equally many answers, with 95 % confidence intervals; on the diagonal a model is right as "
                f"often as it says. {at_start(found.images)}, {found.split}, n = {found.n:,} answers on "
                f"{found.figures:,} figures."
            )
            yield Diagram(f"reliability_{_slug(found.images)}_{_slug(found.model)}", words, _reliability(found))


def _reliability(found: Reliability) -> Canvas:
    left, top, side = 18.0, 4.0, 60.0
    canvas = Canvas(COLUMN, top + side + 13)
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = left + side * tick, top + side * (1 - tick)
        canvas.line((x, x), (top, top + side + 0.8), RULE, 0.5)
        canvas.line((left - 0.8, left + side), (y, y), RULE, 0.5)
        canvas.text(x, top + side + 2.8, f"{100 * tick:g}", align="center", size=6, color=QUIET)
        canvas.text(left - 1.8, y, f"{100 * tick:g}", align="right", size=6, color=QUIET)
    canvas.line((left, left + side), (top + side, top), QUIET, 0.7)
    for one in found.bins:
        x = left + side * one.confidence
        low, high, share = (top + side * (1 - one.right[key]) for key in ("low", "high", "share"))
        canvas.line((x, x), (low, high))
        canvas.dot(x, share)
    canvas.text(left + side / 2, top + side + 8, "probability that the model gave, %", align="center", color=QUIET)
    canvas.text(6, top + side / 2, "correct answers, %", align="center", color=QUIET, angle=90)
    return canvas


def _slug(words: str) -> str:
    """A name for a file: letters of any script and digits, joined by hyphens."""
    return re.sub(r"\W+", "-", words.casefold()).replace("_", "-").strip("-")[:40] or "unnamed"
