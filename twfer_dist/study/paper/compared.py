"""Whether the paper's warriors, Han figures and American works differ in what one recogniser answers, and how far."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from twfer_dist.core.language import mark
from twfer_dist.recognition.recogniser import name_of
from twfer_dist.study.group_effects import ColumnEffect, column_effect
from twfer_dist.study.groups import difference
from twfer_dist.study.metrics import GROUP
from twfer_dist.study.paper.numbers import READERS, PaperInputs, face_counts
from twfer_dist.study.words import COLLECTION

NAMES = {"warriors": mark("Warriors"), "han": mark("Han figures"), "american": mark("American works")}


@dataclass(frozen=True)
class Compared:
    """Two or three groups of figures, read by the same recogniser."""

    groups: list[str]  # of NAMES' values
    test: dict[str, Any] | None  # see groups.difference
    effect: ColumnEffect


def compare_groups(inputs: PaperInputs) -> Compared | None:
    """The groups that the first of the recognisers which read most of them has answered; None for fewer than two."""
    read = {role: _answers(role, inputs) for role in READERS if role in inputs.models}
    if not read or len(tables := max(read.values(), key=len)) < 2:
        return None
    role = next(role for role in read if read[role] is tables)
    rows = pa.concat_tables(tables.values())
    values = pa.chunked_array([pa.repeat(NAMES[name], len(table)) for name, table in tables.items()])
    names = [NAMES[name] for name in tables]
    effect = column_effect(name_of(inputs.models[role]), COLLECTION, rows, values, names)
    return Compared(names, difference(rows, values), effect)


def _answers(role: str, inputs: PaperInputs) -> dict[str, pa.Table]:
    """The count table of the answers to each group that the recogniser read."""
    found = {}
    for name in NAMES:
        faces = (inputs.faces or {}).get(name)
        if faces and inputs.answers(inputs.models[role], faces):
            counts = face_counts(role, faces, inputs)
            counts = counts.select([column for column in counts.column_names if not column.startswith(GROUP)])
            found[name] = counts.filter(pc.is_valid(counts["predicted"]))
    return {name: table for name, table in found.items() if len(table)}
