"""What an accuracy must beat: a constant answer, and a linear model that sees 17 Action Units and no picture.

The linear model is a multinomial logistic regression on the Action Units of a data set's training images. For animated
images these are the Action Units that were requested, not measured ones: there the model knows the recipe of the
picture, and its score says how far the labels follow from the Action Units alone.
"""

import warnings

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from twfer_dist.core.language import mark
from twfer_dist.core.schema import DATASET, FACES, PREDICTIONS
from twfer_dist.core.status import OK
from twfer_dist.core.taxonomy import EXPRESSIONS, to_unit
from twfer_dist.engine.artifact import Artifact
from twfer_dist.study.metrics import COUNTED, Evaluation

ALWAYS = "always "
"""The best constant answer is called "always happiness"."""

LINEAR = mark("linear model on Action Units")

_COLUMNS = ["corpus", "figure_id", "split", "label", "action_units"]


def majority(evaluation: Evaluation) -> Evaluation:
    """The best constant answer to the same images: their most common true expression (the majority class)."""
    total = evaluation.total
    answer = int(total.sum(0).argmax())
    right, confusion = np.zeros_like(total), np.zeros_like(evaluation.confusion)
    right[:, answer] = total[:, answer]
    confusion[:, answer] = total.sum(0)
    n = int(total.sum())
    return Evaluation(ALWAYS + EXPRESSIONS[answer], evaluation.split, right, total, confusion, n, int(right.sum()), 0)


def fit(dataset: Artifact) -> LogisticRegression | None:
    """The linear model (17 values of 0 to 1 -> label 1 to 7) of a data set's training images; None where fewer than two
    expressions have images with Action Units.
    """
    train = _rows(dataset.scan(".", DATASET).to_table(columns=_COLUMNS, filter=pc.field("split") == "train"))
    if pc.count_distinct(train["label"]).as_py() < 2:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a separable training set has no finite optimum
        return LogisticRegression(max_iter=1000).fit(_units(train), train["label"].to_numpy())


def on_dataset(model: LogisticRegression, dataset: Artifact) -> pa.Table:
    """The model's answers to the data set's images with Action Units, as a count table (see metrics.count)."""
    return _answers(model, _rows(dataset.scan(".", DATASET).to_table(columns=_COLUMNS)))


def on_faces(model: LogisticRegression, faces: Artifact) -> pa.Table:
    """The model's answers to the labelled faces with Action Units of a `faces` stage, as a count table."""
    return _answers(model, _rows(faces.scan("faces", FACES).to_table(columns=_COLUMNS)))


def _rows(table: pa.Table) -> pa.Table:
    return table.filter(pc.and_(pc.is_valid(table["label"]), pc.is_valid(table["action_units"])))


def _units(rows: pa.Table) -> np.ndarray:
    return to_unit(rows["action_units"].combine_chunks().flatten().to_numpy().reshape(-1, 17))


def _answers(model: LogisticRegression, rows: pa.Table) -> pa.Table:
    predicted = model.predict(_units(rows)) if len(rows) else np.zeros(0)
    columns = {
        **{name: rows[name] for name in ("corpus", "figure_id", "split", "label")},
        "model": pa.array([LINEAR] * len(rows), pa.string()),
        "predicted": pa.array(predicted.astype(np.int8), PREDICTIONS.field("predicted").type),
        "status": pa.array([OK] * len(rows), pa.string()),
    }
    return pa.table({**{name: columns[name] for name in COUNTED}, "n": pa.array(np.ones(len(rows), np.int64))})
