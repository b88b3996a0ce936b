"""Balanced selection: exactly N images of each expression, spread evenly over figures, intensities and references."""

import hashlib
from collections.abc import Sequence

import numpy as np

from twfer_dist.core.errors import UserError
from twfer_dist.core.taxonomy import EXPRESSIONS


def priorities(names: Sequence[str], seed: int, purpose: str) -> np.ndarray:
    """A pseudo-random uint64 for each name, decided by the name, the seed and the purpose, never by order."""
    prefix = f"{seed}\0{purpose}\0".encode()
    return np.array([int.from_bytes(hashlib.sha256(prefix + n.encode()).digest()[:8], "big") for n in names], np.uint64)


def share_evenly(sizes: np.ndarray, total: int, order: np.ndarray) -> np.ndarray:
    """How many to take from groups that hold `sizes`, `total` in all, as evenly as possible: two groups differ by more
    than one only if the smaller is exhausted.

    order: the groups' indices; the first ones give one more where `total` does not divide evenly. ValueError if the
    groups hold fewer than `total`.
    """
    if total > sizes.sum():
        raise ValueError(f"the groups hold {sizes.sum()}, fewer than {total}")
    low, high = 0, int(sizes.max(initial=0))
    while low < high:  # the highest level up to which every group can be filled
        middle = (low + high + 1) // 2
        low, high = (middle, high) if np.minimum(sizes, middle).sum() <= total else (low, middle - 1)
    taken = np.minimum(sizes, low)
    more = [group for group in order if sizes[group] > low][: total - int(taken.sum())]
    taken[more] += 1
    return taken


def select(
    ids: Sequence[str], labels: np.ndarray, keys: Sequence[Sequence[str]], per_expression: int, seed: int = 0
) -> np.ndarray:
    """Row numbers, ascending, of exactly `per_expression` images of each of the seven expressions.

    labels: 1 to 7. keys: for each level of evenness, most important first (figure, intensity, reference), the key of
    every row. The images of an expression are spread evenly over the first keys, each share evenly over the second
    keys, and so on; a remaining image goes to the keys used least so far. Between equal images a hash of the id
    decides, so the choice does not depend on the order of rows. UserError if an expression has fewer images.
    """
    counts = np.bincount(labels, minlength=len(EXPRESSIONS) + 1)[1:]
    if short := [f"{name} {n}" for name, n in zip(EXPRESSIONS, counts, strict=True) if n < per_expression]:
        raise UserError(
            f"The data set needs {per_expression} images of each expression but there are fewer of: "
            f"{', '.join(short)}; set per_expression to at most {counts.min()}, or animate more faces, levels or "
            "references."
        )
    priority = priorities(ids, seed, "image")
    levels = [_Level(values, seed, depth) for depth, values in enumerate(keys)]
    chosen = [
        _take(np.flatnonzero(labels == label), per_expression, levels, priority)
        for label in range(1, len(EXPRESSIONS) + 1)
    ]
    return np.sort(np.concatenate(chosen))


class _Level:
    """One level of evenness: the code of every row's key, and how often each key has been used."""

    def __init__(self, values: Sequence[str], seed: int, depth: int) -> None:
        names, self.codes = np.unique(np.asarray(values, np.str_), return_inverse=True)
        self.priority = priorities(names.tolist(), seed, f"level {depth}")
        self.used = np.zeros(len(names), np.int64)


def _take(rows: np.ndarray, count: int, levels: Sequence[_Level], priority: np.ndarray) -> np.ndarray:
    """`count` of `rows`, spread evenly over the first level, then within each of its keys over the next."""
    if not levels:
        return rows[np.argsort(priority[rows], kind="stable")][:count]
    level, rest = levels[0], levels[1:]
    rows = rows[np.argsort(level.codes[rows], kind="stable")]
    codes, starts = np.unique(level.codes[rows], return_index=True)
    groups = np.split(rows, starts[1:])
    order = np.lexsort((level.priority[codes], level.used[codes]))
    quotas = share_evenly(np.array([len(g) for g in groups]), count, order)
    level.used[codes] += quotas
    return np.concatenate(
        [_take(group, n, rest, priority) for group, n in zip(groups, quotas.tolist(), strict=True) if n]
    )
