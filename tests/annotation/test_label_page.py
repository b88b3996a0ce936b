"""The page on which people label faces: what it holds, and how it works in a browser."""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_core_python.sync_playwright import Axe
from click.testing import CliRunner
from playwright.sync_api import Browser, Page, sync_playwright
from study_tables import NASTY, credited, face_picture, output

from twfer_dist.annotation.comparison import compare
from twfer_dist.annotation.label_page import MOST_FACES, label_page, movements, sample
from twfer_dist.annotation.labels import read_labels
from twfer_dist.annotation.pictures import picture_side
from twfer_dist.cli.main import main
from twfer_dist.core import images
from twfer_dist.core.credit import Credit
from twfer_dist.core.schema import FACES, PHOTOGRAPHS, photo_id
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.corpus.corpus import open_corpus
from twfer_dist.engine.artifact import Artifact

PATHS = ("a.png", "=cmd|calc.png", NASTY.replace("/", "").replace(".jpg", ".png"), "d.png", "e.png")


def drawn(out: Path) -> Artifact:
    """Five photographs of 300 x 200 pixels with a face of 100 pixels each, and their faces; the last was rejected."""
    folder = out / "figures"
    folder.mkdir(parents=True)
    photographs, faces = [], []
    for k, path in enumerate(PATHS):
        face = images.decode(face_picture(k, k + 1))
        assert face is not None
        picture = np.full((200, 300, 3), 90, np.uint8)
        picture[50:146, 100:196] = face
        (folder / path).write_bytes(images.encode_png(picture))
        shared: dict[str, Any] = {
            "photo_id": photo_id("figures", path),
            "corpus": "figures",
            "path": path,
            "figure_id": f"K{k}",
        }
        shared = {**shared, "groups": [("posture", "=kneeling")], "status": "ok"}
        photographs.append({**shared, "width": 300, "height": 200, "faces": 1})
        crop = {"box": [100, 50, 96, 96], "crop_matrix": [0.5, 0, -50, 0, 0.5, -25], "width": 48, "height": 48}
        image = images.encode_jpeg(images.resize_square(face, 48))
        status = "rejected" if path == "e.png" else "low_quality" if path == "d.png" else "ok"
        faces.append(
            {**shared, **crop, "face_id": f"{shared['photo_id']}-00", "rank": 0, "image": image, "status": status}
        )
    tables = {"photographs": (PHOTOGRAPHS, photographs), "faces": (FACES, faces)}
    return output(str(out), "faces", tables)


