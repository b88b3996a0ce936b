"""What the shares of a study are corrected by: the model's errors on held-out images, on labelled faces, or on both."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twfer_dist.core.language import _, listed, mark, ngettext, sentences
from twfer_dist.core.status import OUT_OF_DISTRIBUTION
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.recognition.calibration import ENOUGH, Confusion, confusion, confusion_from
from twfer_dist.study.metrics import figure_codes
from twfer_dist.study.shares import agreement

HELD_OUT, LABELLED, BOTH = mark("held-out images"), mark("labelled faces"), "held-out images and labelled faces"

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
    images: str  # what the images are, in words, that `held_out` was recorded on


def choose(
    counts: pa.Table, held_out: Mapping[str, Any] | None, images: str = HELD_OUT
) -> tuple[Correction, Confusion | None]:
    """What corrects the answers of one model, with the confusion to correct by; None for no correction.

    counts: the model's count table over photographs. held_out: the errors that its training recorded. images: what it
    made these errors on, in words: images of another origin than these faces correct only together with labels. The
    labelled faces are compared with the record. Where the two contradict each other, the labelled faces replace the
    record if there are enough of each expression; else both count.
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
    unconfirmed = images != HELD_OUT and not test
    if not (used and used.enough) or contradicted or foreign or unconfirmed:
        by, used = (LABELLED, here) if here and here.enough else (None, None)
    return Correction(
        by=by,
        held_out=trained.as_dict() if trained else None,
        labelled=here.as_dict() if here else None,
        test=test,
        contradicted=contradicted,
        out_of_distribution=outside,
        foreign=foreign,
        images=images,
    ), used


def _labelled_confusion(answers: pa.Table) -> Confusion | None:
    rows = answers.filter(pc.is_valid(answers["label"]))
    if not len(rows):
        return None
    truth, answered = (rows[name].to_numpy().astype(np.int64) - 1 for name in ("label", "predicted"))
    return confusion(truth, answered, figure_codes(rows)[0], rows["n"].to_numpy())


# In words


def corrected_by(correction: Correction) -> str:
    """What the shares are corrected by, within a sentence."""
    if correction.by == BOTH:
        return _("{images} and labelled faces", images=_(correction.images))
    return _(LABELLED) if correction.by == LABELLED else _(correction.images)


def why(correction: Correction) -> str:
    """What corrects the shares, or why nothing does."""
    held_out, labels = _held_out(correction), _labels(correction)
    if correction.by == BOTH:
        return _(
            "The shares are corrected for the model's errors on {images} and on {labels} here. The two do not "
            "contradict each other (p = {p:.3f}). The correction holds only if the model errs in the same way on the "
            "other faces.",
            images=held_out,
            labels=labels,
            p=(correction.test or {}).get("p", 1.0),
        )
    if correction.by == HELD_OUT:
        return _(
            "The shares are corrected for the model's errors on {images}. The correction holds only if it errs in the "
            "same way on these faces, which no labelled face here can confirm.",
            images=held_out,
        )
    reason = _why_not_held_out(correction)
    if correction.by == LABELLED:
        then = _(
            "The shares are therefore corrected for its errors on {labels} here. The correction holds only if it errs "
            "in the same way on the others.",
            labels=labels,
        )
        return sentences([reason, then])
    return sentences([reason, _why_not_labelled(correction)])


def _held_out(correction: Correction) -> str:
    """The images on which errors were recorded: how many, of how many figures."""
    if not correction.held_out:
        return ""
    trained = confusion_from(correction.held_out)
    n, images = int(trained.counts.sum()), _(correction.images)
    return _("{n:,} {images} of {figures:,} figures", n=n, images=images, figures=trained.figures)


def _labels(correction: Correction) -> str:
    if not correction.labelled:
        return ""
    n = int(confusion_from(correction.labelled).counts.sum())
    return ngettext("the {n:,} labelled face", "the {n:,} labelled faces", n)


def _why_not_labelled(correction: Correction) -> str:
    if correction.labelled:
        reason = _(
            "Nor can labels correct the shares, because there are too few labelled faces of {expressions}.",
            expressions=_rare(confusion_from(correction.labelled)),
        )
    else:
        reason = _("Nor can labels correct the shares, because no face here has a label.")
    none = _("The answers are given as they are, and no interval is claimed for what the faces show.")
    return sentences([reason, none])


def _why_not_held_out(correction: Correction) -> str:
    """Why the errors that a training recorded do not correct the shares, in a sentence or two."""
    if correction.held_out is None:
        return _("How the model errs on new figures is not known: its training was not given or kept no record of it.")
    if correction.images != HELD_OUT and not correction.test:
        return _(
            "The model's errors are known only on {images}, and it may err differently on these faces.",
            images=_held_out(correction),
        )
    images = _(correction.images)
    if correction.foreign:
        return _(
            "{k:,} of the {n:,} faces with an answer are out of distribution. The {images} therefore say nothing about "
            "the model's errors on them.",
            **correction.out_of_distribution,
            images=images,
        )
    trained = confusion_from(correction.held_out)
    if correction.contradicted and correction.test and correction.labelled:
        differs = _(
            "The model errs differently on {labels} here than on the {n:,} {images} of its training (p = {p:.3f}).",
            labels=_labels(correction),
            n=int(trained.counts.sum()),
            images=images,
            p=correction.test["p"],
        )
        return sentences([differs, _largest_difference(trained, confusion_from(correction.labelled), images)])
    return _(
        "The model's training held out too few images of {expressions} to show how it errs on them.",
        expressions=_rare(trained),
    )


def _rare(errors: Confusion) -> str:
    return listed(_(name) for name, n in zip(EXPRESSIONS, errors.worth.sum(1), strict=True) if n < ENOUGH)


def _largest_difference(trained: Confusion, here: Confusion, images: str) -> str:
    """The expression whose accuracy differs most, in a sentence."""
    totals = [np.maximum(errors.counts.sum(1), 1) for errors in (trained, here)]
    right = [np.diag(errors.counts) for errors in (trained, here)]
    both = (trained.counts.sum(1) > 0) & (here.counts.sum(1) > 0)
    k = int(np.where(both, np.abs(right[0] / totals[0] - right[1] / totals[1]), -1.0).argmax())
    return _(
        "It recognises {expression} in {k} of {n} faces here, against {trained_k} of {trained_n} {images}.",
        expression=_(EXPRESSIONS[k]),
        k=right[1][k],
        n=totals[1][k],
        trained_k=right[0][k],
        trained_n=totals[0][k],
        images=images,
    )
