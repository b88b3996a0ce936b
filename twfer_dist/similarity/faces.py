"""Embedded faces in memory, for comparisons: those of one network from several outputs of `embed`."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twfer_dist.core.errors import UserError
from twfer_dist.core.schema import figures
from twfer_dist.core.status import OK
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.engine.artifact import Artifact
from twfer_dist.similarity.layout import sample_of
from twfer_dist.similarity.near import fine_structure
from twfer_dist.similarity.tables import EMBEDDINGS

CORPUS, EXPRESSION = "corpus", "expression"
"""What faces can be grouped by besides the grouping columns of their manifest."""

_COLUMNS = ["image_id", "corpus", "figure_id", "path", "label", "split", "groups"]


@dataclass(frozen=True)
class EmbeddedFaces:
    """The faces of one network that have a result, N of them, sorted by corpus and id.

    rows: _COLUMNS. figures: str (N,), unique over corpora. vectors: float32 (N, D), each of length 1. fine: float32
    (N, SIDE * SIDE), see `near.fine_structure`. without: faces that have no result.
    """

    network: str
    rows: pa.Table
    figures: np.ndarray
    vectors: np.ndarray
    fine: np.ndarray
    without: int

    def take(self, indices: np.ndarray) -> "EmbeddedFaces":
        return EmbeddedFaces(
            self.network,
            self.rows.take(pa.array(indices)),
            self.figures[indices],
            self.vectors[indices],
            self.fine[indices],
            self.without,
        )

    def groups(self, column: str) -> np.ndarray:
        """The group of each face, str (N,); empty where it has none. UserError where no face has such a column."""
        if column == CORPUS:
            return np.array(self.rows["corpus"].to_pylist(), np.str_)
        if column == EXPRESSION:
            values = [EXPRESSIONS[label - 1] if label else "" for label in self.rows["label"].to_pylist()]
        else:
            values = [dict(row or []).get(column) or "" for row in self.rows["groups"].to_pylist()]
        if not any(values):
            known = sorted({key for row in self.rows["groups"].to_pylist() for key, _ in row or []})
            raise UserError(
                f"no face has a value of '{column}' to compare by: use {', '.join([CORPUS, EXPRESSION, *known])}."
            )
        return np.array(values, np.str_)


def read_faces(outputs: Sequence[Artifact]) -> list[EmbeddedFaces]:
    """The faces of each network, in the order in which `outputs` first name it. UserError where a network has a face
    twice, or none at all.
    """
    by_network: dict[str, list[Artifact]] = {}
    for output in outputs:
        by_network.setdefault(output.results["network"], []).append(output)
    return [_read(network, several) for network, several in by_network.items()]


def _read(network: str, outputs: Sequence[Artifact]) -> EmbeddedFaces:
    tables, vectors, fine, without = [], [], [], 0
    for output in outputs:
        scanned = output.scan(".", EMBEDDINGS)
        for batch in scanned.to_batches(columns=[*_COLUMNS, "embedding", "image", "status"], batch_size=4096):
            ok = batch.filter(pc.and_(pc.equal(batch["status"], OK), pc.is_valid(batch["embedding"])))
            without += len(batch) - len(ok)
            if len(ok):
                tables.append(pa.table(ok.select(_COLUMNS)))
                vectors.append(pc.list_flatten(ok["embedding"]).to_numpy().reshape(len(ok), -1))
                fine.append(fine_structure(ok["image"].to_pylist()))
    if not tables:
        raise UserError(f"{outputs[0].uri} and its like hold no face with features: nothing can be compared.")
    rows = pa.concat_tables(tables)
    if pc.count_distinct(rows["image_id"]).as_py() != len(rows):
        raise UserError("The embeddings hold the same faces twice: name every output once.")
    order = pc.sort_indices(rows, [("corpus", "ascending"), ("image_id", "ascending")])
    rows, places = rows.take(order), order.to_numpy()
    return EmbeddedFaces(
        network,
        rows,
        np.array(figures(rows).to_pylist(), np.str_),
        np.concatenate(vectors)[places],
        np.concatenate(fine)[places],
        without,
    )


def sampled(faces: EmbeddedFaces, size: int | None, corpora: Sequence[str], seed: int) -> EmbeddedFaces:
    """The faces with `size` random ones of each of `corpora` (of every corpus where empty); all where None. UserError
    where a corpus is not there.
    """
    of_corpus = faces.groups(CORPUS)
    present = sorted(set(of_corpus.tolist()))
    for name in corpora:
        if name not in present:
            raise UserError(f"sample_of names the corpus '{name}', of which no face is here: use {', '.join(present)}.")
    if size is None:
        return faces
    ids = np.array(faces.rows["image_id"].to_pylist(), object)
    kept = []
    for name in present:
        mine = np.flatnonzero(of_corpus == name)
        drawn = not corpora or name in corpora
        kept.append(mine[sample_of(ids[mine].tolist(), size, seed)] if drawn else mine)
    return faces.take(np.sort(np.concatenate(kept)))


def pictures_of(outputs: Sequence[Artifact], ids: Sequence[str]) -> list[bytes]:
    """The stored pictures of faces, in the order of `ids`."""
    found: dict[str, bytes] = {}
    for output in outputs:
        rows = output.table(".", EMBEDDINGS, columns=["image_id", "image"], ids=ids)
        found |= dict(zip(rows["image_id"].to_pylist(), rows["image"].to_pylist(), strict=True))
    return [found[one] for one in ids]


def parts_of(rows: pa.Table) -> np.ndarray:
    """The part of a data set that each face is in, str (N,); empty where it is in none."""
    return np.array([part or "" for part in rows["split"].to_pylist()], np.str_)
