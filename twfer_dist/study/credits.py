"""Whose photographs a study shows: its credits on the page, as a table, and as a bibliography."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from twfer_dist.core.credit import Credit
from twfer_dist.core.schema import PHOTOGRAPHS
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.described import DescribedTable, of_rows, text
from twfer_dist.faces.credits import read_credits

LISTED = 200
"""Photographs of a source that the page lists at most; the table `sources` has all."""

REFERENCES = "references.bib"

_COLUMNS = (
    text("corpus", "The corpus that the photograph belongs to."),
    text("path", "The photograph, relative to its corpus."),
    text("credit", "The photographer, or the credit line that the owner asks for."),
    text("licence", "The licence under which it may be used."),
    text("source", "The book, collection or site that it is taken from."),
    text("url", "Where it is found."),
)


@dataclass(frozen=True)
class Source:
    """Photographs with the same photographer, source and licence."""

    line: str  # their credit line
    photographs: int
    url: str  # the address that they share; empty where they have several, or none
    link: str  # the same where a page may link to it
    listed: list[dict[str, str]]  # corpus, path, url and link of the first LISTED


@dataclass(frozen=True)
class Credits:
    """The credits of a study's photographs, the source of most photographs first."""

    sources: list[Source]
    without: int  # photographs whose corpus says nothing about them


def collect_credits(faces: Sequence[Artifact]) -> Credits:
    """The credits that the corpora behind these outputs of faces give."""
    sources: dict[str, list[dict[str, str]]] = {}
    without = 0
    for row, credit in _photographs(faces):
        if credit:
            shown = {"corpus": row["corpus"], "path": row["path"], "url": credit.url, "link": credit.link}
            sources.setdefault(credit.line, []).append(shown)
        else:
            without += 1
    ordered = sorted(sources.items(), key=lambda item: (-len(item[1]), item[0]))
    return Credits([_source(line, rows) for line, rows in ordered], without)


def _source(line: str, rows: list[dict[str, str]]) -> Source:
    shared = len({row["url"] for row in rows}) == 1
    url, link = (rows[0]["url"], rows[0]["link"]) if shared else ("", "")
    return Source(line, len(rows), url, link, rows[:LISTED])


def credits_table(faces: Sequence[Artifact]) -> DescribedTable:
    """The table `sources`: a row for each photograph of which its corpus says whose it is."""
    rows = (
        {**row, "credit": credit.credit, "licence": credit.licence, "source": credit.source, "url": credit.url}
        for row, credit in _photographs(faces)
        if credit
    )
    return of_rows("sources", "Whose photographs these are", "In the words of the corpora.", _COLUMNS, rows)


def credit_lines(face_ids: Sequence[str], faces: Sequence[Artifact]) -> dict[str, str]:
    """What is printed below the picture of each of these faces, where its licence demands a credit."""
    known = {photo_id: credit for output in faces for photo_id, credit in read_credits(output).items()}
    credits = {face_id: known.get(face_id.rpartition("-")[0], Credit()) for face_id in face_ids}
    return {face_id: credit.short for face_id, credit in credits.items() if credit.is_demanded}


def bibliography(credits: Credits) -> bytes:
    """BibTeX of the program, of the works that it rests on, and of the sources of the photographs."""
    works = resources.files("twfer_dist.study").joinpath(REFERENCES).read_text(encoding="utf-8")
    return "\n".join([works, *_entries(credits)]).encode()


def _entries(credits: Credits) -> Iterator[str]:
    for number, source in enumerate(credits.sources, 1):
        url = f"  url   = {{{source.link}}},\n" if source.link and not re.search(r"[{}\\]", source.link) else ""
        photographs = "1 photograph" if source.photographs == 1 else f"{source.photographs:,} photographs"
        line = re.sub(r"([#$%&_{}])", r"\\\1", re.sub(r"[\\~^\x00-\x1f]", " ", source.line))
        yield f"@misc{{photographs{number},\n  title = {{{{{line}}}}},\n{url}  note  = {{{photographs}}}\n}}\n"


def _photographs(faces: Sequence[Artifact]) -> Iterator[tuple[dict[str, Any], Credit]]:
    """The corpus and path of each photograph in their order, with its credit, which may be empty."""
    columns = ["corpus", "path", "photo_id"]
    known = {photo_id: credit for output in faces for photo_id, credit in read_credits(output).items()}
    tables = [output.scan("photographs", PHOTOGRAPHS).to_table(columns=columns) for output in faces] if known else []
    if tables:
        rows = pa.concat_tables(tables).group_by(columns).aggregate([])
        for row in rows.take(pc.sort_indices(rows, [(c, "ascending") for c in columns])).to_pylist():
            yield {"corpus": row["corpus"], "path": row["path"]}, known.get(row["photo_id"], Credit())
