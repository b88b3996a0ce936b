"""Which shares of faces show each expression, from answers that err: corrected by a confusion whose own uncertainty
counts.

Answers alone lie: a model that reads half of the neutral faces as sad says little neutral of any group. If it errs on
these faces as it does on others whose truth is known (label shift: only the mixture of expressions is another), then
the answers' shares are q = C^T p, with row i of C the answers to faces of expression i, and p can be found. An interval
comes from draws of q and of C, each as uncertain as its number of figures makes it; every draw is solved for p anew.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from twfer_dist.core.intervals import design_effect
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.recognition.calibration import Confusion

DRAWS = 2000
LEVEL = 0.05 / len(EXPRESSIONS)
"""The chance that one share lies outside its interval, so that the seven lie inside together in 95 % (Bonferroni)."""

ANSWERS_BEFORE, ERRORS_BEFORE = 1.0, 0.5
"""What is added to each count of answers and of the confusion: an expression that was never seen is not ruled out."""

_CLASSES = len(EXPRESSIONS)
_DEALINGS = 999


@dataclass(frozen=True)
class Corrected:
    """Shares of the seven expressions, with the limits between which they lie together in 95 % of such samples."""

    share: np.ndarray
    low: np.ndarray
    high: np.ndarray


def corrected(answers: np.ndarray, confusion: Confusion) -> Corrected:
    """The shares behind `answers`, [figures, 7] images by figure and answered expression, of a model with this
    `confusion`.
    """
    random = np.random.default_rng(0)
    answered = answers.sum(0)
    worth = answered / design_effect(answers[None])
    rates = confusion.counts / confusion.counts.sum(1, keepdims=True)
    share = solve(rates[None], (answered / answered.sum())[None])[0]
    errors = _dirichlet(random, confusion.worth + ERRORS_BEFORE)
    found = solve(errors, _dirichlet(random, worth + ANSWERS_BEFORE))
    low, high = np.quantile(found, [LEVEL / 2, 1 - LEVEL / 2], axis=0)
    low[low < 1e-6] = 0.0
    # Draws never fall into a corner, where all faces show one expression: there it is asked whether that could be.
    alone = np.array([_homogeneous(row, worth) for row in confusion.worth])
    high[alone] = 1.0
    low[[alone[np.arange(_CLASSES) != k].any() for k in range(_CLASSES)]] = 0.0
    return Corrected(share, np.minimum(low, share), np.maximum(high, share))


def solve(rates: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """The shares p (B, 7) on the simplex with the least weighted squares of answers - rates^T p. rates (B, 7, 7),
    answers (B, 7).

    Expressions whose share comes out negative are left out, the most negative first. Within 1e-4 of the most likely
    shares.
    """
    weighted = rates / np.maximum(answers, 1e-3)[:, None]
    normal = weighted @ rates.swapaxes(1, 2)
    right = (weighted @ answers[..., None])[..., 0]
    free, found, open_rows = np.ones(answers.shape, bool), np.zeros(answers.shape), np.arange(len(answers))
    each = np.arange(_CLASSES)
    while len(open_rows):
        inside = free[open_rows]
        matrix = np.zeros((len(open_rows), _CLASSES + 1, _CLASSES + 1))
        matrix[:, :-1, :-1] = normal[open_rows] * inside[:, :, None] * inside[:, None]
        matrix[:, each, each] += np.where(inside, 1e-9, 1.0)
        matrix[:, :-1, -1] = matrix[:, -1, :-1] = inside  # the shares add up to 1
        wanted = np.concatenate([right[open_rows] * inside, np.ones((len(open_rows), 1))], 1)
        shares = np.linalg.solve(matrix, wanted[..., None])[:, :-1, 0] * inside
        found[open_rows] = shares
        negative = shares.min(1) < -1e-12
        open_rows, worst = open_rows[negative], shares[negative].argmin(1)
        free[open_rows, worst] = False
    found = np.maximum(found, 0)
    return found / found.sum(1, keepdims=True)


def agreement(one: Confusion, other: Confusion) -> dict[str, Any] | None:
    """Do two sets of images show the same errors? Chi-squared of the answers to each expression, against random
    dealings of the images.

    p is small where they differ: then the errors of one say little of the other. None where they share no expression.
    """
    random = np.random.default_rng(0)
    observed, dealt = 0.0, np.zeros(_DEALINGS)
    rows = np.stack([one.worth, other.worth], 1).round().astype(np.int64)
    shared = rows[rows.sum(2).all(1)]
    if not len(shared):
        return None
    for row in shared:
        observed += float(_chi_squared(row[None].astype(float))[0])
        first = random.multivariate_hypergeometric(row.sum(0), row[0].sum(), size=_DEALINGS, method="marginals")
        dealt += _chi_squared(np.stack([first, row.sum(0) - first], 1).astype(float))
    as_large = int((dealt >= observed - 1e-9).sum())
    return {"as_large": as_large, "dealings": _DEALINGS, "p": (as_large + 1) / (_DEALINGS + 1)}


def _dirichlet(random: np.random.Generator, counts: np.ndarray) -> np.ndarray:
    drawn = random.standard_gamma(np.broadcast_to(counts, (DRAWS, *counts.shape)))
    return drawn / drawn.sum(-1, keepdims=True)


def _homogeneous(row: np.ndarray, answers: np.ndarray) -> bool:
    """Whether the answers could be those to faces of this row's expression alone."""
    both = np.stack([row, answers])[None]
    degrees = int((both.sum(1) > 0).sum()) - 1
    return degrees < 1 or float(stats.chi2.sf(_chi_squared(both)[0], degrees)) > LEVEL


def _chi_squared(tables: np.ndarray) -> np.ndarray:
    """Pearson's statistic of [B, 2, 7] tables of counts; empty columns add nothing."""
    expected = tables.sum(2, keepdims=True) * tables.sum(1, keepdims=True) / tables.sum((1, 2), keepdims=True)
    return ((tables - expected) ** 2 / np.maximum(expected, 1e-12)).sum((1, 2))
