"""Splits of a data set: by figure (ARM-1 of the paper), within each figure (ARM-2), and the check against leakage."""

import itertools
from collections.abc import Sequence

import numpy as np

from twfer_dist.core.errors import UserError
from twfer_dist.dataset.balance import priorities

PARTS = {2: ("train", "test"), 3: ("train", "validation", "test")}
"""The names of the parts of a data set, by how many there are."""

MOST_KINDS = 200  # of figures that are tried for an exchange: pairs grow with the square
MOST_FIGURES = 500  # of two parts whose best sizes are searched exhaustively; with more, exchanges reach the target


def shares(sizes: Sequence[float], fold: Sequence[int] | None = None) -> dict[str, float]:
    """The share of the images in each part. fold: its number and how many there are; it is the test part, and the sizes
    are those of the others.
    """
    test = 1 / fold[1] if fold else 0.0
    names = PARTS[3][: len(sizes)] if fold else PARTS[len(sizes)]
    found = {name: (1 - test) * size / sum(sizes) for name, size in zip(names, sizes, strict=True)}
    return found | ({"test": test} if fold else {})


def apportion(total: int, ratios: Sequence[float]) -> np.ndarray:
    """Whole numbers that add up to `total`, nearest to `ratios` (largest remainder): 10 by 7:1:2 is 7, 1, 2."""
    exact = total * np.asarray(ratios, float) / sum(ratios)
    whole = np.floor(exact).astype(int)
    rest = np.argsort(-(exact - whole), kind="stable")[: total - whole.sum()]
    whole[rest] += 1
    return whole


def by_figure(strata: Sequence[np.ndarray], figure_ids: np.ndarray, sizes: np.ndarray, seed: int = 0) -> np.ndarray:
    """The part (0, 1, ...) of each row, where every figure is in one part.

    strata: codes (0, 1, ...) of each row in which the parts should be alike, such as its label. figure_ids: the figure
    of each row. sizes: the wanted rows of each part, all positive; they add up to all rows. Figures are dealt to the
    part that lacks most, then moved and exchanged between parts as long as that brings the sizes of the parts, and
    after these their strata, nearer to what is wanted. Two parts get the nearest sizes possible (up to `MOST_FIGURES`
    figures). Every part gets a figure. UserError if there are fewer figures than parts.
    """
    names, figure_id = np.unique(figure_ids, return_inverse=True)
    if len(names) < len(sizes):
        raise UserError(
            f"A split by figure into {len(sizes)} parts needs at least as many figures but there are {len(names)}: "
            "split within_figure."
        )
    # One row for each figure: its size, then its count in each stratum.
    counts = np.hstack([_count(figure_id, codes, len(names)) for codes in (np.zeros_like(figure_id), *strata)])
    # Figures with equal counts are of one kind: only how many of a kind go to each part matters.
    kinds, kind = np.unique(counts, axis=0, return_inverse=True)
    kind = kind.ravel()
    wanted = np.outer(sizes / sizes.sum(), counts.sum(axis=0))
    wanted[:, 0] = sizes
    priority = priorities(names.tolist(), seed, "split")
    placed = _deal_out(counts, kind, len(kinds), priority, wanted)
    placed = _nearest_sizes(kinds[:, 0], placed, wanted[:, 0])
    placed = _exchange(kinds, placed, wanted)
    part_of_figure = np.empty(len(names), int)
    for k in range(len(kinds)):
        members = np.flatnonzero(kind == k)
        part_of_figure[members[np.argsort(priority[members])]] = np.repeat(np.arange(len(sizes)), placed[:, k])
    return part_of_figure[figure_id]


def _count(figure_id: np.ndarray, codes: np.ndarray, figure_ids: int) -> np.ndarray:
    table = np.zeros((figure_ids, int(codes.max(initial=0)) + 1), int)
    np.add.at(table, (figure_id, codes), 1)
    return table


