"""RAF-DB's own layout."""

from pathlib import Path

import pytest
from corpus_files import put, rows

from twfer_dist.core.errors import UserError
from twfer_dist.corpus.corpus import open_corpus


def rafdb(folder: Path, lines: str, *images: str) -> Path:
    put(folder, *images)
    (folder / "EmoLabel").mkdir(parents=True)
    (folder / "EmoLabel" / "list_patition_label.txt").write_text(lines)
    return folder


def test_rafdb(tmp_path: Path) -> None:
    lines = "train_00001.jpg 5\ntest_0002.jpg 7\ntrain_00003.jpg 1\n\n"
    images = (
        "Image/aligned/train_00001_aligned.jpg",
        "Image/aligned/test_0002_aligned.jpg",
        "Image/original/train_00001.jpg",
    )
    corpus = open_corpus(str(rafdb(tmp_path / "raf", lines, *images)))
    found = rows(corpus)
    assert len(found) == 3
    test = found["Image/aligned/test_0002_aligned.jpg"]
    assert (test["figure_id"], test["label"], test["label_rule"], test["split"]) == (
        "test_0002.jpg",
        7,
        "given",
        "test",
    )
    assert found["Image/aligned/train_00003_aligned.jpg"]["split"] == "train"
    assert (corpus.notes["layout"], corpus.notes["missing"], corpus.notes["figures"]) == ("rafdb-aligned", 1, 3)
    corpus = open_corpus(str(rafdb(tmp_path / "raf2", lines, images[2])))
    assert corpus.notes["layout"] == "rafdb-original"
    assert sorted(rows(corpus)) == [
        "Image/original/test_0002.jpg",
        "Image/original/train_00001.jpg",
        "Image/original/train_00003.jpg",
    ]


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("train_00001.jpg 5\ntrain_00002.jpg 11\n", "line 2: the label '11' is not 1 to 7.*compound"),
        ("train_00001.jpg\n", "line 1: the label '' is not 1 to 7"),
        ("../train_1.jpg 5\n", "line 1: '../train_1.jpg' is not a RAF-DB name"),
        ("face.jpg 5\n", "line 1: 'face.jpg' is not a RAF-DB name"),
        ("test_1.jpg 5\ntest_1.jpg 6\n", "line 2: test_1.jpg appears twice"),
        ("\n", "is empty"),
    ],
)
def test_rafdb_errors_name_the_line(tmp_path: Path, lines: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        open_corpus(str(rafdb(tmp_path / "raf", lines, "Image/aligned/train_00001_aligned.jpg")))


def test_rafdb_without_images(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unpack aligned.zip"):
        open_corpus(str(rafdb(tmp_path / "raf", "train_00001.jpg 5\n")))
