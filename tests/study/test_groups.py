"""Expressions by group, and whether groups differ."""

import numpy as np
import pyarrow as pa
import pytest
import study_tables
from scipy import stats
from study_tables import NOTHING, images_of, output
from twfer_dist.core.intervals import balanced_accuracy, effective_size, share, share_of, simultaneous, wilson
from twfer_dist.core.schema import DATASET, PREDICTIONS
from twfer_dist.core.status import OK
from twfer_dist.study import baselines, groups, metrics
from twfer_dist.study.report_data import photographs
import re
from study_tables import answer_to, face_picture, make_faces, make_predictions, make_training, make_world, output
from twfer_dist.core.schema import FACES, PHOTOGRAPHS, PREDICTIONS
from twfer_dist.core.taxonomy import ACTION_UNITS
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import run_stage
from twfer_dist.measurement.analyzer import SHIPPED, open_analyzer
from twfer_dist.measurement.quality import LOW_QUALITY
from twfer_dist.recipe.study import study_recipe
from twfer_dist.recognition.training import TrainConfig
from twfer_dist.study.groups import distributions
from twfer_dist.study.metrics import COUNTED, GROUP
from twfer_dist.study.report import ReportConfig, report_job
from twfer_dist.study.units import action_units
from study_tables import images_of, make_faces, make_training, output
from twfer_dist.core.intervals import design_effect, effective_size, share, simultaneous
from twfer_dist.core.schema import PREDICTIONS
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.recognition import train_stage
from twfer_dist.recognition.calibration import Confusion, confusion, confusion_from
from twfer_dist.recognition.training import Answers, TrainConfig
from twfer_dist.study import correction, groups, metrics
from twfer_dist.study.shares import agreement, corrected, solve




def group_counts(tmp_path, rows: list[tuple[str, str, int]]) -> pa.Table:
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
    finished = output(str(tmp_path), "predictions", {".": (PREDICTIONS, predictions)})
    return metrics.count([finished], images_of(finished))


def test_groups_have_shares_intervals_and_a_warning(tmp_path):
    rows = [(f"a{k}", "general", 4 if k < 20 else 5) for k in range(40)] + [
        (f"b{k}", "cavalry", 5 if k else 6) for k in range(6)
    ]
    (entry,) = groups.distributions(group_counts(tmp_path, rows))
    assert (entry["column"], [v["value"] for v in entry["values"]]) == (
        "posture",
        ["general", "cavalry"],
    )  # the paper's order
    general, cavalry = entry["values"]
    assert (general["accepted"], general["small"], cavalry["accepted"], cavalry["small"]) == (40, False, 6, True)
    sadness = cavalry["expressions"][4]
    assert (sadness["expression"], sadness["k"], sadness["n"]) == ("sadness", 5, 6)
    assert (
        sadness["labelled"] == {} and sadness["low"] is None
    )  # nothing says how the model errs: no interval is claimed


def test_a_column_that_names_each_figure_compares_nothing(tmp_path):
    (entry,) = groups.distributions(group_counts(tmp_path, [(f"a{k}", f"found in trench {k}", 4) for k in range(9)]))
    assert entry["distinct"] == 9 and not entry["values"]


def test_difference_counts_figures_not_faces(tmp_path):
    apart = [(f"a{k}", "general", 4) for k in range(15)] + [(f"b{k}", "civil", 5) for k in range(15)]
    assert groups.distributions(group_counts(tmp_path, apart))[0]["test"]["p"] == 0.001
    copies = 50 * [("a0", "general", 4), ("a1", "general", 5), ("b0", "civil", 4), ("b1", "civil", 4)]
    test = groups.distributions(group_counts(tmp_path, copies))[0]["test"]
    assert test["figures"] == 4 and test["p"] > 0.3  # 200 faces, but four figures prove nothing
    asymptotic = stats.chi2_contingency([[50, 50], [100, 0]], correction=False)
    assert test["chi_squared"] == pytest.approx(asymptotic.statistic, abs=1e-3) and asymptotic.pvalue < 1e-9


def test_no_difference_where_chance_explains_it(tmp_path):
    random = np.random.default_rng(5)
    p = []
    for _ in range(20):
        rows = [(f"s{k}", "general" if k < 12 else "civil", int(random.integers(1, 4))) for k in range(24)]
        p.append(groups.distributions(group_counts(tmp_path, rows))[0]["test"]["p"])
    assert np.mean(np.array(p) < 0.05) <= 0.15 and np.mean(p) > 0.3


@pytest.mark.parametrize(
    ("values", "groups"),
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
def test_columns_of_numbers_and_names_are_no_groups(values: list[str], groups: int) -> None:
    rows = [
        {
            **dict.fromkeys(COUNTED),
            "model": "m",
            "corpus": "c",
            "figure_id": f"{k}",
            "predicted": 1 + k % 2,
            "status": OK,
            "n": 1,
        }
        | {GROUP + "column": values[k % len(values)]}
        for k in range(36)
    ]
    counts = pa.Table.from_pylist(rows).set_column(
        5, "predicted", pa.array([row["predicted"] for row in rows], pa.int8())
    )
    (entry,) = distributions(counts)
    assert (len(entry["values"]), entry["distinct"]) == (groups, len(values))
    (named,) = distributions(counts, asked=["column"])
    assert len(named["values"]) == len(values)


def faces(tmp_path, labelled: int, neutral_read: float, answers: int = 280, sure: str = OK) -> pa.Table:
    """A count table of faces of which some are labelled, a seventh of each expression, and neutral is read right so
    often.
    """
    of = rates([0.85] * 6 + [neutral_read])
    random = np.random.default_rng(4)
    rows = [{"image_id": f"i{k:04d}", "model": "m", "figure_id": f"s{k}", "corpus": "c", "label": k % 7 + 1
        if k < labelled else None, "predicted": int(random.choice(7, p=of[k % 7])) + 1, "status": sure if
        k % 3 else "low_confidence"} for k in range(answers) ]  # fmt: skip
    finished = output(str(tmp_path), "predictions", {".": (PREDICTIONS, rows)})
    return metrics.count([finished], images_of(finished))


def test_shares_are_of_all_answered_faces(tmp_path):
    counts = faces(tmp_path, 140, 0.2)
    assert groups.overall(counts)["expressions"][6]["corrected"] is None
    told, used = correction.choose(counts, None)
    group = groups.overall(counts, used)
    assert (group["answered"], group["accepted"]) == (280, 186)
    neutral = group["expressions"][6]
    assert neutral["n"] == 280 and (neutral["labelled"]["k"], neutral["labelled"]["n"]) == (20, 140)
    assert (
        neutral["k"] / 280 < 0.08 and neutral["low"] <= 1 / 7 <= neutral["high"]
    )  # read right in 20 %, and found all the same
