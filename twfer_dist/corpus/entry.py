"""One photograph as a reader of a corpus describes it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from twfer_dist.core.credit import Credit
from twfer_dist.corpus.votes import Vote


@dataclass(frozen=True)
class Entry:
    path: str  # relative to the corpus, with forward slashes
    figure_id: str  # the figure or photograph that the image descends from
    label: int | None = None  # 1 to 7
    label_rule: str = "none"  # "given", "majority", "tie: ..." or "none"
    split: str | None = None  # "train", "validation" or "test" where the corpus has a split
    groups: Mapping[str, str] = field(default_factory=dict)
    credit: Credit = Credit()
    votes: Mapping[str, Vote] = field(default_factory=dict)  # by annotator
