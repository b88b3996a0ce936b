"""Whose Action Units a study has, and which of them lie so far from the heads that the network was tested on that they
may be false.
"""

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from scipy import stats

from twfer_dist.core.schema import FACES
from twfer_dist.core.status import OK
from twfer_dist.core.taxonomy import ACTION_UNIT_NAMES, ACTION_UNITS
from twfer_dist.engine.artifact import Artifact
from twfer_dist.faces.finder import OURS
from twfer_dist.measurement.analyzer import SHIPPED
from twfer_dist.study.metrics import figure_codes

HIGH = 0.75
"""A figure counts as high in a unit where it lies above this share of the heads. These were drawn with strong Action
Units: what more than half of a corpus shows above three quarters of them is seldom an expression that all share.
"""

CHANCE = 0.05
"""The chance of a warning in a corpus that is like the heads, over all units together (Bonferroni)."""


def action_units(faces: Sequence[Artifact]) -> list[dict[str, Any]]:
    """For each corpus: corpus, faces, of them with Action Units from OpenFace's table and from the network, and `far`.

    far: the units in which more than half of the figures are higher than HIGH of the heads, and more figures than
    chance explains (binomial test). Of each: unit, name, mean, high, figures. A figure's value is the median of its
    faces that are fit to be read: the mean of several expressions would be high in units that a few of them show. Only
    where the network that ships measured: of no other is it known what it reads on the heads.
    """
    found: dict[str, dict[str, Any]] = {}
    columns = ["corpus", "figure_id", "action_units", "action_units_from", "status"]
    for finished in faces:
        rows = finished.scan("faces", FACES).to_table(columns=columns, filter=pc.is_valid(pc.field("action_units")))
        ours = finished.results.get("network") == _facts()["sha256"]
        for corpus in sorted(pc.unique(rows["corpus"]).to_pylist()):
            own = rows.filter(pc.equal(rows["corpus"], corpus))
            measured = own.filter(pc.equal(own["action_units_from"], OURS))
            entry = found.setdefault(corpus, {"corpus": corpus, "openface": 0, "network": 0, "far": []})
            entry["openface"] += len(own) - len(measured)
            entry["network"] += len(measured)
            fit = measured.filter(pc.equal(measured["status"], OK))
            if ours and len(fit):
                entry["far"] += _far(fit)
    return list(found.values())


def _far(rows: Any) -> list[dict[str, Any]]:
    values = rows["action_units"].combine_chunks().flatten().to_numpy().reshape(-1, len(ACTION_UNITS))
    figure_id, figure_ids = figure_codes(rows)
    by_figure = np.split(values[np.argsort(figure_id, kind="stable")], np.cumsum(np.bincount(figure_id))[:-1])
    middle = np.stack([np.median(figure, axis=0) for figure in by_figure])
    found = []
    for unit, name, value, limit in zip(ACTION_UNITS, ACTION_UNIT_NAMES, middle.T, _limits(), strict=True):
        high = int((value > limit).sum())
        by_chance = stats.binom.sf(high - 1, figure_ids, 1 - HIGH)
        if 2 * high > figure_ids and by_chance < CHANCE / len(ACTION_UNITS):
            found.append(
                {"unit": unit, "name": name, "mean": round(float(value.mean()), 3), "high": high, "figures": figure_ids}
            )
    return found


@functools.cache
def _facts() -> dict[str, Any]:
    return json.loads(Path(SHIPPED).with_suffix(".json").read_text())


def _limits() -> list[float]:
    """What the network reads in HIGH of the heads, at most, of each unit."""
    table = _facts()["measured_units"]
    return [table["units"][unit][table["quantiles"].index(HIGH)] for unit in ACTION_UNITS]
