"""A folder of images without a table."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from corpus_files import PICTURE, paths, put, rows

from twfer_dist.core import schema
from twfer_dist.core.errors import UserError
from twfer_dist.corpus.corpus import open_corpus

WITHOUT_PLUGINS = """
import sys
sys.modules["pillow_heif"] = sys.modules["pillow_jxl"] = None  # importing them fails, as where they are not installed
from twfer_dist.corpus.corpus import open_corpus
from twfer_dist.core.errors import UserError
from twfer_dist.faces.decode import DecodeError, decode
try:
    print(*open_corpus(sys.argv[1]).remarks)
    open_corpus(sys.argv[1] + "/heic")
except UserError as problem:
    print(problem)
try:
    decode(bytes(4) + b"ftypheic" + bytes(99), 10**6)
except DecodeError as refused:
    print(refused)
"""


def test_folder_takes_images_and_counts_the_rest(tmp_path: Path) -> None:
    folder = put(
        tmp_path / "figures",
        "b.JPG",
        "兵马俑 1.png",
        "deep/er/c.webp",
        "notes.txt",
        "list.csv",
        ".hidden.jpg",
        ".git/d.jpg",
    )
    corpus = open_corpus(str(folder))
    assert corpus.name == "figures"
    assert corpus.table.schema.equals(schema.CORPUS, check_metadata=True)
    assert paths(corpus) == ["b.JPG", "deep/er/c.webp", "兵马俑 1.png"]
    assert corpus.table["photo_id"].to_pylist() == sorted(corpus.table["photo_id"].to_pylist())
    row = rows(corpus)["deep/er/c.webp"]
    assert row["photo_id"] == schema.photo_id("figures", "deep/er/c.webp")
    assert (row["figure_id"], row["label"], row["label_rule"], row["groups"]) == (
        "deep/er/c.webp",
        None,
        "none",
        [("folder", "deep/er")],
    )
    assert corpus.notes["layout"] == "folder"
    assert (corpus.notes["photographs"], corpus.notes["other_files"], corpus.notes["hidden"]) == (3, 2, 2)
    assert corpus.notes["tables_not_read"] == ["list.csv"]


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"holds no image that can be read \(1 file was ignored: readme.md\): name a folder"
    ):
        open_corpus(str(put(tmp_path / "empty", "readme.md")))
    with pytest.raises(UserError, match="does not exist"):
        open_corpus(str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="is a file but not a table"):
        open_corpus(str(tmp_path / "empty" / "readme.md"))


def test_digest_follows_files_names_and_nothing_else(tmp_path: Path) -> None:
    folder = put(tmp_path / "figures", "a.jpg", "b.jpg")
    os.utime(folder / "a.jpg", ns=(1, 1))
    os.utime(folder / "b.jpg", ns=(1, 1))
    first = open_corpus(str(folder))
    put(folder, "notes.txt")
    assert open_corpus(str(folder)).digest == first.digest
    copy = shutil.copytree(folder, tmp_path / "elsewhere" / "figures")
    assert open_corpus(str(copy)).digest == first.digest
    assert open_corpus(f"file://{folder}").digest == first.digest
    assert open_corpus(str(folder), name="other").digest != first.digest
    os.utime(folder / "b.jpg", ns=(1, 2))
    assert open_corpus(str(folder)).digest != first.digest
    put(folder, "c.jpg")
    assert open_corpus(str(folder)).notes["photographs"] == 3


def test_images_are_found_under_every_ending(tmp_path: Path) -> None:
    endings = [".jpg", ".JPG", ".jpeg", ".jpe", ".jfif", ".jif", ".pjpeg", ".pjp", ".png", ".webp",
        ".gif", ".tif", ".tiff", ".bmp", ".dib", ".ppm", ".pgm", ".jp2", ".j2k", ".avif", ".heic",
        ".heif", ".jxl", ]  # fmt: skip
    folder = put(tmp_path / "c", *(f"{k:02d}{ending}" for k, ending in enumerate(endings)))
    assert len(rows(open_corpus(str(folder)))) == len(endings)


def test_files_without_an_ending_are_inspected(tmp_path: Path) -> None:
    folder = put(tmp_path / "c", "LICENSE", "notes 1.2", "deep/README")
    for name in ("K9901", "St. Peter", "deep/head 1.2"):
        shutil.copy(PICTURE, folder / name)
    corpus = open_corpus(str(folder))
    assert paths(corpus) == ["K9901", "St. Peter", "deep/head 1.2"]
    assert corpus.notes["passed_over"] == {"without an ending": 3}


def test_images_without_a_library_are_ignored(tmp_path: Path) -> None:
    put(tmp_path / "c", "a.jpg", "b.avif", "heic/1.heic", "heic/2.HEIC", "3.jxl")
    command = [sys.executable, "-c", WITHOUT_PLUGINS, str(tmp_path / "c")]
    remark, no_image, refused = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    how = "(run pip install pillow-heif pillow-jxl-plugin)"
    assert remark == f"c: 3 files were ignored: 2 .heic {how}, 1 3.jxl {how}"
    assert f"no image that can be read (2 files were ignored: 2 .heic {how}): name a folder" in no_image
    assert "HEIF" in refused and refused.endswith("run pip install pillow-heif pillow-jxl-plugin.")
