"""One model's answer to each face of a study, and the faces that show each expression most clearly."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twfer_dist.core.schema import PREDICTIONS, READINGS, figures
from twfer_dist.core.status import OK
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.engine.artifact import Artifact

_KEPT = ("image_id", "predicted", "confidence")


def answers_of(predictions: Sequence[Artifact], images: pa.Table, model: str) -> pa.Table:
    """What `model` answered to `images` (column image_id), sorted by id.

    Columns: image_id, figure (`schema.figures`), predicted 1 to 7 or null, confidence, accepted (bool). Some 100 bytes
    a face are held in memory.
    """
    wanted = images["image_id"].combine_chunks()
    pieces = []
    for output in predictions:
        scanned = output.scan(".", PREDICTIONS)
        columns = [*_KEPT, "corpus", "figure_id", "status"]
        for batch in scanned.to_batches(columns=columns, filter=pc.field("model") == model):
            batch = batch.filter(pc.is_in(batch["image_id"], wanted))
            kept = {name: batch[name] for name in _KEPT}
            pieces.append(pa.table({**kept, "figure": figures(batch), "accepted": pc.equal(batch["status"], OK)}))
    fields = [*(PREDICTIONS.field(name) for name in _KEPT), ("figure", pa.string()), ("accepted", pa.bool_())]
    return pa.concat_tables([pa.schema(fields).empty_table(), *pieces]).sort_by("image_id")


def with_readings(predictions: Sequence[Artifact]) -> list[Artifact]:
    """The predictions that have a table of readings beside them: the reader's."""
    return [output for output in predictions if "readings" in output.manifest.rows]


def clearest(answers: Sequence[tuple[str, pa.Table]]) -> list[dict[str, Any]]:
    """For each expression that some accepted face shows, the face that shows it with the highest probability.

    answers: models with their `answers_of`; a later one is asked only for expressions that the earlier ones accept in
    no face. Each figure is taken once. Entries in the order of EXPRESSIONS: expression, face_id, model.
    """
    chosen: dict[int, dict[str, Any]] = {}
    used: set[str] = set()
    for model, table in answers:
        accepted = table.filter(pc.and_(table["accepted"], pc.is_valid(table["predicted"])))
        ranked = accepted.sort_by([("confidence", "descending"), ("image_id", "ascending")])
        faces = zip(*(ranked[name].to_pylist() for name in ("predicted", "figure", "image_id")), strict=True)
        for label, figure, face_id in faces:
            if label not in chosen and figure not in used:
                chosen[label] = {"expression": EXPRESSIONS[label - 1], "face_id": face_id, "model": model}
                used.add(figure)
    return [chosen[label] for label in sorted(chosen)]


def relative_readings(predictions: Sequence[Artifact], answers: pa.Table) -> dict[str, Any] | None:
    """How the reader's answers change once the corpus's median face is taken for neutral; None without such readings.

    answers: the reader's `answers_of`. n: faces with both readings; changed: how many of them differ; first, relative:
    faces by expression (7,) in either reading; most: the most frequent change (from, to, k), None without any.
    """
    columns = ["face_id", "relative_predicted"]
    tables = [output.scan("readings", READINGS).to_table(columns=columns) for output in with_readings(predictions)]
    relative = pa.concat_tables([READINGS.empty_table().select(columns), *tables])
    index = pc.index_in(answers["image_id"], relative["face_id"].combine_chunks())
    both = pa.table({"first": answers["predicted"], "relative": relative["relative_predicted"].take(index)}).drop_null()
    if not len(both):
        return None
    table = np.zeros((len(EXPRESSIONS), len(EXPRESSIONS)), np.int64)
    np.add.at(table, tuple(both[name].to_numpy().astype(np.int64) - 1 for name in ("first", "relative")), 1)
    moved = table - np.diag(np.diag(table))
    source, target = np.unravel_index(moved.argmax(), moved.shape)
    most = {"from": EXPRESSIONS[source], "to": EXPRESSIONS[target], "k": int(moved.max())}
    return {
        "n": len(both),
        "changed": int(moved.sum()),
        "first": table.sum(1).tolist(),
        "relative": table.sum(0).tolist(),
        "most": most if moved.any() else None,
    }
