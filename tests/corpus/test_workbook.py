"""Excel workbooks as manifests."""

import zipfile
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from corpus_files import labels, put, read, remarks

from twfer_dist.core.errors import UserError
from twfer_dist.corpus.corpus import open_corpus


def workbook(path: Path, *rows: list[Any], sheet: str = "photographs") -> openpyxl.Workbook:
    book = openpyxl.Workbook()
    book.active.append(["What this is", "of whom"])
    table = book.create_sheet(sheet)
    for row in rows:
        table.append(row)
    book.save(path)
    return book


def test_a_workbook_is_a_manifest(tmp_path: Path) -> None:
    put(tmp_path, "1.jpg", "2.jpg", "3.jpg")
    book = workbook(
        tmp_path / "Manifest.XLSX",
        ["文件名", "标签", "俑号", "年代"],
        [1, 4.0, "K1"],
        ["2.jpg", "愤怒"],
        [None],
        ["3.jpg", "-", "K2", -210],
    )
    corpus = open_corpus(str(tmp_path))
    assert labels(corpus) == {"1.jpg": "happiness", "2.jpg": "anger", "3.jpg": ""}
    assert corpus.notes["groups"] == ["年代"] and corpus.name == tmp_path.name
    assert {row["figure_id"] for row in corpus.table.to_pylist()} == {"K1", "2.jpg", "K2"}
    assert open_corpus(str(tmp_path / "Manifest.XLSX")).digest == corpus.digest
    book["photographs"].merge_cells("C2:C3")  # one figure of two photographs, as people write it
    book.save(tmp_path / "Manifest.XLSX")
    assert {row["figure_id"] for row in open_corpus(str(tmp_path)).table.to_pylist()} == {"K1", "K2"}
    book["photographs"]["B3"] = "joy"
    book.save(tmp_path / "Manifest.XLSX")
    with pytest.raises(UserError, match="Manifest.XLSX, sheet 'photographs', line 3: 'joy' is not an expression"):
        open_corpus(str(tmp_path))
    corpus = read(tmp_path, "path,label\n1.jpg,fear\n")
    assert labels(corpus) == {
        "1.jpg": "fear"
    } and "Manifest.XLSX was not read: manifest.csv was read instead" in remarks(corpus)


def test_a_workbook_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(put(tmp_path, "a.jpg") / "manifest.xlsx", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as book:
        book.writestr("xl/worksheets/sheet1.xml", bytes(301_000_000))
    with pytest.raises(UserError, match="unpacks to 301 MB, but at most 300 MB are allowed: save it as CSV"):
        open_corpus(str(tmp_path))


@pytest.mark.parametrize("name", ["far down", "far right", "merged"])
def test_a_small_workbook_of_many_cells_is_refused(tmp_path: Path, name: str) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.append(["path", "label"])
    for line in range(2, 500):
        sheet.cell(line, 16384 if name == "far right" else 1, f"{line}.jpg")
    if name == "merged":
        sheet.cell(1, 16384, "of all")
        sheet.merge_cells("XFD1:XFD499")
    book.save(path := put(tmp_path, "2.jpg") / "manifest.xlsx")
    if name == "far down":
        with zipfile.ZipFile(path) as archive:
            parts = {part: archive.read(part) for part in archive.namelist()}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for part, data in parts.items():
                archive.writestr(part, data.replace(b'"499"', b'"3000000"').replace(b'"A499"', b'"A3000000"'))
    assert path.stat().st_size < 20_000
    with pytest.raises(UserError, match=r"manifest.xlsx has cells beyond row 1,048,576, or more than 5,000,000 with"):
        open_corpus(str(tmp_path))
