"""What the shares of a study are corrected by: the model's errors on held-out images, on labelled faces, or on both."""

from collections.abc import Mapping
from dataclasses import dataclass
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
"""The share of answered faces that may be out of distribution (by design it is 1 in 100 of what is like the training).
With more of them the photographs are of another kind, and held-out images say nothing about the errors on them.
"""

LEVEL = 0.01
"""The p below which the labelled faces contradict that the model errs on them as on its held-out images."""


@dataclass(frozen=True)
class Correction:
    """What the shares are corrected by, and why; confusions are JSON-like (`Confusion.as_dict`)."""

    by: str | None  # HELD_OUT, LABELLED, BOTH; None for no correction
    held_out: dict[str, Any] | None  # the model's errors on its held-out images
    labelled: dict[str, Any] | None  # the model's errors on the labelled faces here
    test: dict[str, Any] | None  # whether the two differ (see shares.agreement)
    contradicted: bool  # whether they differ by more than chance explains
    out_of_distribution: dict[str, int]  # k of the n faces with an answer
    foreign: bool  # whether more than MAX_OUT_OF_DISTRIBUTION of the faces are out of distribution
    why: str  # sentences for the page


def choose(
    counts: pa.Table, held_out: Mapping[str, Any] | None, images: str = HELD_OUT
) -> tuple[Correction, Confusion | None]:
    """What corrects the answers of one model, with the confusion to correct by; None for no correction.

    counts: the model's count table over photographs. held_out: the errors that its training recorded. images: what it
    made these errors on, in words. The labelled faces are compared with the record. Where the two contradict each
    other, the labelled faces replace the record if there are enough of each expression; else both count.
    """
    trained = confusion_from(held_out) if held_out else None
    answers = counts.filter(pc.is_valid(counts["predicted"]))
    foreign_rows = answers.filter(pc.equal(answers["status"], OUT_OF_DISTRIBUTION))
    outside = {"k": pc.sum(foreign_rows["n"]).as_py() or 0, "n": pc.sum(answers["n"]).as_py() or 0}
    foreign = outside["k"] > MAX_OUT_OF_DISTRIBUTION * outside["n"]
    here = _labelled_confusion(answers)
    test = agreement(trained, here) if trained and here else None
    contradicted = bool(test and test["p"] < LEVEL)
    both = trained.pooled(here) if trained and here and test else None
    by: str | None = BOTH if both else HELD_OUT
    used = both or trained
    if not (used and used.enough) or contradicted or foreign:
        by, used = (LABELLED, here) if here and here.enough else (None, None)
    return Correction(
        by=by,
        held_out=trained.as_dict() if trained else None,
        labelled=here.as_dict() if here else None,
        test=test,
        contradicted=contradicted,
        out_of_distribution=outside,
        foreign=foreign,
        why=_why(by, trained, here, test["p"] if test else 1.0, outside if foreign else None).replace(HELD_OUT, images),
    ), used


def _labelled_confusion(answers: pa.Table) -> Confusion | None:
    rows = answers.filter(pc.is_valid(answers["label"]))
    if not len(rows):
        return None
    truth, answered = (rows[name].to_numpy().astype(np.int64) - 1 for name in ("label", "predicted"))
    return confusion(truth, answered, figure_codes(rows)[0], rows["n"].to_numpy())


def _why(
    by: str | None, trained: Confusion | None, here: Confusion | None, p: float, outside: Mapping[str, int] | None
) -> str:
    """What corrects the shares, or why nothing does. outside: out-of-distribution faces where they are too many."""
    held_out = f"{trained.counts.sum():,} held-out images of {trained.figures:,} figures" if trained else ""
    labels = f"the {(n := here.counts.sum()):,} labelled face{'' if n == 1 else 's'}" if here else ""
    if by == BOTH:
        return (
            f"The shares are corrected for the model's errors on {held_out} and on {labels} here. "
            f"The two do not contradict each other (p = {p:.3f}). "
            "The correction holds only if the model errs in the same way on the other faces."
        )
    if by == HELD_OUT:
        return (
            f"The shares are corrected for the model's errors on {held_out}. "
            "The correction holds only if it errs in the same way on these faces, "
            "which no labelled face here can confirm."
        )
    reason = _why_not_held_out(trained, here, p, outside)
    if by == LABELLED:
        return (
            f"{reason} The shares are therefore corrected for its errors on {labels} here. "
            "The correction holds only if it errs in the same way on the others."
        )
    missing = f"there are too few labelled faces of {_rare(here)}" if here else "no face here has a label"
    return (
        f"{reason} Nor can labels correct the shares, because {missing}. "
        "The answers are given as they are, and no interval is claimed for what the faces show."
    )


def _why_not_held_out(
    trained: Confusion | None, here: Confusion | None, p: float, outside: Mapping[str, int] | None
) -> str:
    """Why the errors that a training recorded do not correct the shares, in a sentence or two."""
    if trained is None:
        return "How the model errs on new figures is not known: its training was not given or kept no record of it."
    if outside:
        return (
            f"{outside['k']:,} of the {outside['n']:,} faces with an answer are out of distribution."
            " The held-out images therefore say nothing about the model's errors on them."
        )
    if p < LEVEL and here:
        return (
            f"The model errs differently on the {here.counts.sum():,} labelled faces here than on the "
            f"{trained.counts.sum():,} held-out images of its training (p = {p:.3f}). "
            f"{_largest_difference(trained, here)}"
        )
    return f"The model's training held out too few images of {_rare(trained)} to show how it errs on them."


def _rare(errors: Confusion) -> str:
    short = [name for name, n in zip(EXPRESSIONS, errors.worth.sum(1), strict=True) if n < ENOUGH]
    return ", ".join(short)


def _largest_difference(trained: Confusion, here: Confusion) -> str:
    """The expression whose accuracy differs most, in a sentence."""
    totals = [np.maximum(errors.counts.sum(1), 1) for errors in (trained, here)]
    right = [np.diag(errors.counts) for errors in (trained, here)]
    both = (trained.counts.sum(1) > 0) & (here.counts.sum(1) > 0)
    k = int(np.where(both, np.abs(right[0] / totals[0] - right[1] / totals[1]), -1.0).argmax())
    return (
        f"It recognises {EXPRESSIONS[k]} in {right[1][k]} of {totals[1][k]} faces here, "
        f"against {right[0][k]} of {totals[0][k]} held-out images."
    )
