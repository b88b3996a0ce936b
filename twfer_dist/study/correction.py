"""By what the shares of a study are corrected: how the model erred on held-out images and on the labelled faces, or on
these alone where the two disagree.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twfer_dist.core.status import OUT_OF_DISTRIBUTION
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.recognition.calibration import ENOUGH, Confusion, confusion, confusion_from
from twfer_dist.study.metrics import figure_codes
from twfer_dist.study.shares import agreement

HELD_OUT, LABELLED, BOTH = "held-out images", "labelled faces", "held-out images and labelled faces"

MAX_OUT_OF_DISTRIBUTION = 0.1
"""The share of answered faces that may be unlike the training (by design it is 1 in 100 of what is like it): with more
of them the photographs are of another kind, and held-out images say nothing of how the model errs on them.
"""

LEVEL = 0.01
"""The p below which the labelled faces contradict that the model errs on them as on its held-out images."""


def choose(counts: pa.Table, held_out: Mapping[str, Any] | None) -> tuple[dict[str, Any], Confusion | None]:
    """What corrects the answers of one model's count table over photographs, as the page tells it and as a confusion,
    None for nothing.

    held_out: the record of the model's training. The labelled faces are compared with it: where they contradict it,
    they take its place if there are enough of each expression; else both count. Keys: by (HELD_OUT, LABELLED, BOTH or
    None), held_out and labelled (confusions as JSON-like data, or None), test (see `shares.agreement`; None where there
    is nothing to compare), contradicted, out_of_distribution (faces that are unlike the training, of those with an
    answer), foreign (whether these are over MAX_OUT_OF_DISTRIBUTION), why.
    """
    trained = confusion_from(held_out) if held_out else None
    answers = counts.filter(pc.is_valid(counts["predicted"]))
    outside = {
        "k": pc.sum(answers.filter(pc.equal(answers["status"], OUT_OF_DISTRIBUTION))["n"]).as_py() or 0,
        "n": pc.sum(answers["n"]).as_py() or 0,
    }
    foreign = outside["k"] > MAX_OUT_OF_DISTRIBUTION * outside["n"]
    rows = counts.filter(pc.and_(pc.is_valid(counts["label"]), pc.is_valid(counts["predicted"])))
    truth, answered = (rows[name].to_numpy().astype(np.int64) - 1 for name in ("label", "predicted"))
    here = confusion(truth, answered, figure_codes(rows)[0], rows["n"].to_numpy()) if len(rows) else None
    test = agreement(trained, here) if trained and here else None
    contradicted = bool(test and test["p"] < LEVEL)
    both = trained.pooled(here) if trained and here and test else None
    first, name = (both, BOTH) if both else (trained, HELD_OUT)
    by = (
        name
        if first and first.enough and not contradicted and not foreign
        else LABELLED
        if here and here.enough
        else None
    )
    used = {HELD_OUT: trained, LABELLED: here, BOTH: both, None: None}[by]
    told = {
        "by": by,
        "held_out": trained.as_dict() if trained else None,
        "labelled": here.as_dict() if here else None,
        "test": test,
        "contradicted": contradicted,
        "out_of_distribution": outside,
        "foreign": foreign,
    }
    return told | {"why": _why(told, trained, here)}, used


def _why(told: Mapping[str, Any], trained: Confusion | None, here: Confusion | None) -> str:
    """What corrects the shares, or why nothing does, in a sentence or two."""
    labels = f"the {(n := here.counts.sum()):,} labelled face{'' if n == 1 else 's'}" if here else ""
    if trained and here and told["by"] == BOTH:
        return (
            f"The shares are corrected by how the model erred on {trained.counts.sum():,} held-out images of "
            f"{trained.figures:,} figures "
            f"and on {labels} here, which do not contradict each other (p = {told['test']['p']:.3f}), and hold only "
            "if it errs in the same "
            "way on the others."
        )
    if trained is None:
        first = (
            "How the model errs on figures that it did not learn from is not known: its training is not given, "
            "or kept no record of it"
        )
    elif told["foreign"]:
        first = (
            f"{told['out_of_distribution']['k']:,} of the {told['out_of_distribution']['n']:,} faces with an answer "
            "are unlike all that "
            "the model learned from"
        )
        first += ", so its held-out images say nothing of how it errs on them"
    elif told["contradicted"]:
        worst = _widest(trained, here) if here else ""
        first = (
            f"The model errs differently on {labels} than on the {trained.counts.sum():,} held-out images of "
            "its training"
        )
        first += f" (p = {told['test']['p']:.3f}): {worst}"
    elif not trained.enough:
        first = f"The model has too few held-out images of {_rare(trained)} to say how it errs"
    else:
        return (
            f"The shares are corrected by how the model erred on {trained.counts.sum():,} held-out images of "
            f"{trained.figures:,} figures, "
            "and hold only if it errs in the same way on these faces, which no labelled face here can confirm."
        )
    if told["by"] == LABELLED:
        return (
            f"{first}. So the shares are corrected by how it erred on {labels}, and hold only if it errs in the "
            "same way on the others."
        )
    rest = (
        f"there are too few labelled faces here of {_rare(here)} to correct by them"
        if here
        else "no face here has a label"
    )
    return (
        f"{first}, and {rest}: the answers are given as they are, and no interval is claimed for what the faces show."
    )


def _rare(of: Confusion) -> str:
    short = [name for name, n in zip(EXPRESSIONS, of.worth.sum(1), strict=True) if n < ENOUGH]
    return ", ".join(short)


def _widest(trained: Confusion, here: Confusion) -> str:
    """The expression whose share of right answers differs most."""
    totals = [np.maximum(of.counts.sum(1), 1) for of in (trained, here)]
    right = [np.diag(of.counts) for of in (trained, here)]
    both = (trained.counts.sum(1) > 0) & (here.counts.sum(1) > 0)
    k = int(np.where(both, np.abs(right[0] / totals[0] - right[1] / totals[1]), -1.0).argmax())
    return (
        f"{EXPRESSIONS[k]} is read correctly in {right[1][k]} of {totals[1][k]} here, and was in {right[0][k]} "
        f"of {totals[0][k]} there"
    )
