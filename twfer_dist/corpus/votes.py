"""Labels as people write them, and annotators' votes."""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping
from fractions import Fraction

from twfer_dist.core.taxonomy import EXPRESSIONS, label_of

LABELS_PER_ANNOTATOR = 3

Vote = frozenset[int]
"""The labels (1 to 7) that one annotator named, at least one."""

_NOTHING = {
    "-", "--", "–", "—", "?", "??", "n/a", "na", "#n/a", "none", "null", "nan", "unknown", "unlabelled", "unlabeled",
    "未知", "无", "不详", "不明", "未标注", "無", "不詳", "未標註",
}  # fmt: skip


def is_blank(text: str) -> bool:
    """Whether a field holds nothing: it is empty, a dash, "n/a", "unknown" or a question mark."""
    return not text.strip() or unicodedata.normalize("NFKC", text).strip().lower() in _NOTHING


def parse_label(text: str) -> int:
    """The label (1 to 7) for a word for an expression in any case, or for its number in RAF-DB's order (also as Excel
    writes it: 4.0). ValueError, with a sentence, for anything else.
    """
    if number := re.fullmatch(rf"\s*([1-{len(EXPRESSIONS)}])([.,]0*)?\s*", unicodedata.normalize("NFKC", text)):
        return int(number.group(1))
    try:
        return label_of(text)
    except ValueError:
        names = ", ".join(f"{label} {name}" for label, name in enumerate(EXPRESSIONS, 1))
        raise ValueError(f"'{' '.join(text.split())}' is not an expression (use {names})") from None


def parse_vote(text: str) -> Vote:
    """The one to three labels of one annotator, separated by "+"; empty if there is none.

    ValueError, with a sentence, for an unknown label or more than three.
    """
    if is_blank(text):
        return frozenset()
    labels = frozenset(parse_label(word) for word in re.split("[+＋]", text))
    if len(labels) > LABELS_PER_ANNOTATOR:
        raise ValueError(
            f"an annotator named {len(labels)} labels ('{text.strip()}'), at most {LABELS_PER_ANNOTATOR} are allowed"
        )
    return labels


def parse_votes(text: str) -> dict[str, Vote]:
    """The vote of each annotator in a field such as "happiness;happiness+surprise;4" or "Li: happiness; Wu: 4".

    ";", "," or "|" separates annotators; one without a name is called after the position: "annotator 2". ValueError,
    with a sentence, where an annotator has two votes.
    """
    votes: dict[str, Vote] = {}
    for number, one in enumerate(re.split("[;,|；，]", text), 1):
        name, _, labels = one.replace("：", ":").rpartition(":")
        name = name.strip() or f"annotator {number}"
        if name in votes:
            raise ValueError(f"'{name}' has two votes")
        if vote := parse_vote(labels):
            votes[name] = vote
    return votes


def words_of(vote: Vote) -> str:
    """A vote as `parse_vote` reads it: "surprise+fear", in the order of the labels."""
    return "+".join(EXPRESSIONS[label - 1] for label in sorted(vote))


def field_of(votes: Mapping[str, Vote]) -> str:
    """Votes as `parse_votes` reads them: "Li: happiness; Wu: happiness+surprise"."""
    return "; ".join(f"{re.sub('[;,|；，:：]', ' ', name)}: {words_of(vote)}" for name, vote in votes.items())


def label_from_votes(votes: Collection[Vote]) -> tuple[int | None, str]:
    """The label that the votes give, and the rule that gave it.

    The label named by the most annotators wins ("majority"), as in the paper. Among labels named equally often, the one
    whose annotators named fewer others wins: an annotator who named k labels weighs 1/k ("tie: happiness over
    surprise"). If that is equal too, there is no label ("tie: happiness, surprise"), nor is there one without votes
    ("none").
    """
    named = Counter(label for labels in votes for label in labels)
    weight: dict[int, Fraction] = {  # exact: sums of thirds must compare equal
        label: sum((Fraction(1, len(labels)) for labels in votes if label in labels), Fraction()) for label in named
    }
    if not named:
        return None, "none"
    first = sorted(label for label in named if named[label] == max(named.values()))
    if len(first) == 1:
        return first[0], "majority"
    sure = [label for label in first if weight[label] == max(weight[k] for k in first)]
    words = {label: EXPRESSIONS[label - 1] for label in first}
    if len(sure) > 1:
        return None, "tie: " + ", ".join(words[label] for label in sure)
    others = ", ".join(words[label] for label in first if label != sure[0])
    return sure[0], f"tie: {words[sure[0]]} over {others}"
