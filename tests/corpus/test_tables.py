"""Tables in every form in which programs save them."""

import shutil
import unicodedata
from pathlib import Path

import pytest
from corpus_files import TRIALS, labels, put, read, remarks

from twfer_dist.core.errors import UserError
from twfer_dist.corpus.corpus import open_corpus


@pytest.mark.parametrize(
    ("table", "first", "second", "groups", "words"),
    [
        ("annotators_long", "happiness", "sadness", [], "rows of one photograph were read as votes"),
        ("annotators_wide", "happiness", "anger", [], "annotator 1, annotator 2, annotator 3 were read as votes"),
        ("chinese_gb18030", "happiness", "sadness", ["posture"], "was read as GB18030"),
        ("commas_below", "happiness", "sadness", [], ""),
        ("excel_utf16", "anger", "neutral", ["posture"], "was read as UTF-16"),
        ("semicolons", "happiness", "sadness", ["posture"], ""),
        ("upper_case", "happiness", "sadness", ["posture"], ""),
    ],
)
def test_tables_that_people_sent(
    tmp_path: Path, table: str, first: str, second: str, groups: list[str], words: str
) -> None:
    shutil.copyfile(TRIALS / "tables" / f"{table}.csv", tmp_path / "manifest.csv")
    corpus = open_corpus(str(put(tmp_path, "a.jpg", "b.jpg")))
    assert labels(corpus) == {"a.jpg": first, "b.jpg": second}
    assert (corpus.notes["missing"], corpus.notes["groups"]) == (0, groups)
    assert words in remarks(corpus) and (words or not remarks(corpus))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_form_of_text_is_one_table(tmp_path: Path, encoding: str, separator: str, end: str) -> None:
    lines = ["path,label,musée", "a.jpg,Happy,Besançon", ",,", 'b.jpg,"Sad",x,,', ",,"]
    text = end.join(line.replace(",", separator) for line in ["", *lines, ""])
    corpus = read(put(tmp_path, "a.jpg", "b.jpg"), text.encode(encoding))
    assert labels(corpus) == {"a.jpg": "happiness", "b.jpg": "sadness"}
    assert {dict(row["groups"])["musée"] for row in corpus.table.to_pylist()} == {"Besançon", "x"}


@pytest.mark.parametrize(
    ("encoding", "words", "text", "files"),
    [
        ("gb18030", "GB18030", "path,label,posture\na.jpg,happiness,跪射\nb.jpg,anger,立射\n", []),
        ("cp1252", "Windows-1252", "path;figure;museum\na.jpg;Kopf 1;München\nb.jpg;K2;Köln\n", []),
        ("cp1252", "Windows-1252", "path,note\na.jpg,café\nb.jpg,élève\n", []),
        ("mac_roman", "Mac Roman", "path;label\nBüste.jpg;Happy\n", ["Büste.jpg"]),
        ("mac_roman", "Mac Roman", "path;label\nBüste.jpg;Happy\n", [unicodedata.normalize("NFD", "Büste.jpg")]),
        ("cp1250", "Windows-1250", "path,figure\nŁódź.jpg,głowa\n", ["Łódź.jpg"]),
        ("cp932", "Shift JIS", "ファイル名,表情\nが像.jpg,4\n", []),
        ("big5", "Big5", "檔案名稱,標籤\na.jpg,驚訝\nb.jpg,憤怒\n", []),
    ],
)
def test_other_encodings_are_recognised(tmp_path: Path, encoding: str, words: str, text: str, files: list[str]) -> None:
    corpus = read(put(tmp_path, *(files or ["a.jpg", "b.jpg", "が像.jpg"])), text.encode(encoding))
    assert f"manifest.csv was read as {words}" in remarks(corpus)
    assert corpus.notes["missing"] == 0
    values = {v for row in corpus.table.to_pylist() for v in (row["figure_id"], *dict(row["groups"]).values())}
    assert values & {
        "跪射",
        "München",
        "café",
        "Büste.jpg",
        unicodedata.normalize("NFD", "Büste.jpg"),
        "głowa",
        "が像.jpg",
        "a.jpg",
    }
    for row in corpus.table.to_pylist():
        for value in dict(row["groups"]).values():
            assert value in text


def test_excels_first_line_titles_and_empty_columns(tmp_path: Path) -> None:
    text = (
        "sep=;\r\nInventory of 2024;;;;\r\n\r\nFile name ; Label;Figure;;\r\na.jpg;4.0;K1;;\r\nb.jpg;?;;;\r\n;;;;\r\n"
    )
    corpus = read(put(tmp_path, "a.jpg", "b.jpg"), text)
    assert labels(corpus) == {"a.jpg": "happiness", "b.jpg": ""}
    assert {row["figure_id"] for row in corpus.table.to_pylist()} == {"K1", "b.jpg"}
    assert corpus.notes["columns_read_as"] == {"File name": "path", "Figure": "figure_id"}
    for words in (
        "line 4 names the columns",
        "File name as path, Figure as figure",
        "1 of 2 rows give no label",
        "1 of 2 rows give no figure",
    ):
        assert words in remarks(corpus)
    with pytest.raises(UserError, match="manifest.csv, line 5: 'joy' is not an expression"):
        read(tmp_path, text.replace("4.0", "joy"))


@pytest.mark.parametrize("first", ["sep=\r\n", 'sep="\n'])
def test_a_first_line_that_names_no_separator(tmp_path: Path, first: str) -> None:
    assert labels(read(put(tmp_path, "a.jpg"), f"{first}path,label\na.jpg,Happy\n")) == {"a.jpg": "happiness"}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 500, "older Excel .* save it as .xlsx"),
        (b"PK\x03\x04nothing", "cannot be read as an Excel workbook"),
        (b"<html><table><tr><td>path</td></tr></table></html>", "is a web page"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01", "is not a text table"),
        (
            "path,museum\na.jpg,Köln\nb.jpg,Rhône, Saône, café\n".encode() + b"c.jpg,K\xf6ln\n",
            "line 4: a character is not UTF-8",
        ),
    ],
)
def test_other_files_are_refused_in_one_sentence(tmp_path: Path, data: bytes, words: str) -> None:
    with pytest.raises(UserError, match=f"manifest.csv.*{words}"):
        read(put(tmp_path, "a.jpg"), data)
