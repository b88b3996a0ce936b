"""How good the reader is on photographs with known expressions, of which it has seen none.

    twfer faces photographs/ --out runs/measured
    python jobs/measure/measure_reader.py runs/measured/faces-0123456789ab [reader.safetensors]

Where the corpus has a split, its test part is scored. Labels come from the corpus, or from file names that end in a
word for an expression, as those of the Yale faces do (subject01_happy.png); there, "normal" is neutral.
"""

import sys
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from twfer_dist.core.intervals import share_of, wilson
from twfer_dist.core.schema import FACES
from twfer_dist.core.status import OK
from twfer_dist.core.taxonomy import EXPRESSIONS, NEUTRAL, label_of
from twfer_dist.engine import artifact, storage
from twfer_dist.reading.reader import SHIPPED, open_reader
from twfer_dist.reading.training import calibration_error

COVERAGES = (0.25, 0.5, 0.75, 1.0)


def label(row: dict[str, Any]) -> int | None:
    """The label of a face, 1 to 7, or None where it has none of the seven."""
    if row["label"] is not None:
        return int(row["label"])
    word = PurePosixPath(row["path"]).stem.rpartition("_")[2]
    try:
        return NEUTRAL if word == "normal" else label_of(word)
    except ValueError:
        return None


def main(output: str, weights: str = SHIPPED) -> None:
    reader = open_reader(weights)
    rows = artifact.open_artifact(storage.absolute(output)).table("faces", FACES).to_pylist()
    if any(row["split"] == "test" for row in rows):
        rows = [row for row in rows if row["split"] == "test"]
    labelled = [(row, found) for row in rows if (found := label(row)) is not None]
    readable = [(row, found) for row, found in labelled if row["status"] == OK and row["action_units"]]
    print(f"{len(readable)} of {len(labelled)} labelled faces were measured")
    labels = np.array([found for _, found in readable]) - 1
    figures = [row["figure_id"] for row, _ in readable]
    probabilities = np.stack([
        reader.read(np.array(row["action_units"], np.float32), np.array(row["action_units_half_width_90"], np.float32))
        .probabilities
        for row, _ in readable
    ])  # fmt: skip
    print_scores("all seven expressions", probabilities, labels, figures)
    known = np.unique(labels)
    if len(known) < len(EXPRESSIONS):
        among = np.zeros_like(probabilities)
        among[:, known] = probabilities[:, known]
        names = ", ".join(EXPRESSIONS[k] for k in known)
        print_scores(f"the most probable of those that occur ({names})", among, labels, figures)
    print_confidence(probabilities, labels, reader.threshold)


def print_scores(name: str, probabilities: np.ndarray, labels: np.ndarray, figures: list[str]) -> None:
    hits = probabilities.argmax(1) == labels
    share = share_of(hits, figures)
    counts = np.bincount(labels, minlength=len(EXPRESSIONS))
    majority = int(counts.argmax())
    recalls = {k: (int(hits[labels == k].sum()), int(counts[k])) for k in np.unique(labels)}
    interval = f"95 % interval {share.low:.1%} to {share.high:.1%}"
    print(f"\n{name}: {hits.mean():.1%} ({hits.sum()} of {len(hits)}; {interval})")
    print(f"  balanced accuracy {np.mean([k / n for k, n in recalls.values()]):.1%}")
    print(f"  majority class ({EXPRESSIONS[majority]}): {counts[majority] / len(labels):.1%} ({counts[majority]})")
    for label_, (k, n) in recalls.items():
        low, high = wilson(k, n)
        print(f"  {EXPRESSIONS[label_]:<10} {k / n:>6.1%} ({k} of {n}; {low:.1%} to {high:.1%})")


def print_confidence(probabilities: np.ndarray, labels: np.ndarray, threshold: float) -> None:
    confidence, hits = probabilities.max(1), probabilities.argmax(1) == labels
    print(f"\nexpected calibration error {calibration_error(probabilities, labels):.3f} (n = {len(labels)})")
    order = np.argsort(-confidence, kind="stable")
    for coverage in COVERAGES:
        chosen = order[: round(coverage * len(order))]
        low, high = wilson(int(hits[chosen].sum()), len(chosen))
        print(f"  the surest {coverage:.0%}: {hits[chosen].mean():.1%} correct ({low:.1%} to {high:.1%})")
    accepted = confidence >= threshold
    low, high = wilson(int(hits[accepted].sum()), max(1, int(accepted.sum())))
    print(
        f"  accepted (probability {threshold:.2f} or more): {accepted.sum()} faces, {hits[accepted].sum()} of them "
        f"correct ({low:.1%} to {high:.1%})"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
