"""From what the network measures on rendered heads to what it might measure on photographs.

On photographs of living people and of stone the network errs more than on renders, and in other ways: people at rest
are given units that they do not show, a strong unit leaks into its neighbours, movements are weaker. A reader that only
knows renders trusts every unit too much. So each example is disturbed differently in every step (domain randomisation,
Tobin et al., arXiv 1703.06907). The amounts were chosen on photographs that no reader was trained on.
"""

from dataclasses import dataclass

import numpy as np

from twfer_dist.core.taxonomy import ACTION_UNITS, MAX_INTENSITY
from twfer_dist.measurement.face import LAPLACE_90

_UNITS = len(ACTION_UNITS)

_REGIONS = (
    ("AU01", "AU02", "AU04", "AU05", "AU07"),
    ("AU04", "AU06", "AU07", "AU09", "AU10", "AU12"),
    ("AU10", "AU12", "AU14", "AU15", "AU17", "AU20", "AU23", "AU25", "AU26"),
    ("AU05", "AU06", "AU07", "AU45"),
)
"""Units that move the same part of the face, and leak into each other."""

_STRONG_LEAKS = (("AU12", "AU09", 3.0), ("AU12", "AU10", 3.75), ("AU04", "AU09", 2.25), ("AU09", "AU04", 2.25))
"""From one unit to another, so many times more than usual: a smile's folds look like those of AU09 and AU10."""

_STYLES = {
    "AU01": 2.25, "AU02": 1.25, "AU04": 0.5, "AU05": 1.0, "AU09": 0.5, "AU10": 0.5, "AU15": 0.75, "AU20": 2.5,
    "AU25": 1.25, "AU26": 0.75,
}  # fmt: skip
"""What calm sculptures show at most: arched brows, wide eyes, parted lips, drooping corners; and moustaches, which are
measured as AU20.
"""


@dataclass(frozen=True)
class Disturbance:
    """How far measurements on photographs may differ from those on renders."""

    gain: tuple[float, float] = (0.3, 1.2)  # of each unit, uniform
    leak: float = 0.4  # the largest share of a unit that another of its region may gain
    leaking: float = 0.6  # the share of pairs that leak
    resting: float = 1.5  # the largest factor of what was measured on a person at rest
    styled: float = 0.8  # the share of faces that a style adds units to
    growth: float = 4.0  # the largest factor of a measurement's uncertainty

    def apply(
        self, units: np.ndarray, half_width_90: np.ndarray, resting: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Disturbed units, float32 (N, 17), 0 to 5.

        units and half_width_90: (N, 17), measured on renders. resting: (M, 17), units that were measured on people with
        expressionless faces, whose true value is 0.
        """
        n = len(units)
        disturbed = units * rng.uniform(*self.gain, (n, _UNITS))
        leaks = rng.uniform(0, self.leak, (n, _UNITS, _UNITS)) * (rng.random((n, _UNITS, _UNITS)) < self.leaking)
        disturbed += np.einsum("nij,nj->ni", leaks * _LEAKS, disturbed)
        disturbed = _added(
            disturbed, resting[rng.integers(len(resting), size=n)] * rng.uniform(0, self.resting, (n, 1))
        )
        style = rng.uniform(0, _MOST_STYLED, (n, _UNITS)) * (rng.random((n, _UNITS)) < 0.5)
        disturbed = _added(disturbed, style * (rng.random((n, 1)) < self.styled))
        growth = np.maximum(1, rng.uniform(1, self.growth, (n, 1)) * np.exp(rng.normal(0, 0.2, (n, _UNITS))))
        scale = 0.8 * half_width_90 / LAPLACE_90 * np.sqrt(growth**2 - 1)
        disturbed += rng.laplace(0, 1, (n, _UNITS)) * scale
        return np.clip(disturbed, 0, MAX_INTENSITY).astype(np.float32)


def _added(units: np.ndarray, more: np.ndarray) -> np.ndarray:
    """Units with `more` of them: the stronger a unit is, the less is added."""
    return units + more * (1 - np.clip(units, 0, MAX_INTENSITY) / MAX_INTENSITY)


def _leaks() -> np.ndarray:
    """[to, from]: how much of a unit another one gains, relative to `Disturbance.leak`."""
    index = {name: number for number, name in enumerate(ACTION_UNITS)}
    leaks = np.zeros((_UNITS, _UNITS))
    for region in _REGIONS:
        for one in region:
            for other in region:
                leaks[index[one], index[other]] = float(one != other)
    for source, target, factor in _STRONG_LEAKS:
        leaks[index[target], index[source]] = factor
    return leaks


_LEAKS = _leaks()
_MOST_STYLED = np.array([_STYLES.get(unit, 0.0) for unit in ACTION_UNITS])
