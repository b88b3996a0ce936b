"""How far light and view alone change an Action Unit of one face: the yardstick for what a difference means."""

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from twfer_dist.core.intervals import Z
from twfer_dist.core.taxonomy import ACTION_UNITS
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.config import package_path
from twfer_dist.faces.finder import OURS

FILE = package_path("package:weights/faces-repeatability.json")


@dataclass(frozen=True)
class Repeatability:
    """What a change of light and view does to the units of faces that do not change, as standard deviations.

    A picture's value is the sum of its head's own, of a shift that its light and view give to all heads alike
    (`shared`), and of the rest (`single`).
    """

    source: str  # what was measured, in a sentence
    heads: int
    pictures: int
    shared: dict[str, float]  # by unit
    single: dict[str, float]
    between: dict[str, float]  # of the heads' own values

    def coefficient(self, unit: str) -> float:
        """The repeatability coefficient (Bland and Altman 1999): two pictures of one face under different light and
        view differ by less than this in 95 % of pairs.
        """
        return self.limit(unit, 1, 1)

    def limit(self, unit: str, figures: int, others: int) -> float:
        """The difference between the means of two groups of so many equal figures that light and view alone stay below
        in 95 % of cases, if each group was photographed in its own way.

        What a light and a view do to all faces alike does not average out over a group, however large it is. With one
        figure each this is the repeatability coefficient.
        """
        single = self.single[unit] ** 2 * (1 / figures + 1 / others)
        return Z * float(np.sqrt(2 * self.shared[unit] ** 2 + single))


def repeatability_of(faces: Sequence[Artifact], sources: frozenset[str]) -> Repeatability | None:
    """The repeatability of the network that measured `faces`; None where another network or OpenFace took part.

    sources: where the Action Units come from.
    """
    record = _record()
    known = sources == {OURS} and {output.results.get("network") for output in faces} == {record["network"]}
    if not known:
        return None
    columns = {name: {unit: record["units"][unit][name] for unit in ACTION_UNITS} for name in _DEVIATIONS}
    return Repeatability(record["source"], record["heads"], record["pictures"], **columns)


_DEVIATIONS = ("shared", "single", "between")


@functools.cache
def _record() -> dict[str, Any]:
    return json.loads(Path(FILE).read_text())


def deviations(values: np.ndarray, head: np.ndarray, condition: np.ndarray) -> dict[str, np.ndarray]:
    """The standard deviations `shared`, `single` and `between` of `Repeatability`, each (units,), from pictures of
    several heads under the same conditions; cells may be missing.

    values: (pictures, units). head, condition: (pictures,) int64. Half the mean squared difference of two pictures
    estimates `shared`² + `single`² if they show one head, `between`² + `single`² if they share a condition, and the
    sum of all three otherwise. These are solved for the three; a negative variance is set to 0. A handful of conditions
    cannot show that one unit is free of `shared` shifts: none is taken to have less than the root mean square of all.
    """
    first, second = np.triu_indices(len(values), 1)
    squares = (values[first] - values[second]) ** 2 / 2
    one_head, one_condition = head[first] == head[second], condition[first] == condition[second]
    within = squares[one_head & ~one_condition].mean(0)
    across = squares[one_condition & ~one_head].mean(0)
    total = squares[~one_head & ~one_condition].mean(0)
    variances = {"shared": total - across, "single": within + across - total, "between": total - within}
    found = {name: np.sqrt(np.maximum(variance, 0)) for name, variance in variances.items()}
    found["shared"] = np.maximum(found["shared"], np.sqrt((found["shared"] ** 2).mean()))
    return found
