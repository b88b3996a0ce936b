"""Annotators compared by hand: majority and ties, each against the rest, confusion, models beside them."""

import numpy as np
import pytest

from twfer_dist.annotation.answer import answer
from twfer_dist.annotation.comparison import Labelled, compare, confusion_of, most_confused
from twfer_dist.core.language import use_language
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.corpus.votes import parse_votes


def faces_of(*votes: str) -> list[Labelled]:
    """A face of a figure of its own for each field of votes, as a manifest has them."""
    return [Labelled(f"{k}-00", f"{k}.jpg", f"figure {k}", parse_votes(text)) for k, text in enumerate(votes)]


VOTES = (
    "A: happiness; B: happiness; C: surprise",  # the rest of A and of B ties, that of C is happiness
    "A: fear; B: anger",  # a tie; the rest of each is the other
    "A: fear+anger; B: fear; C: anger+fear+disgust",  # fear by three, anger by two
    "A: fear; B: anger+fear; C: anger",  # fear and anger by two each, with equal weight
    "C: neutral",
    "A: sadness; B: sadness; C: sadness",
)


def test_majority_ties_and_rest_by_hand() -> None:
    found = compare(faces_of(*VOTES, ""))
    assert (found.faces, found.figures, found.several) == (6, 6, 5)  # the last face has no vote
    assert found.labels == {"one vote": 1, "majority": 3, "tie decided": 0, "tie": 2}
    assert found.tied == [{"path": "1.jpg", "rule": "fear, anger"}, {"path": "3.jpg", "rule": "fear, anger"}]
    assert [(one.name, one.faces, one.labels) for one in found.annotators] == [
        ("A", 5, 1.2),
        ("B", 5, 1.2),
        ("C", 5, 1.4),
    ]
    # A, against the others' label: 1 anger no; 2 fear yes; 3 anger no; 5 sadness yes. The rest of face 0 ties.
    # B: 1 fear no; 5 yes. The rest of faces 2 and 3 ties between fear and anger.
    # C: 0 happiness no; 2 fear yes; 3 fear no; 5 yes.
    assert [(one.rest["k"], one.rest["n"]) for one in found.annotators] == [(2, 4), (1, 2), (2, 4)]
    assert (found.rest["k"], found.rest["n"]) == (5, 10)
    fear = found.expressions[EXPRESSIONS.index("fear")]
    assert (fear["label"], fear["named"]) == (1, 3)


def test_confusion_by_hand() -> None:
    """A face with m votes adds m; its pairs count the same, and a vote of two labels half for each."""
    table = confusion_of(faces_of("A: fear; B: anger; C: anger", "A: fear+anger; B: fear", "A: neutral"))
    names = [EXPRESSIONS.index(name) for name in ("fear", "anger")]
    part = table[np.ix_(names, names)]
    # Face 1 has six ordered pairs that count 1/2 each, two of every kind. Face 2: fear-fear 1, the mixed ones 1/2 each.
    assert part == pytest.approx(np.array([[1.0, 1.5], [1.5, 1.0]])) and table.sum() == pytest.approx(5)
    assert most_confused(table.tolist()) == ("fear", "anger", pytest.approx(0.6))
    assert most_confused(confusion_of(faces_of("A: fear; B: fear")).tolist()) is None


def test_models_stand_beside_annotators() -> None:
    faces = faces_of("A: fear; B: fear", "A: anger; B: anger", "A: anger; B: fear", "A: fear")
    found = compare(faces, {"reader": {"0-00": 2, "1-00": 2, "2-00": 2, "3-00": 2}, "ARM": {"0-00": 2}})
    reader, arm = found.models
    assert (reader.majority["k"], reader.majority["n"]) == (2, 3)  # the tie has no label
    # The rest of each vote on faces 0, 1, 2: fear twice, anger twice, fear once and anger once.
    assert (reader.rest["k"], reader.rest["n"]) == (3, 6) and found.rest["n"] == 6
    assert (arm.majority["k"], arm.majority["n"], arm.rest["n"]) == (1, 1, 2)


def test_the_answer_is_in_words() -> None:
    texts = [f"A: {EXPRESSIONS[k % 5]}; B: {EXPRESSIONS[(k + (k % 3 == 0)) % 5]}" for k in range(30)]
    found = compare(faces_of(*texts), {"reader": {f"{k}-00": 1 for k in range(30)}})
    first, labels, expressions, beside = answer(found, str.capitalize)
    assert first.startswith("The annotators agree moderately: Krippendorff's alpha is 0.59 (95 % interval 0.3")
    assert "30 faces with several answers, 2 annotators" in first and "Below 0.67" in first
    assert labels.startswith("20 of 30 faces have the label that most") and "10 faces have no label" in labels
    assert "They agree best on" in expressions and "Most often they exchange" in expressions
    assert beside.startswith("Counted over all answers, annotators name the label that most of the others gave in ")
    assert "gave in 40 of 60 (67 %, 95 % interval" in beside and "Reader gives that label in 12 of 60 (20 %" in beside
    with use_language("zh"):
        assert "0.59" in answer(found, str)[0]
    none = answer(compare(faces_of("A: fear", "B: anger")), str)
    assert "0 faces have several answers. How far the annotators agree cannot be said" in none[0]
