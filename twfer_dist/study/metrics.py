"""Accuracy tables as in the paper, and confusion matrices, from tables of predictions of any length.

Predictions are counted batch by batch into a *count table*: one row for each combination of model, corpus, figure,
split, label, predicted expression, status and grouping columns, with `n` images. All scores are computed from it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twfer_dist.core.errors import UserError
from twfer_dist.core.intervals import Mean, Share, as_dict, balanced_accuracy, share
from twfer_dist.core.schema import PREDICTIONS, figures
from twfer_dist.core.status import OK
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.engine.artifact import Artifact

SPLITS = ("train", "validation", "test")
COUNTED = ("model", "corpus", "figure_id", "split", "label", "predicted", "status")
GROUP = "group:"
"""The prefix of a grouping column's name in a count table."""

_BATCH = 1 << 16
_CLASSES = len(EXPRESSIONS)


@dataclass(frozen=True)
class Evaluation:
    """How one model answered the labelled images of one split.

    right, total: [figures, 7] correct answers and images, of each figure and true expression.
    confusion: [7, 7] images by true (row) and predicted (column) expression.
    accepted, accepted_right: images whose answer the model accepts (status "ok"), and those answered correctly.
    unanswered: labelled images without an answer (unreadable or refused); in none of the other counts.
    """

    model: str
    split: str
    right: np.ndarray
    total: np.ndarray
    confusion: np.ndarray
    accepted: int
    accepted_right: int
    unanswered: int

    @property
    def accuracy(self) -> Share:
        """The share of images answered correctly (the paper's average in Tables 2, 5 and 6)."""
        return share(self.right.sum(1), self.total.sum(1))

    @property
    def by_expression(self) -> list[Share]:
        """The accuracy on the images of each true expression."""
        return [share(self.right[:, c], self.total[:, c]) for c in range(_CLASSES)]

    @property
    def balanced_accuracy(self) -> Mean | None:
        """The mean accuracy over the expressions that have images (the paper's average in Table 7)."""
        return balanced_accuracy(self.by_expression)


def count(predictions: Iterable[Artifact], images: pa.Table, groups: Sequence[str] = ()) -> pa.Table:
    """The count table of the answers to `images`, a table of image_id and the split under which an image counts.

    Its columns are COUNTED, `group:<name>` for each grouping column (only those in `groups`, unless that is empty), and
    `n`. Answers to other images are left out. UserError where no photograph has a column of `groups`.
    """
    known: set[str] = set()
    ids, splits = images["image_id"].combine_chunks(), images["split"].combine_chunks()
    pieces: list[pa.Table] = []
    for output in predictions:
        scanned = output.scan(".", PREDICTIONS)
        for batch in scanned.to_batches(columns=["image_id", *COUNTED, "groups"], batch_size=_BATCH):
            index = pc.index_in(batch["image_id"], ids)
            batch = batch.filter(pc.is_valid(index))
            columns = {key: batch[key] for key in COUNTED} | {"split": splits.take(index.drop_null())}
            known |= set(pc.unique(batch["groups"].keys).to_pylist())
            for name in sorted(known & set(groups or known)):
                columns[GROUP + name] = pc.map_lookup(batch["groups"], query_key=pa.scalar(name), occurrence="first")
            pieces.append(pa.table(columns).group_by(list(columns)).aggregate([([], "count_all")]))
    if pieces and (foreign := [name for name in groups if name not in known]):
        raise UserError(
            f"The photographs have no column '{foreign[0]}' to group by: choose one of "
            f"{', '.join(sorted(known)) or 'none'}."
        )
    empty = pa.schema([*(PREDICTIONS.field(name) for name in COUNTED), ("count_all", pa.int64())]).empty_table()
    table = pa.concat_tables([empty, *pieces], promote_options="default")
    keys = [name for name in table.column_names if name != "count_all"]
    summed = table.group_by(keys).aggregate([("count_all", "sum")]).rename_columns([*keys, "n"])
    return summed.sort_by([(key, "ascending") for key in keys])


