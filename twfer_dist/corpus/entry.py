"""One photograph as a reader of a corpus names it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Entry:
    path: str  # relative to the corpus, with forward slashes
    figure_id: str  # the figure or photograph that the image descends from
    label: int | None = None  # 1 to 7
    label_rule: str = "none"  # "given", "majority", "tie: ..." or "none"
    split: str | None = None  # one of SPLITS where the corpus says so
    groups: Mapping[str, str] = field(default_factory=dict)
