"""Action Units from an OpenFace table."""

from pathlib import Path

import pytest
from corpus_files import put, read, remarks, rows

from twfer_dist.core.errors import UserError
from twfer_dist.core.taxonomy import ACTION_UNITS
from twfer_dist.corpus.corpus import Corpus, open_corpus

UNITS = ",".join(f" {unit}_r" for unit in ACTION_UNITS)


def openface(folder: Path, text: str) -> Corpus:
    (folder / "openface.csv").write_text(text)
    return open_corpus(str(folder))


def line(name: str, first: float, success: str = "1", confidence: str = "0.98") -> str:
    return f"{name}, {success}, {confidence}," + ",".join(f" {first + k / 10:.2f}" for k in range(17)) + "\n"


def test_openface_is_joined_by_path_and_by_stem(tmp_path: Path) -> None:
    folder = put(tmp_path / "c", "a.jpg", "deep/b.jpg", "deep/c.jpg", "twice.jpg", "deep/twice.jpg", "d.jpg", "e.jpg")
    text = f"name, success, confidence,{UNITS}\n" + line("a.jpg", 0) + line("b", 1) + line("twice", 2)
    text += line("d.jpg", 3, success="0") + line("e.jpg", 3, confidence="0.2") + line("unknown.jpg", 0)
    corpus = openface(folder, text)
    found = {path: row["action_units"] for path, row in rows(corpus).items()}
    assert found["a.jpg"] == pytest.approx([k / 10 for k in range(17)])
    assert found["deep/b.jpg"] == pytest.approx([1 + k / 10 for k in range(17)])
    assert {path for path, units in found.items() if units is None} == {
        "deep/c.jpg",
        "twice.jpg",
        "deep/twice.jpg",
        "d.jpg",
        "e.jpg",
    }
    assert (corpus.notes["action_units"], corpus.notes["openface_rows"], corpus.notes["openface_unmatched"]) == (
        2,
        6,
        2,
    )


def test_openface_changes_the_digest(tmp_path: Path) -> None:
    folder = put(tmp_path / "c", "a.jpg")
    before = open_corpus(str(folder)).digest
    first = openface(folder, f"path,success,confidence,{UNITS}\n" + line("a.jpg", 0)).digest
    second = openface(folder, f"path,success,confidence,{UNITS}\n" + line("a.jpg", 1)).digest
    assert len({before, first, second}) == 3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"frame,success,confidence,{UNITS}\n" + line("a.jpg", 0), "line 1: no column names the image"),
        ("path,success,confidence, AU01_r\na.jpg,1,1,0\n", "line 1: there is no column AU02_r, AU04_r"),
        (f"path,success,confidence,{UNITS}\n" + line("a.jpg", 4), "line 2: an intensity is not within 0 to 5"),
        (
            f"path,success,confidence,{UNITS}\n" + line("a.jpg", float("nan")),
            "line 2: an intensity is not within 0 to 5",
        ),
        (f"path,success,confidence,{UNITS}\n" + line("a.jpg", 0, success="yes"), "line 2: could not convert"),
        (f"path,success,confidence,{UNITS}\n" + line("a.jpg", 0) + line("a.jpg", 1), "line 3: a.jpg appears twice"),
        (f"path,success,confidence,{UNITS}\n" + line("z.jpg", 0), "none of its 1 names is a photograph"),
    ],
)
def test_openface_errors_name_the_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UserError, match=f"openface.csv.*{says}"):
        openface(put(tmp_path / "c", "a.jpg"), text)


def test_openface_as_it_writes_and_as_people_save_it(tmp_path: Path) -> None:
    put(tmp_path, "Deep/A.JPG", "b.jpg")
    units = ";".join(f" {unit.lower()}_R" for unit in ACTION_UNITS)
    row = ";".join("1.5" for _ in ACTION_UNITS)
    image = r"C:\x\deep\a.jpg"
    lines = [
        "sep=;",
        f"File; FACE; Success;{units}",
        f"{image};1;1;{row.replace('1', '2')}",
        f"{image};0;1;{row}",
        ";;",
        f"B;0;1;{row}",
    ]
    text = "\r\n".join(lines)
    corpus = read(tmp_path, text.encode("utf-16"), "OpenFace.CSV")
    assert corpus.notes["openface_unmatched"] == 0 and "passed over" not in remarks(corpus)
    assert [row["action_units"] for row in corpus.table.to_pylist()] == [[1.5] * 17] * 2
