"""Seven expressions from the 17 Action Units alone, by a linear model, on photographs whose labels are known.

    twfer faces photographs/ --out runs/measured
    python jobs/measure_expressions.py runs/measured/faces-0123456789ab

Where the corpus has a split, the model is trained on its training part and scored on its test part, as RAF-DB is. Else
each source is scored by a model of all others, once as measured and once after the source's mean neutral face was taken
away.
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
    sources, splits = np.array([row["source"] for row in rows]), np.array([row["split"] for row in rows])
    print(f"{len(rows)} of {len(table)} faces have a label and Action Units")
    test = splits == "test"
    if test.any() and (splits == "train").any():
        learn = splits == "train"
        tell("test", labels[test], model().fit(units[learn], labels[learn]).predict(units[test]))
        return
    tell("each source by the others", labels, left_out(units, labels, sources))
    calm = {source: units[(sources == source) & (labels == NEUTRAL)] for source in np.unique(sources)}
    known = np.array([len(calm[source]) > 0 for source in sources])
    changes = units - np.array(
        [calm[source].mean(0) if len(calm[source]) else np.zeros(units.shape[1]) for source in sources]
    )
    tell("the same, less its neutral", labels[known], left_out(changes[known], labels[known], sources[known]))


def left_out(units: np.ndarray, labels: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """The label of each face by a model that was trained on all other sources."""
    found = np.zeros_like(labels)
    for source in np.unique(sources):
        of = sources == source
        found[of] = model().fit(units[~of], labels[~of]).predict(units[of])
    return found


def tell(words: str, labels: np.ndarray, found: np.ndarray) -> None:
    right = labels == found
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
