"""The planned images of the animate stage: which face meets which reference at which intensity.

Workers make the plan, some faces at a time: a million photographs are tens of millions of images.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twfer_dist.core.errors import UserError
from twfer_dist.core.taxonomy import ACTION_UNITS, EXPRESSIONS
from twfer_dist.engine.digests import digest_rows
from twfer_dist.engine.id_ranges import IdRange
from twfer_dist.engine.plan import ROWS_PER_PART, Plan
from twfer_dist.synthesis.references import Reference
from twfer_dist.synthesis.source_faces import SourceFaces


@dataclass(frozen=True)
class Ways:
    """What is made of each face: each of `references` at each of `intensities`.

    per_expression: take that many of these combinations for each expression, each face, and each reference and
    intensity, equally often or once more; all of them if None.
    """

    references: Sequence[Reference]
    intensities: Sequence[float]
    per_expression: int | None = None

    @property
    def steps(self) -> list[tuple[Reference, int, float]]:
        """Each reference at each level and its intensity."""
        return [(r, level, step) for level, step in enumerate(self.intensities, start=1) for r in self.references]

    @property
    def labels(self) -> np.ndarray:
        return np.array([reference.label for reference, _, _ in self.steps])

    def images(self, faces: int) -> int:
        """How many images so many faces give. UserError where there are fewer combinations than `per_expression`."""
        if self.per_expression is None:
            return faces * len(self.steps)
        for label, ways in sorted(Counter(self.labels.tolist()).items()):
            if self.per_expression > faces * ways:
                raise UserError(
                    f"per_expression is {self.per_expression} and {faces} faces with {ways} references and levels give "
                    f"only {faces * ways} images of {EXPRESSIONS[label - 1]}: ask for fewer, or for more references or "
                    "levels."
                )
        return self.per_expression * len(set(self.labels.tolist()))


@dataclass(frozen=True)
class _Faces:
    """Some of the faces in a range of ids: those from number `start` up to `stop`. first: the number of the first one
    among the faces of all ranges.
    """

    ids: IdRange
    start: int
    stop: int
    first: int


def plan(source: SourceFaces, ways: Ways, precision: str) -> Plan:
    """What `planned_images` makes of all source faces, and `precision`, which decides an image too."""
    faces_per_part = max(1, ROWS_PER_PART * source.faces // ways.images(source.faces))
    return Plan(partial(_make, source=source, ways=ways, precision=precision), list(_in_parts(source, faces_per_part)))


def _in_parts(source: SourceFaces, faces: int) -> Iterator[_Faces]:
    first = 0
    for found in source.ranges:
        for start in range(0, found.faces, faces):
            stop = min(found.faces, start + faces)
            yield _Faces(found.ids, start, stop, first + start)
        first += found.faces


def _make(part: _Faces, source: SourceFaces, ways: Ways, precision: str) -> pa.Table:
    faces = source.read(part.ids).slice(part.start, part.stop - part.start)
    rows = planned_images(faces, ways, part.first, source.faces)
    return rows.append_column("precision", pa.array([precision] * len(rows), pa.string()))


def planned_images(faces: pa.Table, ways: Ways, first: int = 0, total: int | None = None) -> pa.Table:
    """The rows of ANIMATED without images, plus `own` (the face's own Action Units), `input`, and digests of what
    decides an image: `face_digest` and `way_digest`.

    faces: rows of `SourceFaces.read`, those from number `first` on of `total`.
    """
    steps = ways.steps
    face, way = combinations(total or len(faces), ways.labels, ways.per_expression, first, len(faces))
    own_units = [values or [0.0] * len(ACTION_UNITS) for values in faces["action_units"].to_pylist()]
    own = np.array(own_units, np.float32).reshape(-1, len(ACTION_UNITS))[face]
    targets = np.array([reference.action_units for reference, _, _ in steps], np.float32)[way]
    amounts = np.array([step for _, _, step in steps], np.float32)[way, None]
    digests = digest_rows(faces.select(["corpus", "figure_id", "groups", "action_units", "image_digest"]))
    repeated = faces.append_column("face_digest", digests).take(pa.array(face))

    def of_way(values: list, kind: pa.DataType) -> pa.Array:
        return pa.array(values, kind).take(pa.array(way))

    names = [f"{EXPRESSIONS[r.label - 1]}-{r.number}-{level}" for r, level, _ in steps]
    origins = pa.table(
        {"id": [r.reference_id for r, _, _ in steps], "units": [r.action_units for r, _, _ in steps],
         "step": [step for _, _, step in steps]}
    )  # fmt: skip
    return pa.table(
        {
            "image_id": pc.binary_join_element_wise(repeated["face_id"], of_way(names, pa.string()), "-"),
            **{name: repeated[name] for name in ("face_id", "corpus", "figure_id")},
            "label": of_way([r.label for r, _, _ in steps], pa.int8()),
            "level": of_way([level for _, level, _ in steps], pa.int16()),
            "intensity": of_way([step for _, _, step in steps], pa.float32()),
            "reference_id": of_way([r.reference_id for r, _, _ in steps], pa.string()),
            "groups": repeated["groups"],
            "action_units": _unit_lists(own + amounts * (targets - own)),
            "own": _unit_lists(own),
            "input": repeated["input"],
            "face_digest": repeated["face_digest"],
            "way_digest": digest_rows(origins).take(pa.array(way)),
        }
    )


def reachable(at_most: int, source_faces: int, references: Sequence[Reference], levels: int) -> int:
    """How many images each expression can have, where none has more than another or more than `at_most`."""
    fewest = min(Counter(reference.label for reference in references).values())
    return min(at_most, source_faces * levels * fewest)


def _unit_lists(units: np.ndarray) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(units.reshape(-1)), units.shape[1])


def combinations(
    total: int, labels: np.ndarray, per_expression: int | None, first: int, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Indices, both (N,): which face meets which way, a reference at an intensity. Of `total` faces these are the
    combinations of `count` from number `first` on, which is index 0. labels: the label of each way.
    """
    if per_expression is None:
        return np.repeat(np.arange(count), len(labels)), np.tile(np.arange(len(labels)), count)
    faces, ways = [], []
    for label in np.unique(labels):
        of_label = np.flatnonzero(labels == label)
        # Down a diagonal of the table of faces and ways, and along the next one when it closes.
        rounds = np.arange(-(-per_expression // total))
        row = (rounds[:, None] * total + np.arange(first, first + count)).ravel()
        row = row[row < per_expression]
        faces.append(row % total - first)
        ways.append(of_label[(row + row // math.lcm(total, len(of_label))) % len(of_label)])
    return np.concatenate(faces), np.concatenate(ways)
