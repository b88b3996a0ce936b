"""Labels as people write them, and annotators' votes."""

from collections import Counter
from fractions import Fraction

from twfer_dist.taxonomy import EXPRESSIONS, label_of

LABELS_PER_ANNOTATOR = 3


def parse_label(text: str) -> int:
    """The label (1 to 7) of an expression's name in any case, or of its number in RAF-DB's order.

    ValueError, with a sentence, for anything else.
    """
    text = text.strip()
    if text in {str(label) for label in range(1, len(EXPRESSIONS) + 1)}:
        return int(text)
    try:
        return label_of(text)
    except ValueError:
        names = ", ".join(f"{label} {name}" for label, name in enumerate(EXPRESSIONS, 1))
        raise ValueError(f"'{text}' is no expression (these are: {names})") from None


def label_from_votes(text: str) -> tuple[int | None, str]:
    """The label that a field of votes stands for, and the rule that gave it.

    Annotators are separated by ";", the one to three labels of one annotator by "+": "happiness;happiness+surprise;4;neutral".
    An annotator who named nothing does not vote. The label named by the most annotators stands ("majority"), as in the paper.
    Where several labels are named by equally many, the one whose annotators were surer stands: an annotator who named k labels
    weighs 1/k ("tie: happiness over surprise"). Where that is equal too there is no label ("tie: happiness, surprise").
    ValueError, with a sentence, for an unknown label or more than three of one annotator.
    """
    named: Counter[int] = Counter()
    weight: Counter[int] = Counter()
    for annotator in text.split(";"):
        if not annotator.strip():
            continue
        labels = {parse_label(word) for word in annotator.split("+")}
        if len(labels) > LABELS_PER_ANNOTATOR:
            raise ValueError(f"an annotator named {len(labels)} labels ('{annotator.strip()}'), {LABELS_PER_ANNOTATOR} are allowed")
        for label in labels:
            named[label] += 1
            weight[label] += Fraction(1, len(labels))  # type: ignore[assignment]  # exact: sums of thirds must compare equal
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