def evaluate(counts: pa.Table) -> list[Evaluation]:
    """One evaluation for each model and split with labelled images, sorted by model, then train, validation, test."""
    counts = counts.filter(pc.is_valid(counts["label"]))
    models, splits = counts["model"].to_pylist(), pc.fill_null(counts["split"], "").to_pylist()
    pairs = sorted(set(zip(models, splits, strict=True)), key=lambda pair: (pair[0], split_order(pair[1])))
    evaluations = []
    for model, split in pairs:
        rows = counts.filter(pa.array([m == model and s == split for m, s in zip(models, splits, strict=True)]))
        evaluations.append(_evaluation(model, split, rows))
    return evaluations


def by_intensity(model: str, predictions: Iterable[Artifact], images: pa.Table) -> list[dict[str, Any]]:
    """The accuracy of a model on animated images of each intensity, the weakest first, as JSON-like rows.

    images: image_id and intensity, null for a photograph, which is left out.
    """
    images = images.filter(pc.is_valid(images["intensity"]))
    steps = pa.array([f"{step:.3f}" for step in images["intensity"].to_pylist()], pa.string())
    counts = count(predictions, pa.table({"image_id": images["image_id"], "split": steps}))
    evaluations = evaluate(counts.filter(pc.equal(counts["model"], model)))
    return [{"intensity": float(e.split), **as_dict(e.accuracy)} for e in evaluations]


def split_order(split: str) -> tuple[int, str]:
    """A sort key: train, validation and test in this order, then any other word."""
    return (SPLITS.index(split) if split in SPLITS else len(SPLITS), split)


def _evaluation(model: str, split: str, rows: pa.Table) -> Evaluation:
    answered = pc.is_valid(rows["predicted"]).to_numpy()
    n = rows["n"].to_numpy()
    unanswered = int(n[~answered].sum())
    rows, n = rows.filter(pa.array(answered)), n[answered]
    truth = rows["label"].to_numpy().astype(np.int64) - 1
    predicted = rows["predicted"].to_numpy().astype(np.int64) - 1
    figure_id, figure_ids = figure_codes(rows)
    confusion = np.zeros((_CLASSES, _CLASSES), np.int64)
    np.add.at(confusion, (truth, predicted), n)
    total = np.zeros((figure_ids, _CLASSES), np.int64)
    np.add.at(total, (figure_id, truth), n)
    right = np.zeros_like(total)
    hit = truth == predicted
    np.add.at(right, (figure_id[hit], truth[hit]), n[hit])
    ok = np.array([s == OK for s in rows["status"].to_pylist()], bool)
    return Evaluation(model, split, right, total, confusion, int(n[ok].sum()), int(n[ok & hit].sum()), unanswered)


def figure_codes(rows: pa.Table) -> tuple[np.ndarray, int]:
    """A number from 0 for the figure of each row, and how many figures there are. Equal names in two corpora are two
    figures.
    """
    if not len(rows):
        return np.zeros(0, np.int64), 0
    encoded = figures(rows).dictionary_encode()
    return encoded.indices.to_numpy().astype(np.int64), len(encoded.dictionary)


def scores(evaluations: Sequence[Evaluation], *, baseline: str = "") -> list[dict[str, Any]]:
    """Accuracy, balanced accuracy and the accuracy on each expression, as JSON-like rows in the order of
    `evaluations`.

    baseline: the kind of baseline that answered, empty for a model.
    """
    return [
        {
            "model": e.model,
            "row": baseline or e.model,
            "baseline": bool(baseline),
            "split": e.split,
            "accuracy": as_dict(e.accuracy),
            "balanced_accuracy": as_dict(e.balanced_accuracy),
            "accepted": {"k": e.accepted_right, "n": e.accepted},
            "unanswered": e.unanswered,
            "expressions": [
                {"expression": name, **as_dict(s)} for name, s in zip(EXPRESSIONS, e.by_expression, strict=True)
            ],
        }
        for e in evaluations
    ]
