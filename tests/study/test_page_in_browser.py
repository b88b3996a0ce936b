"""The report in a real browser: accessibility, phone, dark, print, links and keyboard. Needs Chromium."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from axe_core_python.sync_playwright import Axe
from paper_data import CONFIG, inputs_in, make_tables
from playwright.sync_api import Browser, Page, sync_playwright
from report_pages import report_on, write_report
from study_roads import PAPER, make_road
from study_tables import World, make_faces

from twfer_dist.core.language import LANGUAGES
from twfer_dist.reading.reader import NAME as READER
from twfer_dist.study.report import ReportConfig

pytestmark = pytest.mark.long

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
NARROW, WIDE = {"width": 360, "height": 740}, {"width": 1440, "height": 900}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not found:
        pytest.fail(
            "No Chromium was found: install the package chromium (Debian, Fedora), chromium-browser or google-chrome."
        )
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield running
        running.close()


@pytest.fixture(scope="module")
def pages(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The URLs of a recogniser's report, of a report by both roads and of the paper's tables, in each language."""
    urls: dict[str, str] = {}
    out = str(tmp_path_factory.mktemp("pages"))
    faces = make_faces(out, figures=14, labelled=False)
    reader = {k: (k % 7 + 1, 0.3 + k / 30) for k in range(12)}
    networks = {k: (k % 3 + 1, 0.6) for k in range(14)}
    roads = [make_road(out, faces, READER, reader), make_road(out, faces, PAPER, networks)]
    paper = inputs_in(str(tmp_path_factory.mktemp("paper")))
    for language in LANGUAGES:
        tables = make_tables(out, paper, replace(CONFIG, language=language)).tables  # type: ignore[arg-type]
        urls[f"paper-{language}"] = Path(tables.path("paper.html")).as_uri()
        config = ReportConfig(language=language)  # type: ignore[arg-type]
        reports = {"models": write_report(world, out, language), "roads": report_on(out, faces, *roads, config=config)}  # type: ignore[arg-type]
        urls |= {f"{name}-{language}": Path(r.path("index.html")).as_uri() for name, r in reports.items()}
    return urls


def opened(browser: Browser, url: str, viewport: dict[str, int], **how: str) -> Page:
    """A tab with the page, whose policy lets the test's own scripts in."""
    page = browser.new_context(viewport=viewport, bypass_csp=True, **how).new_page()  # type: ignore[arg-type]
    page.set_default_timeout(5000)
    page.goto(url)
    return page


def overflow(page: Page) -> int:
    """By how many pixels the page is wider than the window."""
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


@pytest.mark.timeout(900)  # axe looks at every element
@pytest.mark.parametrize(("name", "scheme"), [("models-en", "light"), ("models-zh", "dark"), ("roads-en", "dark"),
    ("paper-en", "light"), ("paper-zh", "dark")])  # fmt: skip
def test_axe_finds_no_serious_fault(browser: Browser, pages: dict[str, str], name: str, scheme: str) -> None:
    page = opened(browser, pages[name], WIDE, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = true })")
    found = Axe().run(page)["violations"]
    serious = [fault for fault in found if fault["impact"] in ("serious", "critical")]
    assert not serious, [(f["id"], f["nodes"][0]["html"][:200], f["nodes"][0]["failureSummary"]) for f in serious]


@pytest.mark.parametrize("name", ["models-en", "roads-zh", "paper-en", "paper-zh"])
def test_a_phone_shows_all_of_it_without_scrolling_sideways(browser: Browser, pages: dict[str, str], name: str) -> None:
    page = opened(browser, pages[name], NARROW)
    assert overflow(page) == 0
    folded = page.locator("details:not([open])")
    count = folded.count()
    assert count > 3
    for number in range(count):
        folded.first.locator("> summary").click()
        assert page.locator("details:not([open])").count() == count - number - 1
    assert overflow(page) == 0
    small = page.evaluate(
        "[...document.querySelectorAll('nav a')].filter(a => a.getBoundingClientRect().height < 24).length"
    )
    assert small == 0


@pytest.mark.parametrize("viewport", [NARROW, WIDE])
def test_every_entry_of_the_contents_leads_to_its_section(
    browser: Browser, pages: dict[str, str], viewport: dict
) -> None:
    page = opened(browser, pages["models-en"], viewport)
    links = page.locator("nav a")
    assert links.count() > 10
    for link in links.all():
        link.click()
        target = page.evaluate("location.hash.slice(1)")
        section = page.locator(f"[id='{target}']")
        at_end = page.evaluate("innerHeight + scrollY >= document.documentElement.scrollHeight - 2")
        assert at_end or abs(section.bounding_box()["y"]) < 40  # type: ignore[index]
        assert link.inner_text() in section.inner_text() or target == "answer"


def test_the_keyboard_reaches_the_answer_and_the_tables(browser: Browser, pages: dict[str, str]) -> None:
    page = opened(browser, pages["models-en"], NARROW)
    page.keyboard.press("Tab")
    skip = page.locator(".skip")
    assert skip.bounding_box()["x"] >= 0  # type: ignore[index]
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#answer"
    table = page.locator(".scroll").first
    table.focus()
    assert table.evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
    before = table.evaluate("e => e.scrollLeft")
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(300)
    assert table.evaluate("e => e.scrollWidth <= e.clientWidth || e.scrollLeft > 0") and before == 0
    folded = page.locator("details:not([open])")
    count = folded.count()
    folded.first.locator("> summary").focus()
    page.keyboard.press("Enter")
    assert folded.count() == count - 1


@pytest.mark.parametrize("name", ["models-en", "roads-zh", "paper-en"])
def test_dark_is_dark_and_print_is_white_and_unfolded(browser: Browser, pages: dict[str, str], name: str) -> None:
    page = opened(browser, pages[name], WIDE, color_scheme="dark")

    def background() -> str:
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    assert background() == "rgb(25, 23, 20)"
    page.emulate_media(media="print")
    assert background() == "rgb(255, 255, 255)"
    assert page.evaluate(
        "[...document.querySelectorAll('thead')].every(e => getComputedStyle(e).display == 'table-header-group')"
    )
    folded = page.locator("details:not([open]):not(.machine):not(.units)")
    assert folded.count() and folded.evaluate_all(
        "all => all.every(e => e.children[1].getBoundingClientRect().height > 20)"
    )
    assert not page.locator("details.machine").first.is_visible()
    pdf = page.pdf(prefer_css_page_size=True)
    assert 3 < pdf.count(b"/Type /Page\n") < 40
