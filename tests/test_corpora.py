"""Corpora in: a folder, a CSV manifest, RAF-DB's layout, annotators' votes, OpenFace's Action Units."""

import os
import shutil
from pathlib import Path

import pyarrow.fs as pafs
import pytest
from corpus_files import put

from twfer_dist.core import schema
from twfer_dist.core.errors import UserError
from twfer_dist.core.taxonomy import ACTION_UNITS, EXPRESSIONS
from twfer_dist.corpus.corpus import Corpus, open_corpus
from twfer_dist.corpus.files import list_folder, list_remote, locate
from twfer_dist.corpus.votes import label_from_votes, parse_label, parse_votes

UNITS = ",".join(f" {unit}_r" for unit in ACTION_UNITS)


def manifest(folder: Path, text: str, encoding: str = "utf-8") -> Corpus:
    folder.mkdir(exist_ok=True)
    (folder / "manifest.csv").write_bytes(text.encode(encoding))
    return open_corpus(str(folder))


def rows(corpus: Corpus) -> dict[str, dict]:
    return {row["path"]: row for row in corpus.table.to_pylist()}


# A folder of images


def test_folder_takes_images_and_counts_the_rest(tmp_path):
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
    assert sorted(rows(corpus)) == ["b.JPG", "deep/er/c.webp", "兵马俑 1.png"]
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


def test_folder_follows_no_link_out(tmp_path):
    put(tmp_path / "elsewhere", "secret.jpg")
    folder = put(tmp_path / "figures", "a.jpg")
    (folder / "inside.jpg").symlink_to("a.jpg")
    (folder / "out.jpg").symlink_to(tmp_path / "elsewhere" / "secret.jpg")
    (folder / "gone.jpg").symlink_to("nothing.jpg")
    (folder / "loop").symlink_to(folder)
    (folder / "away").symlink_to(tmp_path / "elsewhere")
    corpus = open_corpus(str(folder))
    assert sorted(rows(corpus)) == ["a.jpg", "inside.jpg"]
    assert corpus.notes["links_not_followed"] == 4


def test_folder_without_images_is_a_problem(tmp_path):
    with pytest.raises(
        UserError, match=r"holds no picture that is read here \(1 file passed over: readme.md\): name a folder"
    ):
        open_corpus(str(put(tmp_path / "empty", "readme.md")))
    with pytest.raises(UserError, match="is not there"):
        open_corpus(str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="is a file and not a table"):
        open_corpus(str(tmp_path / "empty" / "readme.md"))


def test_only_files_are_lost_whose_names_are_not_utf8(tmp_path):
    folder = put(tmp_path / "figures", "a.jpg")
    (folder / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"")
    (folder / os.fsdecode(b"\xff")).mkdir()
    put(folder / os.fsdecode(b"\xff"), "b.jpg")
    corpus = open_corpus(str(folder))
    assert list(rows(corpus)) == ["a.jpg"]
    assert corpus.left_out == [
        r"figures: 2 files or folders were left out, as their names are not valid UTF-8: rename \xff, caf\xe9.jpg"
    ]
    (folder / "a.jpg").unlink()
    with pytest.raises(UserError, match="names are not valid UTF-8"):
        open_corpus(str(folder))


def test_digest_follows_files_names_and_nothing_else(tmp_path):
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


def test_listing_of_another_file_system_is_the_same(tmp_path):
    put(tmp_path / "figures", "a.jpg", "deep/脸.png", ".hidden.jpg", ".git/d.jpg", "notes.txt")
    other = list_remote(pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem()), "figures")
    assert dict(other.files) == dict(list_folder(str(tmp_path / "figures")).files)
    assert list(other.files) == ["a.jpg", "deep/脸.png", "notes.txt"]


# Where a photograph may be read


def test_locate_leads_nowhere_else(tmp_path):
    put(tmp_path, "secret.jpg")
    folder = put(tmp_path / "figures", "a.jpg", "deep/b.jpg")
    (folder / "out.jpg").symlink_to(tmp_path / "secret.jpg")
    (folder / "up").symlink_to(tmp_path)
    (folder / "self.jpg").symlink_to("self.jpg")
    fs, place = locate(str(folder), "deep/b.jpg")
    assert fs.open_input_stream(place).read() == b"deep/b.jpg"
    locate(str(folder), "missing.jpg")
    locate(str(folder), "self.jpg")
    for path in (
        "../secret.jpg",
        "deep/../../secret.jpg",
        str(tmp_path / "secret.jpg"),
        "out.jpg",
        "up/secret.jpg",
        "a\0.jpg",
    ):
        with pytest.raises(ValueError):
            locate(str(folder), path)
    for path in ("../secret.jpg", "/secret.jpg"):
        with pytest.raises(ValueError):
            locate("mock:///figures", path)
    assert locate("mock:///figures", "a.jpg")[1].endswith("figures/a.jpg")


