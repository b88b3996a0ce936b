"""Several annotators in one table: in columns and in rows."""

from pathlib import Path

import pytest
from corpus_files import labels, put, read, remarks

from twfer_dist.core.errors import UserError
from twfer_dist.corpus.votes_table import read_votes, votes_csv


def test_annotators_in_columns(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    head = "path,标注者1,标注者2,标注者3,pit 1,pit 2\n"
    corpus = read(tmp_path, head + "a.jpg,高兴,高兴,中性,1,2\nb.jpg,害怕,惊讶,-,1,1\nc.jpg,4+1,4,1,7,7\n")
    assert labels(corpus) == {"a.jpg": "happiness", "b.jpg": "", "c.jpg": ""}
    assert corpus.notes["groups"] == ["pit 1", "pit 2"]  # numbers of something else
    assert (
        corpus.notes["tied"] == ["b.jpg: surprise, fear", "c.jpg: surprise, happiness"]
        and corpus.notes["annotators"] == 3
    )
    assert "annotators tie on 2 photographs, of which 2 have no label: b.jpg (surprise, fear)" in remarks(corpus)
    with pytest.raises(UserError, match="line 2: '高行' is not an expression"):
        read(tmp_path, head + "a.jpg,高行,高兴,中性,1,2\n")
    for first, second in (
        ("Annotator_A", "Annotator_B"),
        ("rater 1", "Rater 2"),
        ("vote1", "vote2"),
        ("Wang A", "Wang B"),
    ):
        corpus = read(tmp_path, f"path,{first},{second}\na.jpg,fear,Fearful\n")
        assert labels(corpus) == {"a.jpg": "fear"} and corpus.notes["groups"] == []


def test_annotators_in_rows(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "b.jpg")
    head = "photo,rater,emotion,figure,date,material\n"
    rows = (
        "a.jpg,Li,happy,K1,May,clay\nA.JPG,Wu,sad,K1,June,clay\na.jpg,Wu,happy,K1,June,clay\n"
        "b.jpg,Li,fear,K2,May,stone\n"
    )
    corpus = read(tmp_path, head + rows)
    assert labels(corpus) == {"a.jpg": "happiness", "b.jpg": "fear"}
    assert {row["figure_id"] for row in corpus.table.to_pylist()} == {"K1", "K2"} and corpus.notes["groups"] == [
        "material"
    ]
    assert "date differ between the rows of one photograph" in remarks(corpus)
    for more, words in (
        ("b.jpg,Li,fear,K2,May,stone\n", "line 6: Li already gave b.jpg this label in an earlier line"),
        ("b.jpg,Wu,fear,K1,May,stone\n", "line 6: the figure of b.jpg is 'K1' here but 'K2' in line 5"),
        ("b.jpg,Wu,joy,K2,May,stone\n", "line 6: 'joy' is not an expression"),
    ):
        with pytest.raises(UserError, match=words):
            read(tmp_path, head + rows + more)


def test_annotators_votes_in_rows(tmp_path: Path) -> None:
    corpus = read(
        put(tmp_path, "a.jpg", "b.jpg"), "path,rater,vote\na.jpg,Li,happy\na.jpg,Wu,sad+happy\nb.jpg,Li,fear\n"
    )
    assert labels(corpus) == {"a.jpg": "happiness", "b.jpg": "fear"} and corpus.notes["annotators"] == 2


def test_one_annotators_labels_by_face(tmp_path: Path) -> None:
    """As `twfer annotate` saves them: several labels in a field, a row for each face, columns that group nothing."""
    put(tmp_path, "a.jpg", "b.jpg")
    head = "face_id,path,figure_id,annotator,label,doubt,crop,posture\n"
    rows = "1-00,a.jpg,K1,Li,happiness+surprise,unsure,x,kneeling\n2-00,b.jpg,K2,Li,,skipped,y,general\n"
    corpus = read(tmp_path, f"{head}{rows}2-01,b.jpg,K2,Li,fear,,z,general\n")
    assert labels(corpus) == {"a.jpg": "", "b.jpg": ""} and corpus.notes["annotators"] == 1
    assert corpus.notes["groups"] == ["posture"] and "1 of its rows are about smaller faces" in remarks(corpus)
    assert [dict(votes) for votes in corpus.votes.values()] == [{"Li": {1, 4}}]


def test_named_votes_and_a_label_that_they_give(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "b.jpg")
    text = "path,label,votes\na.jpg,fear,Li: fear; Wu: fear+anger\nb.jpg,anger,fear;;anger;fear\n"
    corpus = read(tmp_path, text)
    rules = {row["path"]: (row["label"], row["label_rule"]) for row in corpus.table.to_pylist()}
    assert rules == {"a.jpg": (2, "majority"), "b.jpg": (6, "given")}
    assert {frozenset(votes) for votes in corpus.votes.values()} == {
        frozenset({"Li", "Wu"}),
        frozenset({"annotator 1", "annotator 3", "annotator 4"}),
    }
    assert corpus.digest != read(tmp_path, text.replace("Wu: fear+anger", "Wu: fear")).digest  # a vote, not the label
    with pytest.raises(UserError, match="line 2: 'Li' has two votes"):
        read(tmp_path, "path,votes\na.jpg,Li: fear;Li: anger\n")


def test_annotators_keep_their_names_in_votes_csv(tmp_path: Path) -> None:
    corpus = read(put(tmp_path, "a.jpg"), "path,votes\na.jpg,@li: fear; 'Wu: anger\n")
    data = votes_csv([corpus])
    assert data and b",'@li,fear" in data
    assert list(read_votes(data).values()) == list(corpus.votes.values()) == [{"@li": {2}, "'Wu": {6}}]
