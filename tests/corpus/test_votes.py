"""Labels as people write them, and annotators' votes."""

import pytest

from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.corpus.votes import label_from_votes, parse_label, parse_votes


def test_labels_are_words_or_numbers() -> None:
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
def test_votes(votes: str, label: int | None, rule: str) -> None:
    assert label_from_votes(parse_votes(votes).values()) == (label, rule)
    turned = ";".join(reversed(votes.split(";")))
    assert label_from_votes(parse_votes(turned).values()) == (label, rule)
