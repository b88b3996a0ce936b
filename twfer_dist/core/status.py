"""Every status that a row of a table can have: who sets it, what it means, and whether a retry may change it.

A row without a result says why in its `error`, in one sentence.
"""

from typing import NamedTuple


class Status(NamedTuple):
    """set_by: the stages that set it. transient: whether a retry may change it; else it describes the row itself."""

    set_by: str
    meaning: str
    transient: bool


STATUSES: dict[str, Status] = {}


def _status(name: str, set_by: str, meaning: str, *, transient: bool = False) -> str:
    STATUSES[name] = Status(set_by, meaning, transient)
    return name


OK = _status("ok", "every stage", "the row has a result")
KILLED = _status("killed", "every stage", "the row crashed the worker that processed it", transient=True)

MISSING = _status("missing", "faces", "there is no file at the photograph's path", transient=True)
UNREACHABLE = _status("unreachable", "faces", "storage failed to deliver the photograph, every time", transient=True)
UNREADABLE = _status(
    "unreadable", "faces, animate, predict", "the file or the crop cannot be read as an image", transient=True
)
OUTSIDE = _status("outside_corpus", "faces", "the photograph's path leads out of the corpus")
TOO_LARGE = _status("too_large", "faces", "the photograph has more pixels than the recipe allows")
TOO_SMALL = _status("too_small", "faces", "the photograph is smaller than the smallest face")
NO_FACE = _status("no_face", "faces", "the detector found no face in the photograph")
LOW_QUALITY = _status("low_quality", "faces", "the face is too small, blurred, turned or cut off to be measured")

REJECTED = _status("rejected", "corrected", "a person marked the crop or the points of the face as wrong")

LOW_CONFIDENCE = _status("low_confidence", "predict", "the model's confidence is below its threshold")
OUT_OF_DISTRIBUTION = _status("out_of_distribution", "predict", "the face is unlike the model's training images")

TRANSIENT = tuple(name for name, status in STATUSES.items() if status.transient)
"""The statuses of rows that are worth a retry."""
