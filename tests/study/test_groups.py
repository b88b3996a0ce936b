"""Expressions by group, and whether groups differ."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats
from study_errors import face_counts
from study_tables import images_of, output

from twfer_dist.core.schema import PREDICTIONS
from twfer_dist.core.status import OK
from twfer_dist.study import correction, groups, metrics
from twfer_dist.study.metrics import COUNTED, GROUP


def group_counts(tmp_path: Path, rows: list[tuple[str, str, int]]) -> pa.Table:
    predictions = [
        {
            "image_id": f"i{k:04d}",
            "model": "m",
            "figure_id": s,
            "corpus": "c",
            "groups": [("posture", g)],
            "predicted": p,
            "status": OK,
        }
        for k, (s, g, p) in enumerate(rows)
    ]
    answers = output(str(tmp_path), "predict", {".": (PREDICTIONS, predictions)})
    return metrics.count([answers], images_of(answers))


def test_groups_have_shares_intervals_and_a_warning(tmp_path: Path) -> None:
    rows = [(f"a{k}", "general", 4 if k < 20 else 5) for k in range(40)]
    rows += [(f"b{k}", "cavalry", 5 if k else 6) for k in range(6)]
    (entry,) = groups.distributions(group_counts(tmp_path, rows))
    assert entry["column"] == "posture"
    assert [v["value"] for v in entry["values"]] == ["general", "cavalry"]  # the paper's order
    general, cavalry = entry["values"]
    assert (general["accepted"], general["small"], cavalry["accepted"], cavalry["small"]) == (40, False, 6, True)
    sadness = cavalry["expressions"][4]
    assert (sadness["expression"], sadness["k"], sadness["n"]) == ("sadness", 5, 6)
    assert sadness["labelled"] == {}
    assert sadness["low"] is None  # nothing tells how the model errs, so no interval is claimed


def test_a_column_that_names_each_figure_compares_nothing(tmp_path: Path) -> None:
    (entry,) = groups.distributions(group_counts(tmp_path, [(f"a{k}", f"found in trench {k}", 4) for k in range(9)]))
    assert entry["distinct"] == 9 and not entry["values"]


def test_difference_counts_figures_not_faces(tmp_path: Path) -> None:
    apart = [(f"a{k}", "general", 4) for k in range(15)] + [(f"b{k}", "civil", 5) for k in range(15)]
    assert groups.distributions(group_counts(tmp_path, apart))[0]["test"]["p"] == 0.001
    copies = 50 * [("a0", "general", 4), ("a1", "general", 5), ("b0", "civil", 4), ("b1", "civil", 4)]
    test = groups.distributions(group_counts(tmp_path, copies))[0]["test"]
    assert test["figures"] == 4 and test["p"] > 0.3  # 200 faces, but four figures prove nothing
    asymptotic = stats.chi2_contingency([[50, 50], [100, 0]], correction=False)
    assert test["chi_squared"] == pytest.approx(asymptotic.statistic, abs=1e-3) and asymptotic.pvalue < 1e-9


def test_no_difference_where_chance_explains_it(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    p = []
    for _ in range(20):
        rows = [(f"s{k}", "general" if k < 12 else "civil", int(random.integers(1, 4))) for k in range(24)]
        p.append(groups.distributions(group_counts(tmp_path, rows))[0]["test"]["p"])
    assert np.mean(np.array(p) < 0.05) <= 0.15 and np.mean(p) > 0.3


@pytest.mark.parametrize(
    ("values", "compared"),
    [
        (["kneeling", "general"], 2),
        (["1", "2", "3"], 3),  # pits, annotators
        (["640", "480"], 0),  # widths
        (["1974", "1998"], 0),  # years
        (["0,5", "1,5"], 0),
        ([str(k) for k in range(9)], 0),
        ([f"inventory {k}" for k in range(18)], 0),
    ],
)
def test_columns_of_numbers_and_names_are_not_compared(values: list[str], compared: int) -> None:
    rows = [
        {**dict.fromkeys(COUNTED), "model": "m", "corpus": "c", "figure_id": f"{k}", "status": OK, "n": 1}
        | {GROUP + "column": values[k % len(values)]}
        for k in range(36)
    ]
    predicted = pa.array([1 + k % 2 for k in range(36)], pa.int8())
    counts = pa.Table.from_pylist(rows).set_column(COUNTED.index("predicted"), "predicted", predicted)
    (entry,) = groups.distributions(counts)
    assert (len(entry["values"]), entry["distinct"]) == (compared, len(values))
    (named,) = groups.distributions(counts, named=["column"])
    assert len(named["values"]) == len(values)


def test_shares_count_all_answered_faces(tmp_path: Path) -> None:
    counts = face_counts(tmp_path, 140, 0.2)
    assert groups.overall(counts)["expressions"][6]["corrected"] is None
    _, used = correction.choose(counts, None)
    group = groups.overall(counts, used)
    assert (group["answered"], group["accepted"]) == (280, 186)
    neutral = group["expressions"][6]
    assert neutral["n"] == 280 and (neutral["labelled"]["k"], neutral["labelled"]["n"]) == (20, 140)
    # Only 20 % of neutral faces are answered correctly, and the correction still recovers their share.
    assert neutral["k"] / 280 < 0.08 and neutral["low"] <= 1 / 7 <= neutral["high"]
