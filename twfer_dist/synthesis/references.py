"""The faces that an expression is copied from: chosen by a rule, and recorded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from twfer_dist.core.prototypes import prototype
from twfer_dist.core.schema import figures
from twfer_dist.core.status import OK
from twfer_dist.core.taxonomy import EXPRESSIONS, NEUTRAL

RULE = (
    "Among the labelled faces with Action Units, those that show the expression's prototype most and anything else "
    "least: the length along the prototype's direction minus the length across it (for neutral: the smallest Action "
    "Units). At most one face per figure. Where no face has the label, or no face is wanted, the prototype itself."
)

COLUMNS = ["face_id", "corpus", "figure_id", "label", "action_units", "status"]
"""The columns of FACES that a choice needs."""


@dataclass(frozen=True)
class Reference:
    """An Action Unit vector (17 values, 0 to 5) that the expression `label` (1 to 7) is copied from, and its origin."""

    label: int
    number: int  # 1, 2, ... within the expression
    reference_id: str  # a face_id, or `prototype-<expression>`
    action_units: tuple[float, ...]
    clearness: float | None  # the rule's value; None for a prototype


def choose(faces: Sequence[pa.Table], per_expression: int, corpora: Sequence[str] = ()) -> list[Reference]:
    """Up to `per_expression` references for each expression, by `RULE`, sorted by label and number; the prototypes
    where it is 0.

    faces: FACES rows with at least `COLUMNS`. corpora: where references may come from; all corpora when empty.
    """
    rows = [
        row | {"figure": figure}
        for table in faces
        for row, figure in zip(table.select(COLUMNS).to_pylist(), figures(table).to_pylist(), strict=True)
    ]
    rows = [
        row
        for row in rows
        if row["status"] == OK and row["label"] and row["action_units"] and (not corpora or row["corpus"] in corpora)
    ]
    chosen = []
    for label in range(1, len(EXPRESSIONS) + 1):
        candidates = sorted((row for row in rows if row["label"] == label), key=lambda row: row["face_id"])
        chosen += (
            _clearest(candidates, label, per_expression) if candidates and per_expression else [_of_prototype(label)]
        )
    return chosen


def _of_prototype(label: int) -> Reference:
    expression = EXPRESSIONS[label - 1]
    units = tuple(float(value) for value in prototype(expression))
    return Reference(label, 1, f"prototype-{expression}", units, None)


def _clearest(candidates: Sequence[Mapping[str, Any]], label: int, limit: int) -> list[Reference]:
    """The clearest candidates, at most one per figure and `limit` in total."""
    values = clearness(np.array([row["action_units"] for row in candidates], np.float64), label)
    shown: set[str] = set()
    chosen = []
    for k in sorted(range(len(candidates)), key=lambda k: (-values[k], candidates[k]["face_id"])):
        row = candidates[k]
        if row["figure"] in shown or len(shown) == limit:
            continue
        shown.add(row["figure"])
        units = tuple(row["action_units"])
        chosen.append(Reference(label, len(shown), row["face_id"], units, round(float(values[k]), 4)))
    return chosen


def clearness(units: np.ndarray, label: int) -> np.ndarray:
    """How clearly each row of `units` (N, 17) shows the expression, in units of intensity, whatever the other rows are.

    The length along its prototype (`core.prototypes`) minus the length across it.
    """
    if label == NEUTRAL:
        return -np.linalg.norm(units, axis=1)
    direction = prototype(EXPRESSIONS[label - 1]).astype(np.float64)
    direction /= np.linalg.norm(direction)
    along = units @ direction
    return along - np.linalg.norm(units - along[:, None] * direction, axis=1)