# A CSV manifest


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_manifest(tmp_path, encoding):
    folder = put(tmp_path / "warriors", "a.jpg", "脸.png", "deep/c.jpg", "unnamed.jpg")
    corpus = manifest(
        folder,
        'path,figure,label,votes,split,posture, note \n./a.jpg,K9901,Happiness,sadness,TRAIN,kneeling,"one, two"\r\n'
        "脸.png,K9902,,happiness;4;sadness+4,test,,\n\ndeep\\c.jpg,,7,,,general,x\nmissing.jpg,K9901,,,,,\n../out.jpg,K9903,,,,,\n",
        encoding,
    )
    found = rows(corpus)
    assert corpus.name == "warriors"
    assert sorted(found) == ["../out.jpg", "a.jpg", "deep/c.jpg", "missing.jpg", "脸.png"]
    a, face, c = found["a.jpg"], found["脸.png"], found["deep/c.jpg"]
    assert (a["figure_id"], a["label"], a["label_rule"], a["split"]) == ("K9901", 4, "given", "train")
    assert a["groups"] == [("posture", "kneeling"), ("note", "one, two")]
    assert (face["label"], face["label_rule"], face["split"], face["groups"]) == (4, "majority", "test", [])
    assert (c["figure_id"], c["label"], c["split"]) == ("deep/c.jpg", 7, None)
    assert found["missing.jpg"]["label"] is None
    notes = corpus.notes
    assert (notes["layout"], notes["read_from"], notes["groups"]) == ("manifest", "manifest.csv", ["posture", "note"])
    assert (notes["photographs"], notes["missing"], notes["labelled"], notes["images_not_named"]) == (5, 2, 3, 1)


def test_manifest_by_other_names(tmp_path):
    folder = put(tmp_path / "yale", "a.png", "b.png")
    (folder / "yale.csv").write_text("file,subject,condition,expression\na.png,s1,sad,Sadness\nb.png,s1,sleepy,\n")
    by_folder, by_file = open_corpus(str(folder)), open_corpus(str(folder / "yale.csv"))
    assert by_folder.digest == by_file.digest
    assert by_folder.notes["columns_read_as"] == {"file": "path", "subject": "figure_id", "expression": "label"}
    assert [(r["figure_id"], r["label"]) for r in rows(by_folder).values()].count(("s1", 5)) == 1
    # Where the column itself is there, the other name is a grouping column.
    corpus = manifest(folder, "path,label,expression\na.png,neutral,a faint smile\n")
    assert (rows(corpus)["a.png"]["label"], rows(corpus)["a.png"]["groups"]) == (7, [("expression", "a faint smile")])


def test_manifest_counts_ties(tmp_path):
    corpus = manifest(
        put(tmp_path / "c", "a.jpg", "b.jpg", "c.jpg"),
        "path,votes\na.jpg,fear;anger\nb.jpg,fear+anger;fear;anger+7;7\nc.jpg,fear\n",
    )
    found = rows(corpus)
    assert (found["a.jpg"]["label"], found["a.jpg"]["label_rule"]) == (None, "tie: fear, anger")
    assert (found["b.jpg"]["label"], found["b.jpg"]["label_rule"]) == (None, "tie: fear, neutral")
    assert (corpus.notes["ties"], corpus.notes["ties_without_label"], corpus.notes["labelled"]) == (2, 2, 1)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "line 1: there is no column 'path'"),
        ("plate,figure\na.jpg,x\n", "line 1: there is no column 'path' among plate, figure"),
        ("a.jpg,x\nb.jpg,y\n", "line 1: this line names a photograph, not columns"),
        ("path,path\na.jpg,b.jpg\n", "line 1: the column 'path' is there twice"),
        ("path\n", "has a header and no rows"),
        (
            'path,note\n"a.jpg","two\nlines"\nb.jpg\n',
            "line 4: 1 value where line 1 names 2 columns; write a comma for each",
        ),
        ("path,label\na.jpg,joy\n", "line 2: 'joy' is no expression .*4 happiness"),
        ("path,label\na.jpg,8\n", "line 2: '8' is no expression"),
        ("path,votes\na.jpg,fear;joy\n", "line 2: 'joy' is no expression"),
        ("path,votes\na.jpg,1+2+3+4\n", "line 2: an annotator named 4 labels"),
        ("path,split\na.jpg,later\n", "line 2: 'later' is no split"),
        ("path\na.jpg\n./a.jpg\n", "line 3: a.jpg is there already in line 2"),
        ("path,note\n,x\n", "line 2: the path is empty"),
        ('path,note\na.jpg,"x"y\n', "line 2: not CSV"),
    ],
)
def test_manifest_problems_name_file_and_line(tmp_path, text, says):
    with pytest.raises(UserError, match=f"manifest.csv.*{says}"):
        manifest(tmp_path / "c", text)


