"""A page in millimetres to draw diagrams on, saved as PNG and SVG with the same bytes every time."""

import functools
import io
import unicodedata
import warnings
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findSystemFonts, fontManager
from matplotlib.patches import Rectangle

COLUMN, PAGE = 84.0, 174.0
"""Widths in millimetres of one and of two columns of a journal."""

DPI = 300
INK, QUIET, RULE, ACCENT = "#1a1a1a", "#595959", "#cfcfcf", "#0b4f7a"
"""Text, secondary text, rules, and the one colour of marks: dark, so that grey print and every eye keep it apart."""

_MM = 25.4  # in an inch
_FONT = "DejaVu Sans"  # comes with matplotlib, so that every computer measures and paints it alike
_SVG_FONTS = f"'{_FONT}', Verdana, Arial, Helvetica, sans-serif"
_HAN = ("notosanscjk", "sourcehansans", "notosanssc", "wqy", "msyh", "simhei", "pingfang", "stheiti",
    "droidsansfallback")  # fmt: skip
"""How the files of fonts with Chinese letters begin, the preferred first."""

_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "twfer_dist",
    "path.simplify": False,
    "axes.unicode_minus": False,
}


class Canvas:
    """A white page of `width` x `height` millimetres, y downwards. Sizes of text are points."""

    def __init__(self, width: float, height: float) -> None:
        self._figure = Figure(figsize=(width / _MM, height / _MM), dpi=DPI)
        self._axes = self._figure.add_axes((0, 0, 1, 1))
        self._axes.set(xlim=(0, width), ylim=(height, 0))
        self._axes.axis("off")

    def line(self, x: tuple[float, float], y: tuple[float, float], color: str = INK, width: float = 0.9) -> None:
        self._axes.plot(x, y, color=color, linewidth=width, solid_capstyle="butt")

    def dot(self, x: float, y: float, *, hollow: bool = False) -> None:
        face = "white" if hollow else ACCENT
        self._axes.plot(
            [x], [y], "o", markersize=3.6, markerfacecolor=face, markeredgecolor=ACCENT, markeredgewidth=0.9
        )

    def box(self, x: float, y: float, width: float, height: float, grey: float) -> None:
        """A rectangle from white (grey 0) to the accent colour (grey 1)."""
        ink = np.array(matplotlib.colors.to_rgb(ACCENT))
        self._axes.add_patch(
            Rectangle((x, y), width, height, facecolor=1 - grey * (1 - ink), edgecolor="white", lw=0.6)
        )

    def text(
        self,
        x: float,
        y: float,
        words: str,
        *,
        size: float = 7,
        align: str = "left",
        color: str = INK,
        bold: bool = False,
        angle: float = 0,
    ) -> None:
        """Words whose middle line is at y; `angle` in degrees turns them upwards about their end at (x, y)."""
        families = _families(words)
        weight = "bold" if bold and len(families) == 1 else "normal"  # few computers have a bold Chinese font
        font = FontProperties(family=families, size=size, weight=weight)
        self._axes.text(
            x, y, words.replace("$", r"\$"), fontproperties=font, color=color, ha=align, va="center_baseline",
            rotation=angle, rotation_mode="anchor",
        )  # fmt: skip

    def png(self) -> bytes:
        """The page at 300 dots an inch."""
        sink = io.BytesIO()
        with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")  # without a Chinese font; the SVG has the text
            FigureCanvasAgg(self._figure).print_png(sink, metadata={"Software": None})
        return sink.getvalue()

    def svg(self) -> bytes:
        """The page as SVG, whose text is text, in fonts that any computer has."""
        sink = io.StringIO()
        with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")
            FigureCanvasSVG(self._figure).print_svg(sink, metadata={"Date": None, "Creator": None})
        return sink.getvalue().replace(f"'{_FONT}'", _SVG_FONTS).encode()


def shortened(words: str, most: int) -> str:
    """The words cut to the width of `most` Latin letters, on one line."""
    line = " ".join(words.split())
    widths = np.cumsum([2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in line])
    if not len(widths) or widths[-1] <= most:
        return line
    return line[: int((widths < most).sum())].rstrip() + "\u2026"


def _families(words: str) -> list[str]:
    """The fonts for a text: a Chinese one of this computer's too where the text needs it."""
    needs_han = any(unicodedata.east_asian_width(letter) in "WF" for letter in words)
    return [_FONT, *_han_fonts()] if needs_han else [_FONT]


@functools.cache
def _han_fonts() -> tuple[str, ...]:
    """The first of `_HAN` that this computer has, if any; matplotlib's own list may be older than the font."""
    files = sorted(findSystemFonts(), key=lambda path: ("regular" not in path.lower(), path))
    for start in _HAN:
        for path in files:
            if Path(path).name.lower().startswith(start):
                known = len(fontManager.ttflist)
                fontManager.addfont(path)
                return (fontManager.ttflist[known].name,)
    return ()
