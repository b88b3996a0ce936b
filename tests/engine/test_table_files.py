"""A described table in five formats: the same numbers, the words that belong to them, and no cell that runs."""

import csv
import io
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow.parquet as pq
import pytest
from s3_server import Server

from twfer_dist.engine import storage, table_files
from twfer_dist.engine.described import SHARE, DescribedTable, interval, number, of_rows, text, whole
from twfer_dist.engine.table_files import WORKBOOK, write_tables

COLUMNS = (
    text("group", "The posture & pit."),
    whole("n", "Figures.", "figures"),
    number("share", "Share of the figures.", SHARE, ends=("low", "high")),
    *interval("share", SHARE),
    number("mean", "Mean.", "0 to 5", decimals=2),
)
ROWS: list[dict[str, Any]] = [
    {"group": "=1+1_a & 50 %|b", "n": 1234, "share": 0.125, "low": 0.1, "high": 0.2, "mean": 1.005},
    {"group": "将军\x07", "n": 6, "mean": 2.0},
]


def table(rows: list[dict[str, Any]], name: str = "groups") -> DescribedTable:
    return of_rows(name, "Groups: 100 % of them", "n counts figures.", COLUMNS, rows)


def sheet_of(folder: Path, name: str) -> list[tuple[Any, ...]]:
    book = openpyxl.load_workbook(folder / WORKBOOK)
    return list(book[name].iter_rows(values_only=True))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tables")
    write_tables(str(made), [table(ROWS), table([], "nothing")], [("title", "=A study"), ("written by", "this")])
    return made


def test_data_formats_hold_the_same_values(folder: Path) -> None:
    parquet = pq.read_table(folder / "groups.parquet")
    assert parquet.to_pylist() == [{column.name: row.get(column.name) for column in COLUMNS} for row in ROWS]
    assert parquet.schema.field("n").metadata == {b"meaning": b"Figures.", b"unit": b"figures"}
    first, second = csv.DictReader(io.StringIO((folder / "groups.csv").read_text(encoding="utf-8-sig")))
    assert first["group"] == "'=1+1_a & 50 %|b" and second["share"] == ""
    assert [float(first[name]) for name in ("n", "share", "low", "high")] == [1234, 0.125, 0.1, 0.2]
    header, *rows = sheet_of(folder, "groups")
    assert header == tuple(column.name for column in COLUMNS)
    assert rows == [("'=1+1_a & 50 %|b", 1234, 0.125, 0.1, 0.2, 1.005), ("将军\ufffd", 6, None, None, None, 2)]


def test_the_workbook_explains_itself_and_runs_nothing(folder: Path) -> None:
    book = openpyxl.load_workbook(folder / WORKBOOK)
    assert book.sheetnames == ["About", "groups"] and book["groups"].freeze_panes == "A2"
    assert all(cell.data_type != "f" for sheet in book for row in sheet.iter_rows() for cell in row)
    formats = [cell.number_format for cell in book["groups"][2]]
    assert formats == ["@", "#,##0", "0.0%", "0.0%", "0.0%", "0.00"]
    about = [[cell for cell in row if cell] for row in sheet_of(folder, "About")]
    assert about[:2] == [["title", "'=A study"], ["written by", "this"]]
    assert ["share", "Share of the figures.", SHARE] in about and ["nothing", "no rows in this study"] in [
        row[:2] for row in about
    ]


def test_print_formats_escape_and_pair_intervals(folder: Path) -> None:
    latex, markdown = ((folder / f"groups.{end}").read_text() for end in ("tex", "md"))
    assert r"=1+1\_a \& 50 \%\textbar{}b & 1,234 & 12.5 [10.0, 20.0] & 1.00 \\" in latex
    assert r"\caption{Groups: 100 \% of them}\label{tab:groups}" in latex and r"\toprule" in latex
    assert r"group & n & share, \% [95 \% interval] & mean, 0 to 5 \\" in latex
    assert r"\textit{Note.} n counts figures." in latex and latex.count("{") == latex.count("}")
    assert r"| =1+1\_a & 50 %\|b | 1,234 | 12.5 \[10.0, 20.0\] | 1.00 |" in markdown
    assert "| 将军  | 6 |  | 2.00 |" in markdown and not (folder / "nothing.tex").exists()


def test_long_tables_are_bounded_and_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_files, "SHEET_ROWS", 60)
    monkeypatch.setattr(table_files, "PRINTED_ROWS", 50)
    write_tables(str(tmp_path), [table(ROWS * 40)], [])
    assert len(pq.read_table(tmp_path / "groups.parquet")) == 80 and len(sheet_of(tmp_path, "groups")) == 61
    latex = (tmp_path / "groups.tex").read_text()
    assert r"\begin{longtable}" in latex and "The first 50 of 80 rows; groups.csv has all of them." in latex
    assert "the first 60 of 80 rows; groups.csv and groups.parquet have all of them" in str(sheet_of(tmp_path, "About"))


def test_the_same_tables_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    write_tables(str(tmp_path), [table(ROWS), table([], "nothing")], [("title", "=A study"), ("written by", "this")])
    for path in sorted(folder.iterdir()):
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_bucket_takes_the_same_files(folder: Path, s3: Server) -> None:
    """Its address ends in what tells the server, not in the name of a folder."""
    there = s3.uri("report/tables")
    write_tables(there, [table(ROWS), table([], "nothing")], [("title", "=A study"), ("written by", "this")])
    assert sorted(storage.list_files(there)) == sorted(path.name for path in folder.iterdir())
    for name in ("groups.csv", "groups.parquet", "groups.tex"):
        assert storage.read_bytes(storage.join(there, name)) == (folder / name).read_bytes()
