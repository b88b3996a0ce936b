"""The shares of faces that show each expression, estimated from answers that err.

Answers alone mislead: a model that takes half of the neutral faces for sad ones reports little neutral in any group. If
the model errs on these faces as it does on others whose truth is known (label shift: only the mixture of expressions
differs), the answers' shares are q = C^T p, where row i of C holds the answers to faces of expression i. Solving for p
gives the true shares. An interval comes from draws of q and of C, each as uncertain as its number of figures makes it;
p is solved for in every draw.
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
"""The chance that one share lies outside its interval: the seven lie inside together in 95 % (Bonferroni)."""

ANSWERS_BEFORE, ERRORS_BEFORE = 1.0, 0.5
"""Prior counts for answers and for the confusion: an expression that was never seen is not ruled out."""

_CLASSES = len(EXPRESSIONS)
_PERMUTATIONS = 999


@dataclass(frozen=True)
class Corrected:
    """Shares of the seven expressions, (7,) each, with simultaneous 95 % confidence intervals."""

    share: np.ndarray
    low: np.ndarray
    high: np.ndarray


def corrected(answers: np.ndarray, confusion: Confusion) -> Corrected:
    """The true shares behind `answers`, [figures, 7] images by figure and answered expression, of a model with this
    `confusion`.
    """
    random = np.random.default_rng(0)
    answered = answers.sum(0)
    worth = answered / design_effect(answers[None])
    rates = confusion.counts / confusion.counts.sum(1, keepdims=True)
    share = solve(rates[None], (answered / answered.sum())[None])[0]
    errors = _dirichlet(random, confusion.worth + ERRORS_BEFORE)
    draws = solve(errors, _dirichlet(random, worth + ANSWERS_BEFORE))
    low, high = np.quantile(draws, [LEVEL / 2, 1 - LEVEL / 2], axis=0)
    low[low < 1e-6] = 0.0
    # Draws never reach a corner, where all faces show one expression: a test decides whether that is possible.
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
    free, shares, open_rows = np.ones(answers.shape, bool), np.zeros(answers.shape), np.arange(len(answers))
    each = np.arange(_CLASSES)
    while len(open_rows):
        inside = free[open_rows]
        matrix = np.zeros((len(open_rows), _CLASSES + 1, _CLASSES + 1))
        matrix[:, :-1, :-1] = normal[open_rows] * inside[:, :, None] * inside[:, None]
        matrix[:, each, each] += np.where(inside, 1e-9, 1.0)
        matrix[:, :-1, -1] = matrix[:, -1, :-1] = inside  # the shares add up to 1
        wanted = np.concatenate([right[open_rows] * inside, np.ones((len(open_rows), 1))], 1)
        solved = np.linalg.solve(matrix, wanted[..., None])[:, :-1, 0] * inside
        shares[open_rows] = solved
        negative = solved.min(1) < -1e-12
        open_rows, worst = open_rows[negative], solved[negative].argmin(1)
        free[open_rows, worst] = False
    shares = np.maximum(shares, 0)
    return shares / shares.sum(1, keepdims=True)


def agreement(one: Confusion, other: Confusion) -> dict[str, Any] | None:
    """Whether two sets of images show the same errors: a permutation test of Pearson's chi-squared, summed over the
    true expressions.

    p is small where they differ: then the errors of one say little about the other. None where they share no
    expression.
    """
    random = np.random.default_rng(0)
    observed, permuted = 0.0, np.zeros(_PERMUTATIONS)
    rows = np.stack([one.worth, other.worth], 1).round().astype(np.int64)
    shared = rows[rows.sum(2).all(1)]
    if not len(shared):
        return None
    for row in shared:
        observed += float(_chi_squared(row[None].astype(float))[0])
        first = random.multivariate_hypergeometric(row.sum(0), row[0].sum(), size=_PERMUTATIONS, method="marginals")
        permuted += _chi_squared(np.stack([first, row.sum(0) - first], 1).astype(float))
    as_large = int((permuted >= observed - 1e-9).sum())
    return {"as_large": as_large, "permutations": _PERMUTATIONS, "p": (as_large + 1) / (_PERMUTATIONS + 1)}


def _dirichlet(random: np.random.Generator, counts: np.ndarray) -> np.ndarray:
    drawn = random.standard_gamma(np.broadcast_to(counts, (DRAWS, *counts.shape)))
    return drawn / drawn.sum(-1, keepdims=True)


def _homogeneous(row: np.ndarray, answers: np.ndarray) -> bool:
    """Whether all the faces behind the answers could show this row's expression."""
    both = np.stack([row, answers])[None]
    degrees = int((both.sum(1) > 0).sum()) - 1
    return degrees < 1 or float(stats.chi2.sf(_chi_squared(both)[0], degrees)) > LEVEL


def _chi_squared(tables: np.ndarray) -> np.ndarray:
    """Pearson's statistic of [B, 2, 7] tables of counts; empty columns add nothing."""
    expected = tables.sum(2, keepdims=True) * tables.sum(1, keepdims=True) / tables.sum((1, 2), keepdims=True)
    return ((tables - expected) ** 2 / np.maximum(expected, 1e-12)).sum((1, 2))
