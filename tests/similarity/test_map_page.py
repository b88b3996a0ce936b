"""The map's page: what it holds, and how it behaves in a browser."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from similarity_tables import picture, row

from twfer_dist.core import images
from twfer_dist.core.language import use_language
from twfer_dist.similarity import map_page
from twfer_dist.similarity.layout import PCA_WORDS
from twfer_dist.similarity.map_page import MapFaces, columns_of, page

CHROMIUM = "/usr/bin/chromium"
HOSTILE = "</script><script>document.title='taken'</script>"


def mapped(rows: list[dict[str, Any]]) -> MapFaces:
    xy = np.random.default_rng(0).random((len(rows), 2))
    return MapFaces(rows, [r["image"] for r in rows], xy, PCA_WORDS)


def text(faces: MapFaces) -> str:
    known = {"corpora": ["a", "b"], "total": len(faces.rows), "network": "test network"}
    return page(faces, columns_of(faces.rows), [], known)


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    """Thirty faces of two corpora; a path and a group that are no friends of HTML."""
    groups = [[("posture", HOSTILE if k == 7 else f"posture {k % 3}"), ("file", str(k))] for k in range(30)]
    rows = [row(k, "ab"[k % 2], f"f{k}", np.ones(3), label=k % 4 or None, groups=groups[k]) for k in range(30)]
    rows[7]["path"] = HOSTILE
    return rows


def test_columns_are_those_that_group_faces(rows: list[dict[str, Any]]) -> None:
    columns = {column.name: column for column in columns_of(rows)}
    assert list(columns) == ["corpus", "expression", "posture"]
    expressions = [(value, number) for value, _, number in columns["expression"].legend]
    assert expressions == [("surprise", 8), ("fear", 7), ("disgust", 7), ("unknown", 8)]
    for column in columns.values():
        assert sum(number for _, _, number in column.legend) == 30
        counted = np.bincount(column.of_face, minlength=len(column.legend)).tolist()
        assert counted == [number for _, _, number in column.legend]


def test_rare_values_share_a_colour() -> None:
    rows = [row(k, "a", f"f{k % 10}", np.ones(3)) for k in range(30)]
    (figures,) = [column for column in columns_of(rows) if column.name == "figure"]
    assert len(figures.legend) == 8 and figures.legend[-1] == (map_page.OTHERS, map_page.OTHERS_COLOUR, 9)


def test_the_page_holds_every_face_and_nothing_external(rows: list[dict[str, Any]]) -> None:
    html = text(mapped(rows))
    data = json.loads(re.search(r'id="data">(.*?)</script>', html, re.DOTALL)[1])  # type: ignore[index]
    assert [face[0] for face in data["faces"]] == [r["path"] for r in rows]
    assert HOSTILE not in html and not re.search(r"(src|href)=|https?:", html)


def test_tiles_of_the_atlas_are_the_pictures() -> None:
    pictures = [images.encode_png(picture(k)) for k in range(5)]
    atlas = map_page._atlas(pictures, 96, 3)
    assert atlas.shape == (192, 288, 3)
    np.testing.assert_array_equal(atlas[96:, 96:192], picture(4))


def test_the_picture_has_the_colours_of_the_legend(rows: list[dict[str, Any]]) -> None:
    faces = mapped(rows)
    (corpus, *_) = columns_of(rows)
    shown = images.decode(map_page.picture(faces, corpus, np.arange(len(rows))))
    assert shown is not None and shown.shape[1] == 1200
    for _, colour, _ in corpus.legend:
        distance = np.abs(shown.astype(int) - np.array(map_page._rgb(colour))).sum(2)
        assert (distance < 30).sum() > 1000, colour


def test_a_map_of_one_face_and_in_chinese() -> None:
    with use_language("zh"):
        html = text(mapped([row(1, "a", "f", np.ones(3))]))
    assert 'lang="zh"' in html and "地图" in html


@pytest.mark.long
@pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="there is no Chromium")
def test_the_map_works_with_mouse_and_keyboard(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    (tmp_path / "map.html").write_text(text(mapped(rows)))
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_page(viewport={"width": 390, "height": 800})
        errors: list[str] = []
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.goto((tmp_path / "map.html").as_uri())
        faces, facts = tab.locator("#map button"), tab.locator("#facts")
        assert faces.count() == 30 and tab.title().startswith("Map of")
        faces.nth(7).focus()
        assert HOSTILE in facts.inner_text()
        tab.keyboard.press("ArrowLeft")
        assert tab.evaluate("document.activeElement.dataset.k") != "7" and HOSTILE not in facts.inner_text()
        tab.locator("#by").select_option("1")
        tab.locator("#legend button").first.click()
        assert tab.locator("#map button:not(.dim)").count() == 8  # surprise
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390 and not errors
        browser.close()
