"""The page as an article: its outline, what a screen reader finds, the same numbers in every language."""

import itertools
import re
from pathlib import Path

import pytest
from report_pages import Page, html_of, report_on, words_of, write_report
from study_roads import make_road
from study_tables import World, make_faces, make_predictions, output

from twfer_dist.core.language import LANGUAGES, Language
from twfer_dist.core.schema import FACES, PHOTOGRAPHS, PREDICTIONS
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.storage import read_bytes
from twfer_dist.reading.reader import NAME as READER
from twfer_dist.study.report import ReportConfig
from twfer_dist.study.sections import SECTIONS

MOST_BYTES = 20_000_000


@pytest.fixture(scope="module")
def chinese(world: World, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return write_report(world, str(tmp_path_factory.mktemp("zh")), "zh")


def numbers_by_section(html: str) -> dict[str, list[str]]:
    """The numbers in the text of each section, sorted: languages may order them differently."""
    body = re.sub(r"<pre.*?</pre>|<code>.*?</code>|<style>.*?</style>", "", html, flags=re.DOTALL)
    parts = re.split(r'<section id="([\w-]+)"', body)
    texts = dict(zip(parts[1::2], parts[2::2], strict=True))
    found = {name: re.findall(r"\d[\d.,]*\d|\d", " ".join(Page(text).words)) for name, text in texts.items()}
    return {name: sorted(numbers) for name, numbers in found.items()}


def test_every_language_has_the_same_numbers(report: Artifact, chinese: Artifact) -> None:
    english = numbers_by_section(html_of(report))
    assert len(english) > 10 and sum(map(len, english.values())) > 500
    other = numbers_by_section(html_of(chinese))
    for section, numbers in english.items():
        assert other[section] == numbers, section


def test_tables_and_json_do_not_depend_on_the_language(report: Artifact, chinese: Artifact) -> None:
    named = ("index.html", "tables/tables.xlsx")  # these name their own report, whose language is a setting
    files = sorted(file.path for file in report.manifest.files if file.path not in named)
    for name in files:
        assert read_bytes(report.path(name)) == read_bytes(chinese.path(name)), name
    assert chinese.results == report.results


def test_no_english_is_left_on_the_chinese_page(chinese: Artifact) -> None:
    """Apart from what is code, what people wrote, and the names of files and models."""
    html = html_of(chinese)
    assert '<html lang="zh-Hans">' in html
    text = re.sub(r"<(pre|code|style|td class=\"path\").*?</", "", html, flags=re.DOTALL)
    words = "".join(Page(text).words)
    words = re.sub(r"by hand|no face was found|ends early", "", words)
    assert not re.findall(r"[a-z]{2,}(?: [a-z]{2,}){2,}", words)
    assert (
        "95%置信区间" in words and "动作单元（AU）" in words and not re.search(r"\d %|[。，；] [\u4e00-\u9fff]", words)
    )


def test_headings_are_in_order_and_in_the_contents(report: Artifact) -> None:
    html = html_of(report)
    levels = [int(level) for level in re.findall(r"<h([1-6])", html)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    sections = re.findall(r'<section id="([\w-]+)"', html)
    contents = re.search(r"<nav.*?</nav>", html, re.DOTALL)
    assert contents and re.findall(r'href="#([\w-]+)"', contents.group()) == sections
    assert {s.name for s in SECTIONS} >= set(sections) - {"answer"} - {s for s in sections if s.startswith("part-")}


def test_a_screen_reader_finds_its_way(report: Artifact) -> None:
    html = html_of(report)
    page = Page(html)
    names = [tag for tag, _ in page.tags]
    assert (names.count("main"), names.count("nav"), names.count("footer")) == (1, 1, 1)
    ids = re.findall(r'\sid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    for _, labelled in page.tags:
        assert labelled.get("aria-labelledby", ids[0]) in ids
    for table in re.findall(r"<table.*?</table>", html, re.DOTALL):
        assert re.search(r"<caption><b>Table \d+\.</b> \S", table)
        assert all("scope=" in head for head in re.findall(r"<th[ >][^>]*>?", table))
    assert [tag for tag, _ in page.tags if tag == "a"][0] and 'class="skip" href="#answer"' in html
    assert all(attributes["alt"] for tag, attributes in page.tags if tag == "img")


@pytest.mark.parametrize("language", LANGUAGES)
def test_small_and_empty_studies_give_a_sensible_page(language: Language, tmp_path: Path) -> None:
    config = ReportConfig(language=language)
    one = make_faces(str(tmp_path / "one"), figures=1)
    alike = make_faces(str(tmp_path / "alike"), figures=15)
    same = [{**row, "label": 7, "groups": [("kind", "a" if k else "b")]} for k, row in enumerate(rows_of(alike))]
    one_class = output(str(tmp_path), "faces", {"photographs": (PHOTOGRAPHS, []), "faces": (FACES, same)}, detector="d")
    broken = [{"photo_id": "p", "corpus": "c", "path": "p.jpg", "status": "no_face", "error": "none", "faces": 0}]
    none = output(str(tmp_path), "faces", {"photographs": (PHOTOGRAPHS, broken), "faces": (FACES, [])}, detector="d")
    for faces, sections in ((one, "groups"), (one_class, "movements"), (none, "unknown")):
        answers = make_predictions(str(tmp_path), [faces], "ARM", 0.9) if faces is not none else no_answers(tmp_path)
        report = report_on(str(tmp_path), faces, answers, config=config)
        html = html_of(report)
        assert f'<section id="{sections}"' in html and '<section id="answer"' in html
        assert not re.search(r"\bnan\b|\bNone\b|\{\w*[:}]", words_of(report).split("report.json")[0])


def rows_of(faces: Artifact) -> list[dict]:
    return faces.table("faces", FACES).to_pylist()


def no_answers(path: Path) -> Artifact:
    return output(str(path), "predict", {".": (PREDICTIONS, [])})


def test_a_road_is_told_in_chinese(tmp_path: Path) -> None:
    faces = make_faces(str(tmp_path), figures=14, labelled=False)
    road = make_road(str(tmp_path), faces, READER, {k: (k % 7 + 1, 0.3 + k / 30) for k in range(12)})
    report = report_on(str(tmp_path), faces, road, config=ReportConfig(language="zh"))
    words = words_of(report)
    assert "判读器（依据测得的面部动作进行判断）" in words and "结论" in words
    assert report.results["answer"][0].startswith("The program found")


@pytest.mark.long
def test_five_thousand_faces_are_a_page_of_moderate_size(tmp_path: Path) -> None:
    faces = make_faces(str(tmp_path), figures=5000)
    report = report_on(str(tmp_path), faces, make_predictions(str(tmp_path), [faces], "ARM", 0.8))
    assert len(html_of(report).encode()) < MOST_BYTES
    assert "The program found 5,000 faces in 5,001 photographs" in words_of(report)