# RAF-DB


def rafdb(folder: Path, lines: str, *images: str) -> Path:
    put(folder, *images)
    (folder / "EmoLabel").mkdir(parents=True)
    (folder / "EmoLabel" / "list_patition_label.txt").write_text(lines)
    return folder


def test_rafdb(tmp_path):
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
        ("test_1.jpg 5\ntest_1.jpg 6\n", "line 2: test_1.jpg is there twice"),
        ("\n", "is empty"),
    ],
)
def test_rafdb_problems(tmp_path, lines, says):
    with pytest.raises(UserError, match=says):
        open_corpus(str(rafdb(tmp_path / "raf", lines, "Image/aligned/train_00001_aligned.jpg")))


def test_rafdb_without_images(tmp_path):
    with pytest.raises(UserError, match="unpack aligned.zip"):
        open_corpus(str(rafdb(tmp_path / "raf", "train_00001.jpg 5\n")))


# Labels and votes


def test_labels_are_words_or_numbers():
    assert [parse_label(word) for word in ("surprise", " FEAR ", "Neutral", "4", "7")] == [1, 2, 7, 4, 7]
    assert [parse_label(name) for name in EXPRESSIONS] == [1, 2, 3, 4, 5, 6, 7]
    for word in ("", "0", "8", "4.5", "joy"):
        with pytest.raises(ValueError):
            parse_label(word)


@pytest.mark.parametrize(
    ("votes", "label", "rule"),
    [
        ("", None, "none"),
        (" ; ;", None, "none"),
        ("sadness", 5, "majority"),
        ("happiness;happiness+surprise;neutral;4;7;Happiness+fear+anger", 4, "majority"),
        # Five of six see surprise, two see happiness alone: the majority of annotators stands.
        ("4;4+1;1+2+3;1+5+6;1+2+7;1+3+5", 1, "majority"),
        ("4;4;1;1", None, "tie: surprise, happiness"),
        ("4;4+2;1+2;1+3", 4, "tie: happiness over surprise, fear"),
        ("4+1+2;4+1+2;4+1+2", None, "tie: surprise, fear, happiness"),
        ("1+1+1+1;4;4", 4, "majority"),
    ],
)
def test_votes(votes, label, rule):
    assert label_from_votes(parse_votes(votes)) == (label, rule)
    turned = ";".join(reversed(votes.split(";")))
    assert label_from_votes(parse_votes(turned)) == (label, rule)


# OpenFace


def openface(folder: Path, text: str) -> Corpus:
    (folder / "openface.csv").write_text(text)
    return open_corpus(str(folder))


def line(name: str, first: float, success: str = "1", confidence: str = "0.98") -> str:
    return f"{name}, {success}, {confidence}," + ",".join(f" {first + k / 10:.2f}" for k in range(17)) + "\n"


def test_openface_is_joined_by_path_and_by_stem(tmp_path):
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


def test_openface_changes_the_digest(tmp_path):
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
        (f"path,success,confidence,{UNITS}\n" + line("a.jpg", 0) + line("a.jpg", 1), "line 3: a.jpg is there twice"),
        (f"path,success,confidence,{UNITS}\n" + line("z.jpg", 0), "none of its 1 names is a photograph"),
    ],
)
def test_openface_problems(tmp_path, text, says):
    with pytest.raises(UserError, match=f"openface.csv.*{says}"):
        openface(put(tmp_path / "c", "a.jpg"), text)
