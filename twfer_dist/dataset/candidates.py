"""The faces and animated faces that a data set may choose from."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twfer_dist.core import schema
from twfer_dist.core.errors import UserError
from twfer_dist.core.status import OK
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.plan import sort_by_id, with_long_texts

ORIGINS = {"photographs": ("photograph", "faces", schema.FACES), "animated": ("animated", ".", schema.ANIMATED)}
"""What a data set may include: the origin of its rows, and the table and schema that they come from."""


def figure_keys(rows: pa.Table) -> np.ndarray:
    """One readable key for the figure of each row: corpus/figure."""
    return np.array([key.replace("\0", "/", 1) for key in schema.figures(rows).to_pylist()])


def collect_candidates(
    inputs: Mapping[str, Artifact], include: Sequence[str], corpora: Sequence[str]
) -> tuple[pa.Table, dict[str, int]]:
    """The rows that may be chosen, sorted by image_id, and how many may not, by reason.

    inputs: outputs of `faces` by names that begin with "photographs", then of `animate` by names that begin with
    "animated". Faces give animated faces their split even if `include` leaves out photographs. corpora: the only ones
    to choose from, all if empty. The columns are image_id, label, figure_id, corpus, origin, intensity, reference,
    given (the corpus's own split), content (a digest of the photograph; None for generated images, whose figures alone
    are known) and input (its name). UserError if there is no candidate, or one appears twice.
    """
    left_out = Counter[str]()
    given: dict[str, str | None] = {}
    tables = []
    for name, output in inputs.items():
        if name.startswith("animated"):
            tables.append(_animated(name, output, corpora, given, left_out))
            continue
        split = output.table("faces", schema.FACES, columns=["face_id", "split"])
        given |= zip(split["face_id"].to_pylist(), split["split"].to_pylist(), strict=True)
        if "photographs" in include:
            tables.append(_photographs(name, output, corpora, left_out))
    if not sum(len(t) for t in tables):
        reasons = ", ".join(f"{n} {reason}" for reason, n in left_out.items() if n) or "the inputs are empty"
        raise UserError(
            f"There is no image for the data set ({reasons}): include other origins or corpora, or label photographs."
        )
    candidates = sort_by_id(with_long_texts(pa.concat_tables(tables)).combine_chunks())
    if len(candidates) != pc.count_distinct(candidates["image_id"]).as_py():
        raise UserError(
            "The inputs of a data set hold the same images twice: name every finished output and every corpus once."
        )
    return candidates, {reason: n for reason, n in left_out.items() if n}


def _photographs(name: str, output: Artifact, corpora: Sequence[str], left_out: Counter[str]) -> pa.Table:
    columns = ["face_id", "corpus", "figure_id", "label", "status", "photo_id", "rank", "split"]
    rows = _with_result(output.table("faces", schema.FACES, columns=columns), left_out)
    rows = _drop(rows, pc.not_equal(rows["rank"], 0), "not the largest face", left_out)
    rows = _drop(rows, pc.is_null(rows["label"]), "no expression known", left_out)
    rows = _of_corpora(rows, corpora, left_out)
    photographs = output.table("photographs", schema.PHOTOGRAPHS, columns=["photo_id", "content_sha256"])
    digests = dict(zip(photographs["photo_id"].to_pylist(), photographs["content_sha256"].to_pylist(), strict=True))
    content = [digests.get(photo) for photo in rows["photo_id"].to_pylist()]
    columns_of = {
        "intensity": pa.nulls(len(rows), pa.float32()),
        "reference": pa.nulls(len(rows), pa.string()),
        "given": rows["split"],
        "content": pa.array(content, pa.string()),
    }
    return _table(name, "photographs", rows, rows["face_id"], columns_of)


def _animated(
    name: str, output: Artifact, corpora: Sequence[str], given: Mapping[str, str | None], left_out: Counter[str]
) -> pa.Table:
    columns = ["image_id", "face_id", "corpus", "figure_id", "label", "status", "level", "intensity", "reference_id"]
    rows = _with_result(output.table(".", schema.ANIMATED, columns=columns), left_out)
    rows = _of_corpora(rows, corpora, left_out)
    columns_of = {
        "intensity": rows["intensity"],
        "reference": rows["reference_id"],
        "given": pa.array([given.get(face) for face in rows["face_id"].to_pylist()], pa.string()),
        "content": pa.nulls(len(rows), pa.string()),
    }
    return _table(name, "animated", rows, rows["image_id"], columns_of)


def _table(
    name: str, kind: str, rows: pa.Table, image_ids: pa.ChunkedArray, columns: Mapping[str, pa.Array | pa.ChunkedArray]
) -> pa.Table:
    return pa.table(
        {
            "image_id": image_ids,
            "label": rows["label"],
            "figure_id": rows["figure_id"],
            "corpus": rows["corpus"],
            "origin": pa.array([ORIGINS[kind][0]] * len(rows), pa.string()),
            **columns,
            "input": pa.array([name] * len(rows), pa.string()),
        }
    )


def _with_result(rows: pa.Table, left_out: Counter[str]) -> pa.Table:
    return _drop(rows, pc.not_equal(rows["status"], OK), "without result", left_out)


def _of_corpora(rows: pa.Table, corpora: Sequence[str], left_out: Counter[str]) -> pa.Table:
    if not corpora:
        return rows
    outside = pc.invert(pc.is_in(rows["corpus"], pa.array(corpora, pa.string())))
    return _drop(rows, outside, "of another corpus", left_out)


def _drop(rows: pa.Table, condition: pa.ChunkedArray, reason: str, left_out: Counter[str]) -> pa.Table:
    kept = rows.filter(pc.invert(condition))
    left_out[reason] += len(rows) - len(kept)
    return kept
