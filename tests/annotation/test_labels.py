"""Annotators' tables merged, and the merged labels as a manifest."""

import csv
import io
from pathlib import Path

import pytest
from study_tables import make_faces, make_predictions

from twfer_dist.annotation.labels import labels_csv, read_answers, read_labels
from twfer_dist.core.errors import UserError
from twfer_dist.core.schema import FACES
from twfer_dist.corpus.corpus import open_corpus

HEAD = "face_id,path,figure_id,annotator,label,doubt,crop,posture\n"


def put(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def three_tables(folder: Path) -> list[str]:
    a = "1-00,./-a.jpg,K1,A,happiness+surprise,unsure,x,kneeling\n1-01,./-a.jpg,K1,A,fear,,y,kneeling\n"
    a += "2-00,b.jpg,K2,A,,skipped,z,\n"
    b = "1-00,./-a.jpg,K1,B,happiness,,x,kneeling\n2-00,b.jpg,K2,B,anger,,z,\n"
    return [
        put(folder, "labels-A.csv", HEAD + a),
        put(folder, "labels-B.csv", HEAD + b),
        put(folder, "labels-C D.csv", "path,label\n-a.jpg,4\nb.jpg,fear\n"),  # of a person with a spreadsheet
    ]


def test_tables_of_several_annotators_are_one(tmp_path: Path) -> None:
    faces = read_labels(three_tables(tmp_path))
    assert [(face.image_id, face.path, face.figure) for face in faces] == [
        ("1-00", "-a.jpg", "K1"),
        ("1-01", "-a.jpg", "K1"),
        ("2-00", "b.jpg", "K2"),
    ]
    assert [dict(face.votes) for face in faces] == [
        {"A": {1, 4}, "B": {4}, "C D": {4}},  # a table without face ids is about the largest face
        {"A": {2}},
        {"B": {6}, "C D": {2}},
    ]
    assert faces[0].unsure == {"A"} and faces[0].properties["posture"] == "kneeling"
    assert [face.majority for face in faces] == [(4, "majority"), (2, "majority"), (None, "tie: fear, anger")]


def test_merged_labels_are_a_manifest(tmp_path: Path) -> None:
    folder = tmp_path / "figures"
    folder.mkdir()
    for name in ("-a.jpg", "b.jpg"):
        (folder / name).write_bytes(b"picture")
    (folder / "manifest.csv").write_bytes(labels_csv(read_labels(three_tables(tmp_path))))
    corpus = open_corpus(str(folder))
    rows = {row["path"]: row for row in corpus.table.to_pylist()}
    assert {path: (row["label"], row["label_rule"]) for path, row in rows.items()} == {
        "-a.jpg": (4, "majority"),
        "b.jpg": (None, "tie: fear, anger"),
    }
    assert (corpus.notes["groups"], corpus.notes["annotators"], corpus.notes["missing"]) == (["posture"], 3, 0)
    assert sorted(map(sorted, corpus.votes.values())) == [["A", "B", "C D"], ["B", "C D"]]
    text = (folder / "manifest.csv").read_text(encoding="utf-8-sig")
    first = next(csv.DictReader(io.StringIO(text)))
    assert (first["path"], first["votes"]) == ("./-a.jpg", "A: surprise+happiness; B: happiness; C D: happiness")
    again = read_labels([str(folder / "manifest.csv")])
    assert [dict(face.votes) for face in again] == [dict(f.votes) for f in read_labels(three_tables(tmp_path))]


def test_models_answer_the_labelled_faces(tmp_path: Path) -> None:
    drawn = make_faces(str(tmp_path), figures=7)
    predictions = make_predictions(str(tmp_path), [drawn], "ARM", 1.0)
    rows = drawn.table("faces", FACES).to_pylist()
    lines = "".join(f"{row['face_id']},{k}.jpg,,A,fear,,,\n" for k, row in enumerate(rows[:3]))
    faces = read_labels([put(tmp_path, "labels-A.csv", HEAD + lines)])
    assert read_answers([predictions], faces) == {"ARM": {row["face_id"]: row["label"] for row in rows[:3]}}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{HEAD}1-00,a.jpg,K1,A,anger,,x,\n", "A calls a.jpg anger here but fear in .*first.csv"),
        (f"{HEAD}1-00,a.jpg,K1,B,anger,,other,\n", "the crop of a.jpg is not the one that the other annotators saw"),
        (f"{HEAD}1-00,a.jpg,K1,B,joy,,x,\n", "line 2: 'joy' is not an expression"),
        (f"{HEAD}1-00,a.jpg,K1,A,fear,,x,\n1-00,a.jpg,K1,A,fear,,x,\n", "line 3: A already gave"),
        ("path,figure\na.jpg,K1\n", "has no column of labels"),
    ],
)
def test_a_wrong_table_is_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    first = put(tmp_path, "first.csv", f"{HEAD}1-00,a.jpg,K1,A,fear,,x,\n")
    with pytest.raises(UserError, match=words):
        read_labels([first, put(tmp_path, "second.csv", text)])
    with pytest.raises(UserError, match="none.csv does not exist"):
        read_labels([str(tmp_path / "none.csv")])
    with pytest.raises(UserError, match="holds no labels"):
        read_labels([put(tmp_path, "empty.csv", f"{HEAD}1-00,a.jpg,K1,A,,skipped,x,\n")])
