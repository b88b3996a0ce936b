"""Seven expressions from the 17 Action Units alone, by a linear model, on labelled photographs.

    twfer faces photographs/ --out runs/measured
    python jobs/measure/measure_expressions.py runs/measured/faces-0123456789ab

Where the corpus has a split, as RAF-DB has, the model is trained on its training part and scored on its test part.
Otherwise one figure at a time is left out, once as measured and once after subtracting the figure's mean neutral face.
"""

import sys

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from twfer_dist.core.intervals import wilson
from twfer_dist.core.schema import FACES
from twfer_dist.core.taxonomy import EXPRESSIONS, NEUTRAL
from twfer_dist.engine import artifact, storage


def model() -> LogisticRegression:
    return make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=2000))


def main(output: str) -> None:
    table = artifact.open_artifact(storage.absolute(output)).table("faces", FACES)
    rows = [row for row in table.to_pylist() if row["label"] is not None and row["action_units"] is not None]
    units, labels = np.array([row["action_units"] for row in rows]), np.array([row["label"] for row in rows])
    figure_ids, splits = np.array([row["figure_id"] for row in rows]), np.array([row["split"] for row in rows])
    print(f"{len(rows)} of {len(table)} faces have a label and Action Units")
    test = splits == "test"
    if test.any() and (splits == "train").any():
        learn = splits == "train"
        print_scores("test", labels[test], model().fit(units[learn], labels[learn]).predict(units[test]))
        return
    print_scores("leave one figure out", labels, leave_one_out(units, labels, figure_ids))
    neutral = {figure_id: units[(figure_ids == figure_id) & (labels == NEUTRAL)] for figure_id in np.unique(figure_ids)}
    known = np.array([len(neutral[figure_id]) > 0 for figure_id in figure_ids])
    changes = units - np.array(
        [
            neutral[figure_id].mean(0) if len(neutral[figure_id]) else np.zeros(units.shape[1])
            for figure_id in figure_ids
        ]
    )
    print_scores(
        "the same, neutral face subtracted",
        labels[known],
        leave_one_out(changes[known], labels[known], figure_ids[known]),
    )


def leave_one_out(units: np.ndarray, labels: np.ndarray, figure_ids: np.ndarray) -> np.ndarray:
    """The label of each face by a model that was trained on all other figures."""
    predicted = np.zeros_like(labels)
    for figure_id in np.unique(figure_ids):
        of = figure_ids == figure_id
        predicted[of] = model().fit(units[~of], labels[~of]).predict(units[of])
    return predicted


def print_scores(words: str, labels: np.ndarray, predicted: np.ndarray) -> None:
    right = labels == predicted
    low, high = wilson(int(right.sum()), len(right))
    counts = np.bincount(labels, minlength=8)
    most = int(counts.argmax())
    print(f"\n{words}: {right.mean():.1%} ({right.sum()} of {len(right)}; 95 % interval {low:.1%} to {high:.1%})")
    print(
        f"  majority class ({EXPRESSIONS[most - 1]}): {counts[most] / len(labels):.1%} ({counts[most]} of "
        f"{len(labels)})"
    )
    for label in np.unique(labels):
        of = labels == label
        print(f"  {EXPRESSIONS[label - 1]:<10} {right[of].mean():>6.1%} ({right[of].sum()} of {of.sum()})")


if __name__ == "__main__":
    main(sys.argv[1])
