"""The planned images of the animate stage: which face meets which reference at which intensity."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twfer_dist.core.errors import UserError
from twfer_dist.core.taxonomy import ACTION_UNITS, EXPRESSIONS
from twfer_dist.synthesis.references import Reference


def plan(
    source_faces: pa.Table,
    references: Sequence[Reference],
    intensities: Sequence[float],
    per_expression: int | None = None,
) -> pa.Table:
    """The rows of ANIMATED without images, plus `own` (the face's own Action Units), `input` and `row_digest`.

    Each source face (a FACES row with `input` and `row_digest`) meets each reference at each intensity. per_expression:
    take that many of these combinations for each expression, each face, and each reference and intensity, equally often
    or once more. Raises UserError where there are fewer combinations.
    """
    ways = [(reference, level, step) for level, step in enumerate(intensities, start=1) for reference in references]
    labels = np.array([reference.label for reference, _, _ in ways])
    face, way = combinations(len(source_faces), labels, per_expression)
    own_units = [values or [0.0] * len(ACTION_UNITS) for values in source_faces["action_units"].to_pylist()]
    own = np.array(own_units, np.float32).reshape(-1, len(ACTION_UNITS))[face]
    targets = np.array([reference.action_units for reference, _, _ in ways], np.float32)[way]
    amounts = np.array([step for _, _, step in ways], np.float32)[way, None]
    repeated = source_faces.take(pa.array(face))

    def of_way(values: list, kind: pa.DataType) -> pa.Array:
        return pa.array(values, kind).take(pa.array(way))

    names = [f"{EXPRESSIONS[r.label - 1]}-{r.number}-{level}" for r, level, _ in ways]
    return pa.table(
        {
            "image_id": pc.binary_join_element_wise(repeated["face_id"], of_way(names, pa.string()), "-"),
            **{name: repeated[name] for name in ("face_id", "corpus", "figure_id")},
            "label": of_way([r.label for r, _, _ in ways], pa.int8()),
            "level": of_way([level for _, level, _ in ways], pa.int16()),
            "intensity": of_way([step for _, _, step in ways], pa.float32()),
            "reference_id": of_way([r.reference_id for r, _, _ in ways], pa.string()),
            "groups": repeated["groups"],
            "action_units": _unit_lists(own + amounts * (targets - own)),
            "own": _unit_lists(own),
            **{name: repeated[name] for name in ("input", "row_digest")},
        }
    )


def reachable(at_most: int, source_faces: int, references: Sequence[Reference], levels: int) -> int:
    """How many images each expression can have, where none has more than another or more than `at_most`."""
    fewest = min(Counter(reference.label for reference in references).values())
    return min(at_most, source_faces * levels * fewest)


def _unit_lists(units: np.ndarray) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(units.reshape(-1)), units.shape[1])


def combinations(source_faces: int, labels: np.ndarray, per_expression: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Indices, both (N,): which face meets which way, a reference at an intensity.

    labels: the label of each way. Raises UserError where there are fewer combinations than `per_expression`.
    """
    if per_expression is None:
        return np.repeat(np.arange(source_faces), len(labels)), np.tile(np.arange(len(labels)), source_faces)
    faces, ways = [], []
    for label in np.unique(labels):
        of_label = np.flatnonzero(labels == label)
        if per_expression > source_faces * len(of_label):
            raise UserError(
                f"per_expression is {per_expression} and {source_faces} faces with {len(of_label)} references and "
                f"levels give only {source_faces * len(of_label)} images of {EXPRESSIONS[label - 1]}: ask for fewer, "
                "or for more references or levels."
            )
        # Down a diagonal of the table of faces and ways, and along the next one when it closes.
        row = np.arange(per_expression)
        faces.append(row % source_faces)
        ways.append(of_label[(row + row // math.lcm(source_faces, len(of_label))) % len(of_label)])
    return np.concatenate(faces), np.concatenate(ways)
