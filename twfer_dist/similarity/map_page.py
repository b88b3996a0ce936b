"""The map of a corpus as a self-contained page, and as a picture for the report."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import jinja2
import numpy as np

from twfer_dist.core import images
from twfer_dist.core.language import _, mark, speak
from twfer_dist.core.taxonomy import EXPRESSIONS

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442")
"""Okabe and Ito's palette (2008), which colour-blind people can tell apart, for the most frequent values."""

EXPRESSION_COLOURS = ("#ddcc77", "#332288", "#999933", "#44aa99", "#88ccee", "#882255", "#bdb8b0")
"""Tol's muted palette, as in the report, in the order of EXPRESSIONS."""

OTHERS_COLOUR = "#8a8378"
_PAPER = "#f3efe7"
OTHERS, UNKNOWN = mark("others"), mark("unknown")

CORPUS, EXPRESSION = mark("corpus"), mark("expression")
PART, FIGURE = mark("part of the data set"), mark("figure")

_MOST_VALUES = 24  # of a column: one with more is no grouping
_FEW, _LARGE_TILE, _SMALL_TILE = 1500, 96, 64  # tiles of the atlas in pixels: large for few faces
_QUALITY = 80
_PAIRS = 60  # near-duplicates on the page
_PICTURE_WIDTH = 1200

PICTURE_FACES = 400
"""Of the picture, which shows fewer than the page."""


@dataclass(frozen=True)
class Column:
    """What faces can be coloured by. legend: (value, colour, number of faces). of_face: indices into it, int (N,)."""

    name: str
    legend: list[tuple[str, str, int]]
    of_face: list[int]


@dataclass(frozen=True)
class MapFaces:
    """The faces of a map, N of them. rows: of tables.EMBEDDINGS. pictures: encoded."""

    rows: Sequence[Mapping[str, Any]]
    pictures: Sequence[bytes]
    positions: np.ndarray  # float64 (N, 2), 0 to 1
    method: str  # how they were found, in words


def columns_of(rows: Sequence[Mapping[str, Any]]) -> list[Column]:
    """What the faces can be coloured by: corpus, expression, part of the data set, the grouping columns and the figure,
    where they have two values or more, and not too many to be groups; the columns that most faces have come first. The
    corpus is always there.
    """
    groups = [dict(row["groups"] or []) for row in rows]
    known = Counter(name for own in groups for name, value in own.items() if value)
    values: dict[str, list[str | None]] = {
        CORPUS: [row["corpus"] for row in rows],
        EXPRESSION: [EXPRESSIONS[row["label"] - 1] if row["label"] else None for row in rows],
        PART: [row["split"] for row in rows],
        **{name: [own.get(name) for own in groups] for name in sorted(known, key=lambda name: (-known[name], name))},
        FIGURE: [row["figure_id"] for row in rows],
    }
    return [
        _column(name, of_faces)
        for name, of_faces in values.items()
        if name == CORPUS or 1 < len({value for value in of_faces if value}) <= min(_MOST_VALUES, len(rows) - 1)
    ]


def _column(name: str, values: Sequence[str | None]) -> Column:
    counts = Counter(value for value in values if value)
    if name == EXPRESSION:
        shown = [value for value in EXPRESSIONS if value in counts]
        colours = [EXPRESSION_COLOURS[EXPRESSIONS.index(value)] for value in shown]
    else:
        shown = sorted(counts, key=lambda value: (-counts[value], value))[: len(COLOURS)]
        colours = list(COLOURS[: len(shown)])
    legend = [(value, colour, counts[value]) for value, colour in zip(shown, colours, strict=True)]
    rest = sum(counts.values()) - sum(entry[2] for entry in legend)
    places = {value: index for index, value in enumerate(shown)}
    if rest:
        places |= dict.fromkeys(counts.keys() - places.keys(), len(legend))
        legend.append((OTHERS, OTHERS_COLOUR, rest))
    if unknown := len(values) - sum(counts.values()):
        places[""] = len(legend)
        legend.append((UNKNOWN, OTHERS_COLOUR, unknown))
    return Column(name, legend, [places[value or ""] for value in values])


