"""Where the Action Units of a study come from, and which of them lie so far from those of the heads that the network
was tested on that they may be wrong.
"""

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import stats

from twfer_dist.core.schema import FACES
from twfer_dist.core.status import OK
from twfer_dist.core.taxonomy import ACTION_UNIT_MOVEMENTS, ACTION_UNITS
from twfer_dist.engine.artifact import Artifact
from twfer_dist.faces.finder import OURS
from twfer_dist.measurement.analyzer import SHIPPED
from twfer_dist.study.metrics import figure_codes

HIGH = 0.75
"""A figure counts as high in a unit where it lies above this share of the heads. These were drawn with strong Action
Units: what more than half of a corpus shows above three quarters of them is seldom an expression that all share.
"""

CHANCE = 0.05
"""The chance of a false warning in a corpus that is like the heads, over all units together (Bonferroni)."""


@dataclass(frozen=True)
class HighUnit:
    """An Action Unit that is suspiciously high in a corpus."""

    unit: str
    name: str
    mean: float  # over the figures
    high: int  # figures above HIGH of the heads
    figures: int


@dataclass
class UnitSources:
    """Where the Action Units of one corpus come from."""

    corpus: str
    openface: int = 0  # faces whose Action Units come from an OpenFace table
    network: int = 0  # faces that the network measured
    far: list[HighUnit] = field(default_factory=list)


def action_units(faces: Sequence[Artifact]) -> list[UnitSources]:
    """The sources of each corpus's Action Units, and the units that may be wrong.

    These are the units in which more than half of the figures are higher than HIGH of the heads, and more figures than
    chance explains (binomial test). A figure's value is the median of its faces with status "ok": the mean of several
    expressions would be high in units that a few of them show. Only the network that ships is checked: how any other
    measures the heads is unknown.
    """
    corpora: dict[str, UnitSources] = {}
    columns = ["corpus", "figure_id", "action_units", "action_units_from", "status"]
    for output in faces:
        rows = output.scan("faces", FACES).to_table(columns=columns, filter=pc.is_valid(pc.field("action_units")))
        shipped = output.results.get("network") == _network_card()["sha256"]
        for corpus in sorted(pc.unique(rows["corpus"]).to_pylist()):
            own = rows.filter(pc.equal(rows["corpus"], corpus))
            measured = own.filter(pc.equal(own["action_units_from"], OURS))
            sources = corpora.setdefault(corpus, UnitSources(corpus))
            sources.openface += len(own) - len(measured)
            sources.network += len(measured)
            accepted = measured.filter(pc.equal(measured["status"], OK))
            if shipped and len(accepted):
                sources.far += _high_units(accepted)
    return list(corpora.values())


def _high_units(rows: pa.Table) -> list[HighUnit]:
    values = rows["action_units"].combine_chunks().flatten().to_numpy().reshape(-1, len(ACTION_UNITS))
    figure, figures = figure_codes(rows)
    by_figure = np.split(values[np.argsort(figure, kind="stable")], np.cumsum(np.bincount(figure))[:-1])
    medians = np.stack([np.median(faces, axis=0) for faces in by_figure])
    units = []
    for unit, name, value, limit in zip(ACTION_UNITS, ACTION_UNIT_MOVEMENTS, medians.T, _limits(), strict=True):
        high = int((value > limit).sum())
        by_chance = stats.binom.sf(high - 1, figures, 1 - HIGH)
        if 2 * high > figures and by_chance < CHANCE / len(ACTION_UNITS):
            units.append(HighUnit(unit, name, round(float(value.mean()), 3), high, figures))
    return units


@functools.cache
def _network_card() -> dict[str, Any]:
    return json.loads(Path(SHIPPED).with_suffix(".json").read_text())


def _limits() -> list[float]:
    """What the network measures at most in HIGH of the heads, for each unit."""
    table = _network_card()["measured_units"]
    return [table["units"][unit][table["quantiles"].index(HIGH)] for unit in ACTION_UNITS]
