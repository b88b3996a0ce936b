"""Reports, their pages and their words."""

import csv
import io
import json
import re
from html.parser import HTMLParser
from typing import Any

from study_tables import World

from twfer_dist.core.language import Language
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.stage import run_stage
from twfer_dist.study.report import ReportConfig, report_spec


def write_report(world: World, out: str, language: Language = "en", **changed: Any) -> Artifact:
    """The report on a world, with some of its inputs changed."""
    inputs = {"faces": [world.faces], "animated": [world.animated], "datasets": [world.dataset], **changed}
    spec = report_spec(world.predictions, **inputs, config=ReportConfig(pictures=12, strips=2, language=language))
    return run_stage(spec, out, quiet=True)


def report_on(out: str, faces: Artifact, *predictions: Artifact, **inputs: Any) -> Artifact:
    """The report on one output of faces."""
    inputs = {"config": ReportConfig(), **inputs}
    return run_stage(report_spec(predictions, faces=[faces], **inputs), out, quiet=True)


def html_of(report: Artifact) -> str:
    return storage.read_bytes(report.path("index.html")).decode()


def words_of(report: Artifact) -> str:
    """The text that a reader of the page sees, with single blanks."""
    text = " ".join(Page(html_of(report)).words).replace("\u00a0", " ").replace("\u2019", "'")
    return re.sub(r"\s+([.,;)])", r"\1", re.sub(r"\s+", " ", text))


def json_of(report: Artifact) -> dict[str, Any]:
    return json.loads(storage.read_bytes(report.path("report.json")))


def csv_of(report: Artifact, name: str) -> list[dict[str, str]]:
    data = storage.read_bytes(report.path(f"tables/{name}"))
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"))))


class Page(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._in_style = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in_style = tag == "style"

    def handle_data(self, data: str) -> None:
        if not self._in_style:
            self.words.append(data)
