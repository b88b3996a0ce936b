"""A CSV manifest: its columns, votes and faults."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from corpus_files import labels, put, read, rows

from twfer_dist.cli.main import main
from twfer_dist.core.errors import UserError
from twfer_dist.corpus.corpus import open_corpus


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_manifest(tmp_path: Path, encoding: str) -> None:
    folder = put(tmp_path / "warriors", "a.jpg", "脸.png", "deep/c.jpg", "unnamed.jpg")
    text = (
        'path,figure,label,votes,split,posture, note \n./a.jpg,K9901,Happiness,sadness,TRAIN,kneeling,"one, two"\r\n'
        "脸.png,K9902,,happiness;4;sadness+4,test,,\n\ndeep\\c.jpg,,7,,,general,x\nmissing.jpg,K9901,,,,,\n"
        "../out.jpg,K9903,,,,,\n"
    )
    corpus = read(folder, text.encode(encoding))
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


def test_manifest_by_other_names(tmp_path: Path) -> None:
    folder = put(tmp_path / "yale", "a.png", "b.png")
    (folder / "yale.csv").write_text("file,subject,condition,expression\na.png,s1,sad,Sadness\nb.png,s1,sleepy,\n")
    by_folder, by_file = open_corpus(str(folder)), open_corpus(str(folder / "yale.csv"))
    assert by_folder.digest == by_file.digest
    assert by_folder.notes["columns_read_as"] == {"file": "path", "subject": "figure_id", "expression": "label"}
    assert [(r["figure_id"], r["label"]) for r in rows(by_folder).values()].count(("s1", 5)) == 1
    # If the table has our own column, the other name is a grouping column.
    corpus = read(folder, "path,label,expression\na.png,neutral,a faint smile\n")
    assert (rows(corpus)["a.png"]["label"], rows(corpus)["a.png"]["groups"]) == (7, [("expression", "a faint smile")])


def test_manifest_counts_ties(tmp_path: Path) -> None:
    corpus = read(
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
        ("a.jpg,x\nb.jpg,y\n", "line 1: this line names a photograph instead of columns"),
        ("path,path\na.jpg,b.jpg\n", "line 1: the column 'path' appears twice"),
        ("path\n", "has a header but no rows"),
        (
            'path,note\n"a.jpg","two\nlines"\nb.jpg\n',
            "line 4: 1 value but line 1 names 2 columns; write a comma for each",
        ),
        ("path,label\na.jpg,joy\n", "line 2: 'joy' is not an expression .*4 happiness"),
        ("path,label\na.jpg,8\n", "line 2: '8' is not an expression"),
        ("path,votes\na.jpg,fear;joy\n", "line 2: 'joy' is not an expression"),
        ("path,votes\na.jpg,1+2+3+4\n", "line 2: an annotator named 4 labels"),
        ("path,split\na.jpg,later\n", "line 2: 'later' is not a split"),
        ("path\na.jpg\n./a.jpg\n", "line 3: a.jpg is already in line 2"),
        ("path,note\n,x\n", "line 2: the path is empty"),
        ('path,note\na.jpg,"x"y\n', "line 2: not CSV"),
    ],
)
def test_manifest_errors_name_file_and_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UserError, match=f"manifest.csv.*{says}"):
        read(tmp_path / "c", text)


def test_which_column_names_the_files(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "b.jpg")
    corpus = read(tmp_path, "name,image,set\nKneeling archer,a.jpg,first pit\nGeneral,b.jpg,second pit\n")
    assert (corpus.notes["missing"], corpus.notes["groups"]) == (0, ["name", "set"])
    corpus = read(tmp_path, "Aufnahme,emotion,partition\nA,Surprised,train\nb,无表情,测试集\n")
    assert labels(corpus) == {"a.jpg": "surprise", "b.jpg": "neutral"}
    assert {row["split"] for row in corpus.table.to_pylist()} == {"train", "test"}
    with pytest.raises(UserError, match=r"'calm' is not an expression.*if 'emotion' means something else"):
        read(tmp_path, "file,emotion\na.jpg,calm\n")


def test_corpus_show_says_how_a_table_was_read(tmp_path: Path) -> None:
    read(put(tmp_path, "a.jpg", "b.jpg"), "Inventory,2024\nphoto,rater 1,rater 2\nA.jpg,sad,sad\nb.jpg,sad,fear\n")
    found = CliRunner().invoke(main, ["corpus", "show", str(tmp_path)])
    lines = [line.strip() for line in found.stdout.splitlines()]
    for remark in ("columns were read as: photo as path", "1 name was matched ignoring case"):
        assert f"{tmp_path.name}: {remark}" in lines
    assert "agreement  alpha 0.0, images 2, figures 2, annotators 2" in lines