def template() -> str:
    """The page before it is filled."""
    return resources.files("twfer_dist.similarity").joinpath("map.html.j2").read_text(encoding="utf-8")


def page(
    faces: MapFaces, columns: Sequence[Column], pairs: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]
) -> str:
    """The map as one HTML file without external parts. pairs: of tables.NEAR_DUPLICATES, of which the first are
    shown. facts: `corpora`, `total` (faces in all), `network`.

    Its words are in the current language; names of columns and values that are ours are translated too.
    """
    tile = _LARGE_TILE if len(faces.rows) <= _FEW else _SMALL_TILE
    across = max(1, math.ceil(math.sqrt(len(faces.rows))))
    data = {
        "across": across,
        "columns": [
            {"name": _(c.name), "legend": [(_(value), *rest) for value, *rest in c.legend], "of": c.of_face}
            for c in columns
        ],
        "vague": [_(OTHERS), _(UNKNOWN)],
        "faces": [
            [row["path"] or row["image_id"], round(float(x), 4), round(float(y), 4)]
            for row, (x, y) in zip(faces.rows, faces.positions, strict=True)
        ],
    }
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    speak(environment)
    atlas = images.data_uri(images.encode_jpeg(_atlas(faces.pictures, tile, across), _QUALITY))
    near = [_sides(pair) for pair in pairs[:_PAIRS]]
    return environment.from_string(template()).render(
        data=data, atlas=atlas, method=faces.method, shown=len(faces.rows), near=near, pairs=len(pairs), **facts
    )


def _sides(pair: Mapping[str, Any]) -> list[tuple[str, str, str | None]]:
    """The picture as a data URI, the name and the part of a data set of both faces of a near-duplicate pair."""
    return [
        (images.data_uri(pair[f"{side}_image"]), pair[f"{side}_path"] or pair[f"{side}_id"], pair[f"{side}_split"])
        for side in ("first", "second")
    ]


def _atlas(pictures: Sequence[bytes], tile: int, across: int) -> np.ndarray:
    """All pictures side by side, uint8 RGB, `across` in a row. Tiles are multiples of JPEG's 8 pixels: none bleeds."""
    down = max(1, -(-len(pictures) // across))
    atlas = np.zeros((down * tile, across * tile, 3), np.uint8)
    for number, data in enumerate(pictures):
        y, x = divmod(number, across)
        atlas[y * tile : (y + 1) * tile, x * tile : (x + 1) * tile] = images.resize_square(_picture(data), tile)
    return atlas


def picture(faces: MapFaces, column: Column, drawn: np.ndarray) -> bytes:
    """The map as a JPEG of 1200 pixels in width: the faces `drawn` (indices), framed in their colour of `column`."""
    tile = int(np.clip(_PICTURE_WIDTH / math.sqrt(max(len(drawn), 1)) * 0.55, 36, 120))
    xy = faces.positions[drawn]
    low, high = (xy.min(0), xy.max(0)) if len(drawn) else (np.zeros(2), np.ones(2))
    scale = (_PICTURE_WIDTH - tile - 2) / max(float(high[0] - low[0]), 0.4)
    height = int(min((high[1] - low[1]) * scale, _PICTURE_WIDTH) + tile + 2)
    canvas = np.full((height, _PICTURE_WIDTH, 3), _rgb(_PAPER), np.uint8)
    frame = max(3, tile // 16)
    for index, (x, y) in zip(drawn, ((xy - low) * scale).astype(int), strict=True):
        colour = _rgb(column.legend[column.of_face[index]][1])
        tiled = np.full((tile, tile, 3), colour, np.uint8)
        inner = images.resize_square(_picture(faces.pictures[index]), tile - 2 * frame)
        tiled[frame : tile - frame, frame : tile - frame] = inner
        y = min(y, height - tile)
        canvas[y : y + tile, x : x + tile] = tiled
    return images.encode_jpeg(canvas, _QUALITY)


def _picture(data: bytes) -> np.ndarray:
    decoded = images.decode(data)
    assert decoded is not None  # of our own tables
    return decoded


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(colour[1:])
    return red, green, blue
