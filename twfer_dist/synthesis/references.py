"""Which faces an expression is copied from: chosen by a rule, and recorded."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from twfer_dist.core.prototypes import prototype
from twfer_dist.core.status import OK
from twfer_dist.core.taxonomy import EXPRESSIONS, NEUTRAL

RULE = (
    "Of the labelled faces with Action Units, those that show the expression's prototype most and anything else "
    "least: the length "
    "along the prototype's direction less the length across it (for neutral: the fewest Action Units). At most one "
    "face of a "
    "figure. Where no face has the label, the prototype itself."
)


@dataclass(frozen=True)
class Reference:
    """An Action Unit vector (17 values, 0 to 5) that the expression `label` (1 to 7) is copied from, and whose it
    is.
    """

    label: int
    number: int  # 1 .. of the expression
    reference_id: str  # a face_id, or `prototype-<expression>`
    action_units: tuple[float, ...]
    clearness: float | None  # the rule's value; None for a prototype


def choose(faces: Sequence[pa.Table], per_expression: int, corpora: Sequence[str] = ()) -> list[Reference]:
    """Up to `per_expression` references of each expression, by `RULE`, from FACES rows (any columns beside face_id,
    corpus, figure, label, action_units and status); only from `corpora` where named. Sorted by label and number.
    """
    columns = ["face_id", "corpus", "figure_id", "label", "action_units", "status"]
    rows = [row for table in faces for row in table.select(columns).to_pylist()]
    rows = [
        r
        for r in rows
        if r["status"] == OK and r["label"] and r["action_units"] and (not corpora or r["corpus"] in corpora)
    ]
    chosen = []
    for label, expression in enumerate(EXPRESSIONS, start=1):
        candidates = sorted((r for r in rows if r["label"] == label), key=lambda r: r["face_id"])
        if not candidates:
            units = tuple(float(v) for v in prototype(expression))
            chosen.append(Reference(label, 1, f"prototype-{expression}", units, None))
            continue
        values = clearness(np.array([r["action_units"] for r in candidates], np.float64), label)
        figure_ids: set[str] = set()
        for k in sorted(range(len(candidates)), key=lambda k: (-values[k], candidates[k]["face_id"])):
            if candidates[k]["figure_id"] in figure_ids or len(figure_ids) == per_expression:
                continue
            figure_ids.add(candidates[k]["figure_id"])
            units = tuple(candidates[k]["action_units"])
            chosen.append(
                Reference(label, len(figure_ids), candidates[k]["face_id"], units, round(float(values[k]), 4))
            )
    return chosen


def clearness(units: np.ndarray, label: int) -> np.ndarray:
    """How clearly each row of `units` (N, 17) shows the expression, in units of intensity: |along| - |across| its
    prototype (`facs.PROTOTYPES`), which does not hang on what other faces there are.
    """
    if label == NEUTRAL:
        return -np.linalg.norm(units, axis=1)
    direction = prototype(EXPRESSIONS[label - 1]).astype(np.float64)
    direction /= np.linalg.norm(direction)
    along = units @ direction
    return along - np.linalg.norm(units - along[:, None] * direction, axis=1)
