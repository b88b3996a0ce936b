"""How large differences between groups are, from a table of answers."""

import numpy as np
import pyarrow as pa
import pytest
from report_pages import csv_of, json_of, words_of

from twfer_dist.core.intervals import share, simultaneous
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.engine.artifact import Artifact
from twfer_dist.study.group_effects import MOST_PAIRS, OTHERS, ColumnEffect, group_effects
from twfer_dist.study.groups import distributions

ANGER, NEUTRAL = 6, 7


def counts_of(answers: dict[str, list[int]]) -> pa.Table:
    """A count table of one corpus for each group: a face of another figure for each answer."""
    rows = [
        {"model": "m", "corpus": group, "figure_id": f"f{k}", "split": "", "label": None, "predicted": answer}
        | {"status": "ok", "n": 1}
        for group, labels in answers.items()
        for k, answer in enumerate(labels)
    ]
    labels = {"label": pa.int8(), "predicted": pa.int8(), "n": pa.int64()}
    return pa.Table.from_pylist(rows, pa.schema([(name, labels.get(name, pa.string())) for name in rows[0]]))


def effect_of(answers: dict[str, list[int]]) -> ColumnEffect:
    counts = counts_of(answers)
    (effect,) = group_effects(counts, "m", distributions(counts))
    return effect


def test_the_difference_of_a_pair_by_hand() -> None:
    """30 of 40 against 10 of 40 neutral; Newcombe's interval from the two Wilson intervals."""
    effect = effect_of({"han": [NEUTRAL] * 30 + [ANGER] * 10, "qin": [NEUTRAL] * 10 + [ANGER] * 30})
    (pair,) = effect.pairs
    neutral = pair.expressions[NEUTRAL - 1]
    assert (pair.first, pair.second, neutral.difference) == ("han", "qin", 0.5)
    one, other = (share((np.arange(40) < k), np.ones(40, int), simultaneous(7)) for k in (30, 10))
    assert neutral.low == pytest.approx(0.5 - np.hypot(0.75 - one.low, other.high - 0.25), abs=1e-6)
    assert neutral.certain and not pair.expressions[0].certain
    assert effect.largest and effect.largest[1].expression in ("neutral", "anger") and not effect.coarse


def test_a_small_group_says_how_coarse_its_shares_are() -> None:
    effect = effect_of({"han": [NEUTRAL] * 3 + [ANGER] * 3, "qin": [NEUTRAL] * 40})
    assert [(group.value, group.figures, group.step) for group in effect.coarse] == [("han", 6, 1 / 6)]


def test_many_groups_are_compared_with_all_others() -> None:
    """Six groups would make fifteen pairs."""
    effect = effect_of({f"g{k}": [NEUTRAL] * 5 + [ANGER] * k for k in range(6)})
    assert len(effect.pairs) == 6 <= MOST_PAIRS and {pair.second for pair in effect.pairs} == {OTHERS}
    whole = effect.pairs[0].expressions[NEUTRAL - 1]
    assert (whole.first_k, whole.first_n, whole.second_k, whole.second_n) == (5, 5, 25, 40)


def test_the_report_states_the_effects(report: Artifact) -> None:
    stated = json_of(report)
    (effect,) = [entry for entry in stated["effects"] if entry["column"] == "posture"]
    words = words_of(report)
    assert f"with a Cramér's V of {effect['association']['value']:.2f}" in words
    rows = [row for row in csv_of(report, "differences.csv") if row["column"] == "posture"]
    assert len(rows) == len(effect["pairs"]) * len(EXPRESSIONS)
    assert float(rows[0]["difference"]) == effect["pairs"][0]["expressions"][0]["difference"]
    assert "one figure is 8 percentage points of a share" in words
