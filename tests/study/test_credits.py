"""The credits of a report: on the page, under pictures, in a table and in the bibliography."""

import re
from pathlib import Path

import yaml
from report_pages import csv_of, html_of, json_of, report_on, words_of
from study_tables import credited, make_faces, make_predictions

from twfer_dist.core.credit import Credit
from twfer_dist.core.schema import PHOTOGRAPHS
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.faces.credits import read_credits
from twfer_dist.study.credits import Credits, Source, bibliography

ROOT = Path(__file__).parents[2]
OPEN = Credit("A <b>Museum</b>", "CC BY 4.0", "Heads & busts (2016)", "https://example.org/heads")


def test_a_report_credits_what_it_shows(tmp_path: Path) -> None:
    plain = make_faces(str(tmp_path / "plain"), figures=9)
    photographs = plain.table("photographs", PHOTOGRAPHS).to_pylist()
    credits = {row["photo_id"]: OPEN for row in photographs[:5]} | {photographs[5]["photo_id"]: Credit("B", "CC0")}
    faces = credited(str(tmp_path), plain, credits)
    assert read_credits(faces) == credits and read_credits(plain) == {}
    report = report_on(str(tmp_path), faces, make_predictions(str(tmp_path), [faces], "ARM", 1.0))
    html, words = html_of(report), words_of(report)
    assert (
        "Whose photographs these are" in words
        and "5 photographs : A <b>Museum</b>, Heads & busts (2016), CC BY 4.0, https://example.org/heads" in words
    )
    assert "<b>Museum" not in html and '<a href="https://example.org/heads" rel="external noreferrer">' in html
    shown = {row["face_id"].rpartition("-")[0] for row in json_of(report)["sample"]}
    demanded = sum(1 for photo_id, credit in credits.items() if photo_id in shown and credit == OPEN)
    assert html.count('<div class="credit">') == demanded > 0
    rows = csv_of(report, "sources.csv")
    assert len(rows) == 6 and {row["licence"] for row in rows} == {"CC BY 4.0", "CC0"}
    written = storage.read_bytes(report.path("references.bib")).decode()
    assert r"title = {{A <b>Museum</b>, Heads \& busts (2016), CC BY 4.0}}" in written and "5 photographs" in written


def test_without_credits_nothing_is_said(report: Artifact) -> None:
    assert "Whose photographs" not in words_of(report) and csv_of(report, "sources.csv") == []


def test_the_bibliography_agrees_with_the_citation_file() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    entries = re.findall(r"^@\w+\{(\w+),(.*?)^\}", bibliography(Credits([], 0)).decode(), re.DOTALL | re.MULTILINE)
    program, *works = (dict(re.findall(r"(\w+)\s*=\s*\{(.*?)\}(?:,|\s*$)", text, re.DOTALL)) for _, text in entries)
    assert program["title"].replace("\\", "") == cited["title"] and program["version"] == cited["version"]
    assert len(works) == len(cited["references"])
    for work, reference in zip(works, cited["references"], strict=True):
        authors = [f"{person['family-names']}, {person['given-names']}" for person in reference["authors"]]
        assert re.split(r"\s+and\s+", work["author"]) == authors
        assert (work["title"], work["year"]) == (reference["title"], str(reference["year"]))
        assert work.get("booktitle") == reference.get("collection-title")
        arxiv = [i["value"].removeprefix("arXiv:") for i in reference.get("identifiers", [])]
        assert ([work["eprint"]] if "eprint" in work else []) == arxiv


def test_many_sources_stay_valid_bibtex() -> None:
    source = Source(r"50 % \evil{ _ #", 3, "https://x.org/{", "https://x.org/{", [])
    written = bibliography(Credits([source], 0)).decode().rpartition("@misc")[2]
    assert r"50 \%  evil\{ \_ \#" in written and "url" not in written
