"""The faces that are animated, and those that are copied: found by workers, a range of ids at a time."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twfer_dist.core.errors import UserError
from twfer_dist.core.schema import FACES
from twfer_dist.core.status import OK
from twfer_dist.core.taxonomy import NEUTRAL
from twfer_dist.engine import ray_tasks
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.digests import IMAGE_DIGEST
from twfer_dist.engine.id_ranges import IdRange, IdTable, id_ranges, read_range
from twfer_dist.synthesis import references
from twfer_dist.synthesis.references import Reference

Select = Literal["neutral", "unlabelled", "calm", "all"]

LEAST_CALM = 12
"""Faces without a label that `select: calm` animates at least, where there are as many."""

_FACES_PER_RANGE = 2048  # each becomes dozens of planned images
_COLUMNS = ["face_id", "corpus", "figure_id", "label", "groups", "action_units", "status", IMAGE_DIGEST]


@dataclass(frozen=True)
class FacesInRange:
    """How many faces of a range are animated, and how many of them have no Action Units of their own."""

    ids: IdRange
    faces: int
    without_units: int


@dataclass(frozen=True)
class SourceFaces:
    """The faces to animate, and how many each range of ids has. loudest: the last of the calm faces without a label, by
    (length of its Action Units, face_id).
    """

    tables: tuple[IdTable, ...]
    select: Select
    ranges: tuple[FacesInRange, ...] = ()
    loudest: tuple[float, str] | None = None

    @property
    def faces(self) -> int:
        return sum(found.faces for found in self.ranges)

    def read(self, ids: IdRange) -> pa.Table:
        """The faces of a range, sorted by id: columns of FACES, `image_digest` in place of the image, and `input`, the
        index of the artifact that each comes from.
        """
        rows = _read(self.tables, _COLUMNS, ids)
        selected = pc.equal(rows["status"], OK)
        if self.select != "all":
            neutral = pc.equal(rows["label"], NEUTRAL)
            selected = pc.and_(selected, pc.fill_null(neutral, self.select in ("unlabelled", "calm")))
        rows = rows.filter(selected)
        if self.loudest is not None:
            louder = zip(_loudness(rows).tolist(), rows["face_id"].to_pylist(), strict=True)
            calm = pa.array([face <= self.loudest for face in louder], pa.bool_())
            rows = rows.filter(pc.or_(pc.is_valid(rows["label"]), calm))
        return rows


def find_source_faces(faces: Sequence[Artifact], select: Select) -> SourceFaces:
    """The faces with status ok that `select` names (see `AnimateConfig`). UserError where there are none."""
    source = SourceFaces(_tables(faces), select)
    ranges = id_ranges(source.tables, _FACES_PER_RANGE)
    if select == "calm":
        source = replace(source, loudest=_loudest_calm(source, ranges))
    found = tuple(ray_tasks.run("find faces", partial(_count, source=source), ranges))
    if not sum(part.faces for part in found):
        raise UserError(
            f"No face to animate: no row of {', '.join(artifact.uri for artifact in faces)} is ok and {select}; set "
            "select to unlabelled or all."
        )
    return replace(source, ranges=found)


def find_references(faces: Sequence[Artifact], per_expression: int, corpora: Sequence[str]) -> list[Reference]:
    """`references.choose` among all `faces`."""
    if not per_expression:
        return references.choose([], 0)
    tables = _tables(faces)
    clearest = partial(_clearest, tables=tables, per_expression=per_expression, corpora=corpora)
    found = ray_tasks.run("find references", clearest, id_ranges(tables))
    return references.choose(list(found), per_expression, corpora)


def _tables(faces: Sequence[Artifact]) -> tuple[IdTable, ...]:
    return tuple(IdTable(artifact, "faces", FACES) for artifact in faces)


def _read(tables: Sequence[IdTable], columns: Sequence[str], ids: IdRange) -> pa.Table:
    pieces = []
    for index, table in enumerate(tables):
        rows = read_range(table, columns, ids)
        pieces.append(rows.append_column("input", pa.array(np.full(len(rows), index, np.int16))))
    return pa.concat_tables(pieces).sort_by("face_id")


def _loudest_calm(source: SourceFaces, ranges: Sequence[IdRange]) -> tuple[float, str] | None:
    """Calm is the half of the faces without a label with the smallest Action Units, at least LEAST_CALM; None where all
    are.
    """
    found = ray_tasks.run("find calm faces", partial(_unlabelled, source=source), ranges)
    loudness = sorted(face for of_range in found for face in of_range)
    kept = max(LEAST_CALM, len(loudness) // 2)
    return loudness[kept - 1] if kept < len(loudness) else None


def _unlabelled(ids: IdRange, source: SourceFaces) -> list[tuple[float, str]]:
    rows = source.read(ids)
    rows = rows.filter(pc.is_null(rows["label"]))
    return list(zip(_loudness(rows).tolist(), rows["face_id"].to_pylist(), strict=True))


def _loudness(rows: pa.Table) -> np.ndarray:
    """The length of each face's Action Units, 0 where they are unknown."""
    return np.array([np.linalg.norm(units) if units else 0.0 for units in rows["action_units"].to_pylist()])


def _count(ids: IdRange, source: SourceFaces) -> FacesInRange:
    rows = source.read(ids)
    return FacesInRange(ids, len(rows), rows["action_units"].null_count)


def _clearest(ids: IdRange, tables: Sequence[IdTable], per_expression: int, corpora: Sequence[str]) -> pa.Table:
    """The rows of a range that may be among the clearest of all: those that are among the clearest of the range."""
    rows = _read(tables, references.COLUMNS, ids)
    chosen = [reference.reference_id for reference in references.choose([rows], per_expression, corpora)]
    return rows.filter(pc.is_in(rows["face_id"], pa.array(chosen, pa.string())))