def facts_of(html: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="facts">(.*?)</script>', html, re.DOTALL)
    assert found
    return json.loads(found.group(1))


def test_the_page_holds_faces_and_fetches_nothing(tmp_path: Path) -> None:
    faces = drawn(tmp_path)
    page = label_page(faces, {"figures": str(tmp_path / "figures")})
    facts = facts_of(page.html)
    assert (page.faces, page.figures, page.refused, page.more) == (4, 4, 1, 0)
    assert {face["id"] for face in facts["faces"]} <= set(faces.table("faces", FACES)["face_id"].to_pylist())
    assert {face["path"] for face in facts["faces"]} == {"./=cmd|calc.png", *PATHS} - {"=cmd|calc.png", "e.png"}
    assert facts["columns"][-1] == "posture" and facts["faces"][0]["frame"] == [33.33, 25.0, 32.0, 48.0]
    assert "http:" not in page.html and "https:" not in page.html and "alert(1)</script>" not in page.html
    # Cut from the photograph again: 96 pixels of the face, where the stored crop has 48.
    jpeg = re.search(r'id="crop-0">([^<]+)<', page.html)
    again = images.decode(base64.b64decode(jpeg.group(1))) if jpeg else None
    assert again is not None and again.shape == (96, 96, 3)
    alone = facts_of(label_page(faces, {}).html)
    assert alone["build"] == facts["build"] and {face["photograph"] for face in alone["faces"]} == {None}


def test_the_page_names_the_photographers(tmp_path: Path) -> None:
    made = drawn(tmp_path)
    rows = made.table("photographs", PHOTOGRAPHS).to_pylist()
    owner = Credit("A. Person", "CC BY 4.0")
    html = label_page(credited(str(tmp_path), made, {row["photo_id"]: owner for row in rows[:2]}), {}).html
    assert "2 photographs: A. Person, CC BY 4.0" in html and "Whose photographs" not in label_page(made, {}).html


def test_a_sample_takes_every_figure_before_a_second_face() -> None:
    figure = ["a"] * 5 + ["b"] * 2 + ["c"]
    assert {figure[number] for number in sample(figure, 3)} == {"a", "b", "c"}
    assert sorted(figure[number] for number in sample(figure, 5)) == ["a", "a", "b", "b", "c"]
    assert sample(figure, 3) == sample(figure, 3) and sample(figure, None) == list(range(8))
    assert [picture_side(count) for count in (58, 2000, MOST_FACES)] == [384, 256, 192]


def test_definitions_are_the_prototypes_movements() -> None:
    assert movements("happiness") == "cheeks raised, lip corners pulled and lips parted" and movements("neutral") == ""


def test_annotate_takes_an_output_and_a_language(tmp_path: Path) -> None:
    faces, html = drawn(tmp_path), tmp_path / "page.html"
    run = CliRunner().invoke(main, ["annotate", faces.uri, "--html", str(html), "--at-most", "2", "--json"])
    assert run.exit_code == 0, run.output
    facts = json.loads(run.stdout)
    assert (facts["faces"], facts["left out by --at-most"], facts["rejected, not shown"]) == (2, 2, 1)
    run = CliRunner().invoke(main, ["annotate", faces.uri, "--html", str(html), "--language", "zh"])
    text = html.read_text()
    assert run.exit_code == 0 and '<html lang="zh-Hans">' in text and "惊讶" in text
    assert facts_of(text)["expressions"] == list(EXPRESSIONS)  # what is saved is the same in every language


def test_annotate_finds_faces_in_a_folder(faces: Artifact, tmp_path: Path) -> None:
    out = Path(faces.uri).parent
    photographs, html = out.parent / "photographs", tmp_path / "page.html"
    run = CliRunner().invoke(main, ["annotate", str(photographs), "--out", str(out), "--html", str(html)])
    assert run.exit_code == 0 and "finished  faces" in run.stdout and "twfer agreement" in run.stdout
    facts = facts_of(html.read_text())
    known = faces.table("faces", FACES, columns=["face_id"])["face_id"].to_pylist()
    assert [face["id"] for face in facts["faces"]] == known and {"material", "headgear"} <= set(facts["columns"])
    assert all(face["photograph"] is not None for face in facts["faces"])


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


def start(page: Page, uri: str, name: str) -> None:
    page.goto(uri)
    page.fill("#name", name)
    page.click("#begin button")


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def pressed(page: Page) -> list[str]:
    return [item.get_attribute("id") or item.get_attribute("data-label") or "" for item in
        page.query_selector_all('[aria-pressed="true"]')]  # fmt: skip


def count(page: Page) -> str:
    return page.inner_text("#count")


def save(page: Page, folder: Path) -> str:
    with page.expect_download() as download:
        page.click("#save")
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return str(path)


@pytest.mark.long
def test_faces_are_labelled_by_keys_and_saved(browser: Browser, tmp_path: Path) -> None:
    made, html = drawn(tmp_path), tmp_path / "page.html"
    html.write_text(label_page(made, {"figures": str(tmp_path / "figures")}).html)
    context = browser.new_context()
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    start(page, html.as_uri(), " =An/na ")
    press(page, "4", "1", "2", "5")
    assert pressed(page) == ["1", "2", "4"] and "At most 3 expressions" in page.inner_text("#message")
    press(page, "2", "u")
    assert pressed(page) == ["1", "4", "unsure"] and count(page) == "1 of 4 faces answered"
    press(page, "Enter", "6", "ArrowRight", " ")
    assert count(page) == "3 of 4 faces answered" and page.inner_text("#place") == "Face 4 of 4"
    press(page, "Backspace")  # the skip is one step
    assert page.inner_text("#place") == "Face 3 of 4" and count(page) == "2 of 4 faces answered"
    press(page, "Backspace", "ArrowLeft")
    assert page.inner_text("#place") == "Face 2 of 4" and pressed(page) == [] and count(page) == "1 of 4 faces answered"
    press(page, "6", "ArrowRight", "s")
    page.reload()
    start(page, html.as_uri(), "=An/na")
    assert count(page) == "3 of 4 faces answered" and page.inner_text("#place") == "Face 4 of 4"
    press(page, "f", "7", "Enter")
    assert "Every face has an answer" in page.inner_text("#message")
    path = save(page, tmp_path)
    assert Path(path).name == "labels-An na.csv" and not errors
    labelled = {face.path: face for face in read_labels([path])}
    assert sorted(map(str, labelled)) == sorted(PATHS[:4])
    votes = sorted(sorted(vote) for face in labelled.values() for vote in face.votes.values())
    assert votes == [[1, 4], [6], [7]] and sum(bool(face.unsure) for face in labelled.values()) == 1
    (tmp_path / "figures" / "manifest.csv").write_bytes(Path(path).read_bytes())
    corpus = open_corpus(str(tmp_path / "figures"))
    assert (corpus.notes["missing"], corpus.notes["annotators"], corpus.notes["groups"]) == (0, 1, ["posture"])
    assert sorted(row["figure_id"] for row in corpus.table.to_pylist()) == ["K0", "K1", "K2", "K3"]
    context.close()


@pytest.mark.long
def test_a_saved_table_is_loaded_by_another_browser(browser: Browser, tmp_path: Path) -> None:
    html = tmp_path / "page.html"
    html.write_text(label_page(drawn(tmp_path), {}).html)
    page = browser.new_context().new_page()
    start(page, html.as_uri(), "Anna")
    order = page.get_attribute("#crop", "src")
    press(page, "4", "1", "Enter", "2", "u", "Enter", "s")
    first = save(page, tmp_path)
    saved = Path(first).read_bytes()
    other = browser.new_context().new_page()
    other.goto(html.as_uri())
    other.set_input_files("#load", first)
    other.wait_for_selector("#work:not([hidden])")
    assert "3 answers of Anna loaded" in other.inner_text("#message") and count(other) == "3 of 4 faces answered"
    assert other.inner_text("#place") == "Face 4 of 4"
    assert Path(save(other, tmp_path)).read_bytes() == saved
    press(other, "ArrowLeft", "ArrowLeft", "ArrowLeft")
    assert other.get_attribute("#crop", "src") == order  # the name decides the order
    start(page, html.as_uri(), "Bo")
    press(page, "4", "Enter", "4", "Enter", "4", "Enter", "4")
    found = compare(read_labels([first, save(page, tmp_path)]))
    assert [(one.name, one.faces) for one in found.annotators] == [("Anna", 2), ("Bo", 4)] and found.several == 2


@pytest.mark.long
def test_the_page_says_where_it_cannot_keep_answers(browser: Browser, tmp_path: Path) -> None:
    html = tmp_path / "page.html"
    html.write_text(label_page(drawn(tmp_path), {}).html)
    context = browser.new_context()
    context.add_init_script("Object.defineProperty(window, 'localStorage', {get() { throw new Error('denied'); }});")
    page = context.new_page()
    page.goto(html.as_uri())
    assert "does not let the page keep your answers" in page.inner_text("#kept")
    start(page, html.as_uri(), "Anna")
    press(page, "4")
    page.click("#leave")  # to another name and back: nothing is lost while the page is open
    page.click("#begin button")
    assert count(page) == "1 of 4 faces answered" and len(read_labels([save(page, tmp_path)])) == 1


@pytest.mark.long
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_has_no_serious_fault_of_access(browser: Browser, tmp_path: Path, scheme: Any) -> None:
    html = tmp_path / "page.html"
    html.write_text(label_page(drawn(tmp_path), {"figures": str(tmp_path / "figures")}).html)
    for width in (390, 1280):
        context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 844})
        page = context.new_page()
        page.goto(html.as_uri())
        for step in ("start", "work"):
            if step == "work":
                start(page, html.as_uri(), "Anna")
                press(page, "4", "u")
            found = Axe().run(page)["violations"]
            assert not [v for v in found if v["impact"] in ("serious", "critical")], (step, width)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (step, width)
        context.close()