def _deal_out(counts: np.ndarray, kind: np.ndarray, kinds: int, priority: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """(parts, kinds): how many figures of each kind go to each part, dealt from the largest figure on.

    A part without a figure lacks everything, so the first figures go to different parts.
    """
    placed = np.zeros((len(wanted), kinds), int)
    lacking = wanted.astype(float)
    for figure_id in np.lexsort((priority, -counts[:, 0])):
        part = int(np.argmax((lacking / np.maximum(wanted, 1e-9)) @ (counts[figure_id] > 0)))
        placed[part, kind[figure_id]] += 1
        lacking[part] -= counts[figure_id]
    return placed


def _exchange(kinds: np.ndarray, placed: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Move a figure between two parts, or exchange two, as long as that brings the parts nearer to `wanted`."""
    placed = placed.copy()
    # A last kind, "nothing", makes a move an exchange with nothing.
    kinds = np.vstack([kinds, np.zeros_like(kinds[:1])])
    weight = np.ones(kinds.shape[1])
    weight[0] = 1 + wanted.sum()  # no gain in the strata outweighs one row of a part's size
    reached = (placed @ kinds[:-1]).astype(float)

    def far(rows: np.ndarray, part: int) -> np.ndarray:
        return np.abs(rows - wanted[part]) @ weight

    while True:
        best, found = -1e-6, None
        for one, other in itertools.combinations(range(len(wanted)), 2):
            gives = [*np.flatnonzero(placed[one])[:MOST_KINDS], len(kinds) - 1]
            takes = [*np.flatnonzero(placed[other])[:MOST_KINDS], len(kinds) - 1]
            change = kinds[takes][None] - kinds[gives][:, None]
            gain = far(reached[one] + change, one) + far(reached[other] - change, other)
            gain -= far(reached[one], one) + far(reached[other], other)
            if placed[one].sum() == 1:  # a part keeps its last figure
                gain[:-1, -1] = np.inf
            if placed[other].sum() == 1:
                gain[-1, :-1] = np.inf
            i, j = np.unravel_index(np.argmin(gain), gain.shape)
            if gain[i, j] < best:
                best, found = gain[i, j], (one, other, gives[i], takes[j])
        if found is None:
            return placed
        one, other, moved, returned = found
        for k, giver, taker in ((moved, one, other), (returned, other, one)):
            if k < len(kinds) - 1:
                placed[giver, k] -= 1
                placed[taker, k] += 1
        reached = (placed @ kinds[:-1]).astype(float)


def _nearest_sizes(sizes: np.ndarray, placed: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Split each pair of parts again if some choice among their figures comes nearer to the wanted sizes.

    sizes: rows of a figure of each kind. wanted: rows of each part.
    """
    for one, other in itertools.combinations(range(len(wanted)), 2):
        pool = placed[one] + placed[other]
        members = np.repeat(np.arange(len(sizes)), pool)
        reached = placed @ sizes
        if len(members) > MOST_FIGURES or (reached == wanted).all():
            continue
        target = round((wanted[one] - wanted[other] + reached[one] + reached[other]) / 2)
        better = placed.copy()
        better[one] = np.bincount(members[_subset_sum(sizes[members].tolist(), target)], minlength=len(sizes))
        better[other] = pool - better[one]
        if np.abs(better @ sizes - wanted).sum() < np.abs(reached - wanted).sum():
            placed = better
    return placed


def _subset_sum(sizes: Sequence[int], target: int) -> np.ndarray:
    """A mask of some of `sizes` (two or more), not all, whose sum is nearest to `target`. Exact: the possible sums are
    the bits of an integer.
    """
    sums = [1]
    for size in sizes:
        sums.append(sums[-1] | sums[-1] << size)
    inside = range(1, sum(sizes))
    steps = itertools.chain.from_iterable((target - d, target + d) for d in itertools.count())
    left = next(s for s in steps if s in inside and sums[-1] >> s & 1)
    mask = np.zeros(len(sizes), bool)
    for k in reversed(range(len(sizes))):
        if not sums[k] >> left & 1:
            mask[k] = True
            left -= sizes[k]
    return mask


def within_figure(
    labels: np.ndarray, figure_ids: np.ndarray, ids: Sequence[str], sizes: np.ndarray, seed: int = 0
) -> np.ndarray:
    """The part (0, 1, ...) of each row, where every figure is divided in the proportion of `sizes`.

    sizes: the wanted rows of each part; they add up to all rows and are reached exactly. In every figure, and in every
    label of every figure, a part's rows are within one of its proportion (within two for three parts); for every label
    they are as near as that allows.
    """
    names, figure_id = np.unique(figure_ids, return_inverse=True)
    left = _count(figure_id, labels, len(names))
    cell = figure_id * left.shape[1] + labels
    order = np.lexsort((priorities(ids, seed, "split"), cell))
    # The number of each row in its cell (figure and label), in the order of hashes.
    _, starts, lengths = np.unique(cell[order], return_index=True, return_counts=True)
    number = np.empty(len(cell), int)
    number[order] = np.arange(len(cell)) - np.repeat(starts, lengths)
    part = np.zeros(len(cell), int)
    before = np.zeros_like(left)
    for k in range(len(sizes) - 1, 0, -1):
        taken = _round_to_total(left, int(sizes[k]))
        inside = (number >= before.ravel()[cell]) & (number < (before + taken).ravel()[cell])
        part[inside] = k
        before, left = before + taken, left - taken
    return part


def _round_to_total(counts: np.ndarray, total: int) -> np.ndarray:
    """The share of each cell of `counts` (figures, labels), rounded so that all cells add up to `total`.

    Each cell and each row's sum is its exact share rounded down or up; in a row, the cells of the labels that lack most
    so far are rounded up.
    """
    exact = counts * (total / max(counts.sum(), 1))
    taken = np.floor(exact + 1e-9).astype(int)
    before = 0
    rows_done = 0
    lacking = np.zeros(counts.shape[1])
    for row in range(len(counts)):
        rows_done += int(counts[row].sum())
        # The running share, rounded: errors do not add up.
        after = (2 * rows_done * total + counts.sum()) // (2 * counts.sum())
        lacking += exact[row] - taken[row]
        more = after - before - int(taken[row].sum())
        before = after
        if more:
            open_cells = np.flatnonzero(exact[row] - taken[row] > 1e-9)
            up = open_cells[np.argsort(-lacking[open_cells], kind="stable")][:more]
            taken[row, up] += 1
            lacking[up] -= 1
    return taken


def check_leakage(figure_ids: Sequence[str], parts: Sequence[str], contents: Sequence[str | None] = ()) -> None:
    """UserError if a figure is in more than one part, or a picture is under two figures.

    contents: a digest of each row's picture, None if it is not known.
    """
    if leaks := _in_several_parts(figure_ids, parts):
        first = min(leaks)
        raise UserError(
            f"{len(leaks)} figures are in more than one part of a split by figure, {first} in "
            f"{' and '.join(sorted(leaks[first]))}: scores on such a split would be too good; give each figure one "
            "split, or split within_figure."
        )
    known = [k for k, content in enumerate(contents) if content]
    pictures = [contents[k] or "" for k in known]
    if leaks := _in_several_parts(pictures, [parts[k] for k in known]):
        named = sorted({figure_ids[k] for k, picture in zip(known, pictures, strict=True) if picture in leaks})
        raise UserError(
            f"{len(leaks)} pictures are in more than one part of a split by figure, as they have several figures "
            f"({', '.join(named[:3])}): scores on such a split would be too good; give all corpora to one faces stage, "
            "which counts copies as one figure."
        )


def _in_several_parts(things: Sequence[str], parts: Sequence[str]) -> dict[str, set[str]]:
    parts_of: dict[str, set[str]] = {}
    for thing, part in zip(things, parts, strict=True):
        parts_of.setdefault(thing, set()).add(part)
    return {thing: several for thing, several in parts_of.items() if len(several) > 1}
