"""Files and folders that are ignored are counted and described."""

import os
from pathlib import Path

from click.testing import CliRunner
from corpus_files import put

from twfer_dist.cli.main import main
from twfer_dist.corpus.corpus import open_corpus


def test_ignored_files_are_counted_and_described(tmp_path: Path) -> None:
    folder = put(
        tmp_path / "c",
        "a.jpg",
        "1.psd",
        "2.PSD",
        "b/3.psd",
        "notes.txt",
        "x.nef",
        ".DS_Store",
        "b/._a.jpg",
        ".cache/b.jpg",
    )
    corpus = open_corpus(str(folder))
    assert corpus.notes["passed_over"] == {".psd": 3, "hidden": 3, "notes.txt": 1, "x.nef": 1}
    remedy = "(save them as JPEG, PNG or TIFF)"
    remark = f"c: 8 files were ignored: 3 .psd {remedy}, 3 hidden, 1 notes.txt, 1 x.nef {remedy}"
    assert corpus.remarks == [remark]
    shown = CliRunner().invoke(main, ["corpus", "show", str(folder)])
    assert shown.exit_code == 0 and remark in shown.output
    put(folder, *(f"{k}.e{k}x" for k in range(30)), "31.e0x")
    assert (
        open_corpus(str(folder))
        .remarks[0]
        .endswith("2 .e0x, 1 1.e1x, 1 10.e10x, 1 11.e11x, 1 12.e12x, 1 13.e13x, 26 of other kinds")
    )


def test_a_table_and_its_images_are_not_ignored(tmp_path: Path) -> None:
    folder = put(tmp_path / "c", "a.jpg", "b.jpg", "catalogue.docx", "openface.txt")
    (folder / "manifest.csv").write_text("path\na.jpg\n")
    corpus = open_corpus(str(folder))
    assert (
        corpus.notes["passed_over"] == {"catalogue.docx": 1, "openface.txt": 1}
        and corpus.notes["images_not_named"] == 1
    )
    assert corpus.remarks[0] == "c: 1 image in the folder is not in its table"


def test_links_and_names_that_are_not_utf8_are_ignored(tmp_path: Path) -> None:
    folder = put(tmp_path / "c", "a.jpg")
    (folder / "away").symlink_to(tmp_path)
    (folder / os.fsdecode(b"caf\xe9.txt")).write_bytes(b"")
    corpus = open_corpus(str(folder))
    assert corpus.remarks == [
        "c: 1 link was not followed: copy the originals into the folder",
        r"c: 1 file or folder was ignored because its name is not valid UTF-8: rename caf\xe9.txt",
    ]
