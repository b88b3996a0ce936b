"""The study's numbers: intervals, tables, baselines and groups, on small tables of known content."""

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


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict:
    return study_tables.make_world(str(tmp_path_factory.mktemp("out")))


# Intervals


def test_wilson_intervals_have_known_values():
    assert wilson(5, 6) == pytest.approx((0.436, 0.970), abs=5e-4)
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=5e-4)
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-4)  # Newcombe 1998, table I
    low, high = wilson(17, 58)
    exact = stats.binomtest(17, 58).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((exact.low, exact.high))
    assert wilson(0, 0) == (0.0, 1.0)


def test_hits_of_one_source_count_together():
    hits = np.array([True, True, False, True, False])
    assert share_of(hits, ["a", "a", "b", "c", "c"]) == share(np.array([2, 0, 1]), np.array([2, 1, 2]))
    assert share_of(np.zeros(0, bool), []).n == 0


def test_images_of_one_source_count_for_less():
    alone = share(np.array([1, 0, 1, 1, 1, 1]), np.ones(6, int))
    assert (alone.k, alone.n, alone.low, alone.high) == pytest.approx((5, 6, *wilson(5, 6)))
    alike = share(np.array([10, 0, 10, 10, 10, 10]), np.full(6, 10))  # ten equal images of each of six figures
    assert (alike.k, alike.n, alike.figures) == (50, 60, 6)
    assert (alike.low, alike.high) == pytest.approx(wilson(5, 6), abs=1e-9)
    assert effective_size(np.full(6, 10), np.full(6, 10)) == 6  # all right: nothing says that images of a figure differ
    mixed = effective_size(np.array([5, 6, 4, 5, 5, 5]), np.full(6, 10))
    assert mixed == 60  # figures alike: every image counts


def test_interval_by_figure_covers_the_truth():
    """Eight images of each of 40 figures, some figures easy and some hard: the truth is inside about 95 times in
    100.
    """
    random = np.random.default_rng(1)
    draws = [share(random.binomial(8, random.beta(0.6, 0.4, 40)), np.full(40, 8)) for _ in range(1000)]
    assert 0.925 <= np.mean([s.low <= 0.6 <= s.high for s in draws]) <= 0.975
    as_if_independent = [wilson(s.k, s.n) for s in draws]
    assert np.mean([low <= 0.6 <= high for low, high in as_if_independent]) < 0.75


def test_balanced_accuracy_weighs_expressions_alike():
    one = share(np.array([90]), np.array([100]))
    shares = [
        share(np.ones(90, int), np.ones(90, int)),
        share(np.array([1, 0]), np.array([1, 1])),
        share(np.array([]), np.array([])),
    ]
    mean = balanced_accuracy(shares)
    assert mean is not None and mean.value == pytest.approx(0.75) and (mean.classes, mean.n) == (2, 92)
    assert mean.low < 0.75 - 0.15 and mean.high <= 1
    single = balanced_accuracy([one])
    assert single is not None and (single.low, single.high) == pytest.approx((one.low, one.high))
    assert balanced_accuracy([]) is None
    assert simultaneous(7) == pytest.approx(2.690, abs=1e-3)


# Tables


def test_accuracy_and_confusion_are_those_of_the_rows(world):
    images = world["dataset"].table(".", DATASET, columns=["image_id", "split"])
    found = {(e.model, e.split): e for e in metrics.evaluate(metrics.count(world["predictions"], images))}
    assert list(found) == [(m, s) for m in ("ARM", "ResNet-18") for s in ("train", "validation", "test")]
    for (model, split), evaluation in found.items():
        rows = [row for p in world["predictions"] for row in p.table(".", PREDICTIONS).to_pylist()]
        rows = [r for r in rows if (r["model"], r["split"]) == (model, split)]
        assert evaluation.images.n == len(rows) and evaluation.images.k == sum(
            r["label"] == r["predicted"] for r in rows
        )
        assert evaluation.images.figures == len({r["figure_id"] for r in rows})
        for truth in range(7):
            own = [r for r in rows if r["label"] == truth + 1]
            assert evaluation.classes[truth].k == sum(r["predicted"] == truth + 1 for r in own)
            assert evaluation.confusion[truth].tolist() == [sum(r["predicted"] == p + 1 for r in own) for p in range(7)]
        assert evaluation.mean is not None and evaluation.mean.value == pytest.approx(
            np.mean([c.value for c in evaluation.classes])
        )


def test_images_without_an_answer_are_counted_apart(tmp_path):
    rows = [
        {
            "image_id": f"i{k}",
            "model": "m",
            "figure_id": f"s{k}",
            "corpus": "c",
            "split": "test",
            "label": 1,
            "predicted": p,
            "status": s,
        }
        for k, (p, s) in enumerate([(1, OK), (2, "low_confidence"), (None, "unreadable")])
    ]
    finished = output(str(tmp_path), "predictions", {".": (PREDICTIONS, rows)})
    (found,) = metrics.evaluate(metrics.count([finished], images_of(finished)))
    assert (found.images.k, found.images.n, found.unanswered) == (1, 2, 1)
    assert (found.accepted_right, found.accepted) == (1, 1)


def test_no_predictions_give_no_tables():
    counts = metrics.count([], images_of())
    assert metrics.evaluate(counts) == [] and len(counts) == 0


# Baselines


def test_linear_model_reads_the_action_units(world):
    linear = baselines.fit(world["dataset"])
    assert linear is not None
    scores = {e.split: e for e in metrics.evaluate(baselines.on_dataset(linear, world["dataset"]))}
    assert (
        scores["test"].images.k == scores["test"].images.n == 4 * 7 * 4
    )  # the drawn faces have one Action Unit for each label
    (faces,) = metrics.evaluate(baselines.on_faces(linear, world["faces"]))
    assert faces.images.n == 60 and faces.images.k == 60


def test_no_action_units_no_linear_model(tmp_path):
    rows = [
        {"image_id": f"i{k}", "split": "train", "label": k + 1, "figure_id": "s", "corpus": "c", "origin": "photograph"}
        for k in range(3)
    ]
    assert baselines.fit(output(str(tmp_path), "dataset", {".": (DATASET, rows)})) is None


def test_majority_class_is_the_best_constant_answer(world):
    counts = metrics.count(world["predictions"][:1], photographs({**NOTHING, "faces": [world["faces"]]}))
    (evaluation,) = metrics.evaluate(counts)
    constant = baselines.always(evaluation)
    assert constant.model == "always surprise" and (constant.images.k, constant.images.n) == (9, 60)
    assert constant.mean is not None and constant.mean.value == pytest.approx(1 / 7)


# Groups


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
