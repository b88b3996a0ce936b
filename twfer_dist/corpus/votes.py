"""Labels as people write them, and annotators' votes."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
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
    """Whether a field says that nothing is known: it is empty, a dash, "n/a", "unknown", a question mark."""
    return not text.strip() or unicodedata.normalize("NFKC", text).strip().lower() in _NOTHING


def parse_label(text: str) -> int:
    """The label (1 to 7) of a word for an expression in any case, or of its number in RAF-DB's order (also as Excel
    writes it: 4.0).

    ValueError, with a sentence, for anything else.
    """
    if number := re.fullmatch(rf"\s*([1-{len(EXPRESSIONS)}])([.,]0*)?\s*", unicodedata.normalize("NFKC", text)):
        return int(number.group(1))
    try:
        return label_of(text)
    except ValueError:
        names = ", ".join(f"{label} {name}" for label, name in enumerate(EXPRESSIONS, 1))
        raise ValueError(f"'{' '.join(text.split())}' is no expression (these are: {names})") from None


def parse_vote(text: str) -> Vote:
    """The one to three labels of one annotator, separated by "+"; empty where nothing was named.

    ValueError, with a sentence, for an unknown label or more than three.
    """
    if is_blank(text):
        return frozenset()
    labels = frozenset(parse_label(word) for word in re.split("[+＋]", text))
    if len(labels) > LABELS_PER_ANNOTATOR:
        raise ValueError(
            f"an annotator named {len(labels)} labels ('{text.strip()}'), {LABELS_PER_ANNOTATOR} are allowed"
        )
    return labels


def parse_votes(text: str) -> list[Vote]:
    """The votes of a field such as "happiness;happiness+surprise;4;neutral": annotators are separated by ";", "," or
    "|".
    """
    return [vote for one in re.split("[;,|；，]", text) if (vote := parse_vote(one))]


def label_from_votes(votes: Sequence[Vote]) -> tuple[int | None, str]:
    """The label that votes stand for, and the rule that gave it.

    An annotator who named nothing does not vote. The label named by the most annotators stands ("majority"), as in the
    paper. Where several labels are named by equally many, the one whose annotators were surer stands: an annotator who
    named k labels weighs 1/k ("tie: happiness over surprise"). Where that is equal too there is no label ("tie:
    happiness, surprise").
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
