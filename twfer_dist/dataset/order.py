"""The order in which a training takes its images: decided by the seed and the epoch alone, and dealt out to workers.

The row groups of an epoch are laid end to end in random order, the images of each shuffled among themselves, and this
line is cut into LANES equal pieces. Image j of the epoch is the next one of lane j % LANES. A worker that has every
N-th lane thus has its share of each batch, and reads the row groups of its lanes, one at a time for each lane.
"""

import functools
from dataclasses import dataclass

import numpy as np

LANES = 8
"""Up to this many workers read different row groups. A batch mixes images of as many row groups; a row group is shared
by two lanes where a lane begins within it.
"""

_PLACES = np.array([0, 4, 2, 6, 1, 5, 3, 7])  # of the lanes along the line, so that every second lane, too, is one half


@dataclass(frozen=True)
class EpochOrder:
    """The order of `counts.sum()` images. counts: how many images each row group has, int64 (G,)."""

    counts: np.ndarray
    seed: int
    epoch: int

    @functools.cached_property
    def _line(self) -> tuple[np.ndarray, np.ndarray]:
        """The row groups along the line, and where each ends."""
        groups = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.counts))
        return groups, np.cumsum(self.counts[groups])

    @functools.cached_property
    def _starts(self) -> np.ndarray:
        """Where each lane starts on the line: int64 (LANES,)."""
        lengths = (self.counts.sum() - np.arange(LANES) + LANES - 1) // LANES
        along = lengths[np.argsort(_PLACES)]
        return (np.cumsum(along) - along)[_PLACES]

    def locate(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The row group of each of the epoch's images, and its number among the row group's images.

        images: int64 (B,), numbers in the order of the epoch.
        """
        groups, ends = self._line
        position = self._starts[images % LANES] + images // LANES
        place = np.searchsorted(ends, position, side="right")
        group = groups[place]
        within = position - (ends[place] - self.counts[group])
        rows = [self._shuffled(int(g))[w] for g, w in zip(group, within, strict=True)]
        return group, np.array(rows, np.int64)

    def _shuffled(self, group: int) -> np.ndarray:
        return _permutation(self.seed, self.epoch, group, int(self.counts[group]))


@functools.lru_cache(maxsize=4 * LANES)
def _permutation(seed: int, epoch: int, group: int, count: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch, group]).permutation(count)


def locate_in_order(counts: np.ndarray, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As `EpochOrder.locate`, for images numbered in the order of their ids."""
    ends = np.cumsum(counts)
    group = np.searchsorted(ends, images, side="right")
    return group, images - (ends[group] - counts[group])


def batch_edges(images: int, batch: int, pieces: int = 1) -> np.ndarray:
    """Where the batches of an epoch begin, and its end: int64 (K * pieces + 1,).

    The K batches have nearly equal sizes of at most `batch`, each in `pieces` parts. If an image would be alone, which
    batch norm cannot learn from, the batches are larger by one, or in fewer pieces.
    """
    count = max(1, min(-(-images // batch), images // 2))
    pieces = max(1, min(pieces, images // (2 * count)))
    return np.arange(count * pieces + 1) * images // (count * pieces)


def share(images: np.ndarray, rank: int, world: int) -> np.ndarray:
    """Those of the epoch's images that worker `rank` of `world` has. More workers than LANES share lanes."""
    lanes = images % LANES
    if world <= LANES:
        return images[lanes % world == rank]
    sharing = (world - 1 - lanes) // LANES + 1  # workers of the lane: lane, lane + LANES, ...
    return images[lanes + LANES * (images // LANES % sharing) == rank]
