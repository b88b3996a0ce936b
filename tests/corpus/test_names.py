"""Names in a table that are spelled differently from the files."""

import unicodedata
from pathlib import Path

import pytest
from corpus_files import labels, put, read, remarks

from twfer_dist.core.errors import UserError
from twfer_dist.corpus.names import match, tidy


def nfd(name: str) -> str:
    return unicodedata.normalize("NFD", name)


@pytest.mark.parametrize(
    ("written", "files", "found", "words"),
    [
        ("Büste.jpg", [nfd("Büste.jpg")], nfd("Büste.jpg"), "1 name was matched in another Unicode form"),
        (nfd("が像.jpg"), ["が像.jpg"], "が像.jpg", "in another Unicode form"),
        ("photos/a1.jpg", ["Photos/A1.JPG"], "Photos/A1.JPG", "ignoring case"),
        (r"C:\Users\wang\photos\a.jpg", ["a.jpg", "b.jpg"], "a.jpg", "by file name in another folder"),
        (r"\\nas\share\pit 1\a.jpg", ["pit 1/a.jpg", "pit 2/a.jpg"], "pit 1/a.jpg", "in another folder"),
        ("file:///C:/Fotos/B%C3%BCste%201.jpg", ["Büste 1.jpg"], "Büste 1.jpg", "in another folder"),
        ("a.jpg", ["deep/er/a.jpg"], "deep/er/a.jpg", "in another folder"),
        ("K9901", ["K9901.jpg", "K9902.jpg"], "K9901.jpg", "ignoring the ending"),
        ("a.tif", ["a.jpg"], "a.jpg", "ignoring the ending"),
        ("Kopf 1.5", ["Kopf 1.5.jpg", "Kopf 1.jpg"], "Kopf 1.5.jpg", "ignoring the ending"),
        ("HERE/a.jpg", ["a.jpg"], "a.jpg", ""),
    ],
)
def test_names_are_matched_with_a_remark(
    tmp_path: Path, written: str, files: list[str], found: str, words: str
) -> None:
    corpus = read(put(tmp_path, *files), f"path,label\n{written.replace('HERE', str(tmp_path))},fear\n")
    assert labels(corpus) == {found: "fear"}
    assert corpus.notes["missing"] == 0 and words in remarks(corpus) and ("matched" in remarks(corpus)) == bool(words)


def test_a_missing_photograph_never_becomes_another(tmp_path: Path) -> None:
    files = ["fig2/front.jpg", "fig3/front.jpg", "b.jpg", "b.png", "c.jpg", ".hidden/d.jpg"]
    names = [
        "fig1/front.jpg",
        "fig2/front.jpg",
        "b.tif",
        "c.jpg",
        "c.png",
        "../../c.jpg",
        ".other/b.jpg",
        "x/e.jpg",
        "y/e.jpg",
    ]
    found = match(names, [*files, "e.jpg"])
    assert {name: m.path for name, m in found.items() if m.path} == {
        "fig2/front.jpg": "fig2/front.jpg",
        "c.jpg": "c.jpg",
    }
    assert not any(m.several for m in found.values())
    corpus = read(put(tmp_path, *files), "path\nfig1/front.jpg\n../secret.jpg\n/etc/passwd\n")
    assert corpus.notes["missing"] == 3 and "no name in the table is that of a file" in remarks(corpus)


@pytest.mark.parametrize(
    ("text", "files", "words"),
    [
        ("path\na\n", ["a.jpg", "a.png"], "line 2: a may be a.jpg, a.png; write the path of the right one"),
        ("path\nb.jpg\na.jpg\n", ["b.jpg", "x/a.jpg", "y/a.jpg"], "line 3: a.jpg may be x/a.jpg, y/a.jpg"),
        ("path\nA.JPG\n", ["a.jpg", "a.JPG"], "line 2: A.JPG may be a.JPG, a.jpg"),
        ("path\na.jpg\nA.jpg\n", ["a.jpg"], "line 3: a.jpg is already in line 2"),
    ],
)
def test_an_ambiguous_name_is_refused_in_one_sentence(tmp_path: Path, text: str, files: list[str], words: str) -> None:
    with pytest.raises(UserError, match=f"manifest.csv, {words}"):
        read(put(tmp_path, *files), text)


def test_tidy_paths() -> None:
    for written in (r".\a\.\b.jpg", "./a//b.jpg", "a/c/../b.jpg", "file:a/b.jpg"):
        assert tidy(written) == "a/b.jpg"
    assert [tidy(p) for p in ("../a.jpg", "a/../../b", "/x/a", "file://host/x/a#1.jpg")] == [
        "../a.jpg",
        "../b",
        "/x/a",
        "/x/a#1.jpg",
    ]


def test_many_objects_with_the_same_names_are_folded_once() -> None:
    folded: list[str] = []

    class File(str):
        def isascii(self) -> bool:
            folded.append(self)
            return super().isascii()

    files = [File(f"fig{k}/front.jpg") for k in range(40)]
    found = match([f"old/{file}" for file in files], files)
    assert [guess.path for guess in found.values()] == files and sorted(folded) == sorted(files)
