"""The seven expressions predicted from the 17 Action Units alone by a linear model, on photographs with known labels.

    twfer faces photographs/ --out runs/measured
    python jobs/measure_expressions.py runs/measured/faces-0123456789ab

Where the corpus has a split, as RAF-DB has, the model is trained on its training part and scored on its test part.
Otherwise each figure is predicted by a model of all others (leave one figure out), first from the Action Units as
measured and then after subtracting the figure's mean neutral face.
"""

import sys

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from twfer_dist.core.intervals import wilson
from twfer_dist.core.schema import FACES
from twfer_dist.core.taxonomy import EXPRESSIONS, NEUTRAL
from twfer_dist.engine import artifact, storage


def model() -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=2000))


def main(output: str) -> None:
    table = artifact.open_artifact(storage.absolute(output)).table("faces", FACES)
    rows = [row for row in table.to_pylist() if row["label"] is not None and row["action_units"] is not None]
    units, labels = np.array([row["action_units"] for row in rows]), np.array([row["label"] for row in rows])
    figure_ids, splits = np.array([row["figure_id"] for row in rows]), np.array([row["split"] for row in rows])
    print(f"{len(rows)} of {len(table)} faces have a label and Action Units")
    train, test = splits == "train", splits == "test"
    if train.any() and test.any():
        print_scores("test", labels[test], model().fit(units[train], labels[train]).predict(units[test]))
        return
    print_scores("leave one figure out", labels, leave_one_out(units, labels, figure_ids))
    has_neutral = np.zeros(len(rows), bool)
    changes = units.copy()
    for figure_id in np.unique(figure_ids):
        of_figure = figure_ids == figure_id
        neutral = units[of_figure & (labels == NEUTRAL)]
        if len(neutral):
            has_neutral |= of_figure
            changes[of_figure] -= neutral.mean(0)
    predicted = leave_one_out(changes[has_neutral], labels[has_neutral], figure_ids[has_neutral])
    print_scores("the same after subtracting the neutral face", labels[has_neutral], predicted)


def leave_one_out(units: np.ndarray, labels: np.ndarray, figure_ids: np.ndarray) -> np.ndarray:
    """The label of each face as predicted by a model of all other figures."""
    predicted = np.zeros_like(labels)
    for figure_id in np.unique(figure_ids):
        of_figure = figure_ids == figure_id
        predicted[of_figure] = model().fit(units[~of_figure], labels[~of_figure]).predict(units[of_figure])
    return predicted


def print_scores(name: str, labels: np.ndarray, predicted: np.ndarray) -> None:
    hits = labels == predicted
    low, high = wilson(int(hits.sum()), len(hits))
    counts = np.bincount(labels, minlength=8)
    majority = int(counts.argmax())
    print(f"\n{name}: {hits.mean():.1%} ({hits.sum()} of {len(hits)}; 95 % interval {low:.1%} to {high:.1%})")
    share = f"{counts[majority] / len(labels):.1%} ({counts[majority]} of {len(labels)})"
    print(f"  majority class ({EXPRESSIONS[majority - 1]}): {share}")
    for label in np.unique(labels):
        of_label = labels == label
        print(
            f"  {EXPRESSIONS[label - 1]:<10} {hits[of_label].mean():>6.1%} ({hits[of_label].sum()} of {of_label.sum()})"
        )


if __name__ == "__main__":
    main(sys.argv[1])
