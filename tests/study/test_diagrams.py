"""Diagrams for print: what they show, their size, their text, and the same bytes every time."""

import io
import json
import re

import numpy as np
import pytest
from PIL import Image
from report_pages import json_of

from twfer_dist.core.canvas import ACCENT, COLUMN, DPI, PAGE, Canvas, shortened
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact

MM = DPI / 25.4


def names_of(report: Artifact) -> set[str]:
    return {file.path for file in report.manifest.files if file.path.startswith("figures/")}


def test_a_report_has_a_diagram_of_each_kind(report: Artifact) -> None:
    drawn = {name.removeprefix("figures/").removesuffix(".png") for name in names_of(report) if name.endswith(".png")}
    assert {"shares_arm", "shares_arm_by_posture", "units", "units_by_posture"} <= drawn
    assert not [name for name in drawn if name.startswith("confusion_") and name.endswith("_train")]
    assert len([name for name in drawn if name.startswith("confusion_")]) == 4
    reliable = [found for found in json_of(report)["reliability"] if found["model"] == "ARM"]
    assert len([name for name in drawn if name.startswith("reliability_")]) == len(reliable) > 0
    assert names_of(report) == {f"figures/{n}.{end}" for n in drawn for end in ("png", "svg")} | {"figures/captions.md"}
    captions = storage.read_bytes(report.path("figures/captions.md")).decode()
    assert all(f"**{name}** " in captions for name in drawn)
    for name in drawn:
        picture = Image.open(io.BytesIO(storage.read_bytes(report.path(f"figures/{name}.png"))))
        assert picture.width in (int(COLUMN * MM), int(PAGE * MM)) and round(picture.info["dpi"][0]) == DPI


def test_svg_holds_words_and_no_dates(report: Artifact) -> None:
    svg = storage.read_bytes(report.path("figures/shares_arm_by_posture.svg")).decode()
    words = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    assert {"surprise", "kneeling (12)"} <= set(words) and "Verdana, Arial" in svg
    assert "<dc:date>" not in svg and "http" not in re.sub(
        r"xmlns\S+|<!DOCTYPE[^>]*>|<metadata>.*</metadata>", "", svg, flags=re.S
    )


def test_marks_stand_where_the_numbers_say(report: Artifact) -> None:
    """The dots of the picture are measured: columns of accent colour, row by row."""
    study = json_of(report)
    data = storage.read_bytes(report.path("figures/shares_arm.png"))
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    accent = np.abs(pixels - [int(ACCENT[k : k + 2], 16) for k in (1, 3, 5)]).sum(2) < 30
    rows = np.flatnonzero(accent.any(1))
    centres = [
        np.flatnonzero(accent[band].any(0)).mean() for band in np.split(rows, np.flatnonzero(np.diff(rows) > 3) + 1)
    ]
    shares = [e["share"] if e["corrected"] is None else e["corrected"] for e in study["overall"]["expressions"]]
    assert len(centres) == 7 and np.corrcoef(centres, shares)[0, 1] > 0.9999, json.dumps(shares)


@pytest.mark.parametrize("words", ["plain", "50 % $x$ _a", "将军俑"])
def test_any_words_are_drawn_and_twice_the_same(words: str) -> None:
    def draw() -> Canvas:
        canvas = Canvas(COLUMN, 20)
        canvas.text(40, 10, words, align="center", bold=True)
        canvas.line((0, 80), (15, 15))
        return canvas

    one, other = draw(), draw()
    assert one.png() == other.png() and one.svg() == other.svg() and words in one.svg().decode()


def test_long_names_are_shortened_by_their_width() -> None:
    assert shortened("general", 20) == "general" and shortened("a\nb", 20) == "a b"
    assert shortened("x" * 30, 20) == "x" * 19 + "\u2026" and shortened("俑" * 30, 20) == "俑" * 9 + "\u2026"
