"""Shares of expressions that hold up: corrected by how the model errs, with intervals that cover the truth; copies of
pictures.
"""

import numpy as np
import pyarrow as pa
import pytest
import study_tables
from study_tables import images_of, make_faces, make_training, output

from twfer_dist.core.intervals import design_effect, effective_size, share, simultaneous
from twfer_dist.core.schema import PREDICTIONS
from twfer_dist.core.status import OK
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.engine import storage
from twfer_dist.engine.stage import run_stage
from twfer_dist.recognition import results
from twfer_dist.recognition.calibration import Confusion, confusion, confusion_from
from twfer_dist.recognition.training import Predictions, TrainConfig
from twfer_dist.study import correction, groups, metrics
from twfer_dist.study.report import ReportConfig, report_job
from twfer_dist.study.shares import agreement, corrected, solve

TRUTHS = {
    "even": np.full(7, 1 / 7),
    "mostly neutral": np.array([0.02, 0.03, 0.05, 0.1, 0.1, 0.1, 0.6]),
    "four expressions": np.array([0, 0, 0.2, 0.3, 0, 0.1, 0.4]),
    "neutral alone": np.array([0, 0, 0, 0, 0, 0, 1.0]),
}


def rates(right: list[float]) -> np.ndarray:
    """A model that is so often right, with errors of its own for each expression: neutral is often taken for
    sadness.
    """
    random = np.random.default_rng(42)
    found = np.stack([np.insert((1 - r) * random.dirichlet(np.full(6, 0.7)), k, r) for k, r in enumerate(right)])
    found[6] = [0, 0, 0, 0, 1 - right[6], 0, right[6]]
    return found


def held_out(of: np.ndarray, figures: int, images: int, random: np.random.Generator) -> Confusion:
    """A confusion estimated from `images` of each expression of each figure, where figures differ."""
    counts = np.array(
        [[random.multinomial(images, random.dirichlet(3 * row + 1e-6)) for row in of] for _ in range(figures)]
    )
    figure, truth, answered = np.nonzero(counts)
    return confusion(truth, answered, figure, counts[figure, truth, answered])


def test_corrected_intervals_cover_shares_that_are_known():
    """The seven shares lie in their intervals together in 95 % of draws, zeros too; those of the answers alone seldom
    do.
    """
    random, together, each, answers_alone = np.random.default_rng(1), [], [], []
    for right in ([0.85] * 7, [0.9, 0.6, 0.7, 0.95, 0.5, 0.8, 0.7]):
        for truth in TRUTHS.values():
            for faces in (30, 170, 500):
                for _ in range(8):
                    of = rates(right)
                    answers = np.stack([random.multinomial(1, of[k]) for k in random.choice(7, faces, p=truth)])
                    found = corrected(answers, held_out(of, 20, 3, random))
                    inside = (found.low <= truth + 1e-9) & (truth <= found.high + 1e-9)
                    together.append(inside.all())
                    each.append(inside)
                    plain = [share(answers[:, k], np.ones(faces, int), simultaneous(7)) for k in range(7)]
                    answers_alone.append(all(s.low <= t <= s.high for s, t in zip(plain, truth, strict=True)))
                    assert (
                        found.share.sum() == pytest.approx(1)
                        and (found.low <= found.share).all()
                        and (found.share <= found.high).all()
                    )
    assert np.mean(together) >= 0.93
    assert np.mean(each, 0).min() >= 0.96
    assert np.mean(answers_alone) < 0.5


def test_shares_are_found_again_from_answers_without_noise():
    of = rates([0.9, 0.6, 0.7, 0.95, 0.5, 0.8, 0.7])
    truths = np.stack(list(TRUTHS.values()))
    assert solve(np.broadcast_to(of, (4, 7, 7)), truths @ of) == pytest.approx(truths, abs=1e-6)


def test_more_figures_give_narrower_intervals_and_faces_of_one_figure_count_once():
    random, of = np.random.default_rng(2), rates([0.85] * 7)
    answers = np.stack([random.multinomial(1, of[k]) for k in random.choice(7, 200)])
    width = [float(np.mean(c.high - c.low)) for c in (corrected(answers, held_out(of, n, 3, random)) for n in (6, 60))]
    assert width[1] < 0.8 * width[0]
    alike = corrected(20 * answers[:10], held_out(of, 60, 3, random))
    assert np.mean(alike.high - alike.low) > 2 * width[1]  # 200 faces, but ten figures


def test_design_effect_of_two_classes_is_that_of_a_share():
    k, n = np.array([10, 0, 9, 10, 2, 10]), np.full(6, 10)
    assert design_effect(np.stack([k, n - k], 1)[None]) == pytest.approx(n.sum() / effective_size(k, n))
    assert design_effect(np.array([[[10, 0], [10, 0]]])) == 10  # nothing varies
    assert design_effect(np.ones((1, 5, 1), int)) == 1


def test_labels_tell_whether_a_model_errs_here_as_it_did_there():
    def p(one: Confusion, other: Confusion) -> float:
        found = agreement(one, other)
        assert found
        return found["p"]

    random = np.random.default_rng(3)
    good, poor = rates([0.85] * 7), rates([0.4] * 7)
    same = [p(held_out(good, 20, 3, random), held_out(good, 20, 3, random)) for _ in range(20)]
    assert np.mean(np.array(same) < 0.05) <= 0.15
    assert p(held_out(good, 20, 3, random), held_out(poor, 20, 3, random)) < 0.01
    halves = [Confusion(np.diag(row), 1.0, 7) for row in ([9, 9, 9, 0, 0, 0, 0], [0, 0, 0, 9, 9, 9, 9])]
    assert agreement(*halves) is None


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


def test_what_corrects_the_shares_is_chosen_and_said(tmp_path):
    record = held_out(rates([0.85] * 7), 20, 3, np.random.default_rng(5)).as_dict()
    assert confusion_from(record).as_dict() == record
    told, used = correction.choose(faces(tmp_path, 0, 0.85), record)
    assert (
        told["by"] == correction.HELD_OUT
        and used
        and told["test"] is None
        and "no labelled face here can confirm" in told["why"]
    )
    told, used = correction.choose(faces(tmp_path, 140, 0.85), record)
    assert told["by"] == correction.BOTH and used and used.counts.sum() == record["images"] + 140
    assert "on the 140 labelled faces here, which do not contradict each other" in told["why"]
    told, used = correction.choose(faces(tmp_path, 140, 0.2), record)
    assert told["by"] == correction.LABELLED and told["contradicted"] and used and used.counts.sum() == 140
    assert "neutral is read correctly in" in told["why"] and "by how it erred on the 140 labelled faces" in told["why"]
    told, used = correction.choose(faces(tmp_path, 28, 0.0), record)
    assert told["contradicted"] and told["by"] is None and used is None and "no interval is claimed" in told["why"]
    told, used = correction.choose(faces(tmp_path, 0, 0.85, sure="out_of_distribution"), record)
    assert told["foreign"] and told["by"] is None and used is None
    assert "186 of the 280 faces with an answer are unlike all that the model learned from" in told["why"]
    told, used = correction.choose(faces(tmp_path, 0, 0.85), None)
    assert told["by"] is None and used is None and "is not known" in told["why"]


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


def test_a_training_records_its_errors_on_new_figures_alone():
    def answered(labels: list[int], answers: list[int]) -> Predictions:
        return Predictions(np.eye(7, dtype=np.float32)[answers], np.array(labels), np.zeros((0, 2)), np.zeros(0))

    split = {
        "train": answered([0], [0]),
        "validation": answered([0, 1, 2], [0, 2, 2]),
        "test": answered([3, 4], [3, 3]),
    }
    names = {"train": ["a"], "validation": ["b", "b", "a"], "test": ["c", "a"]}
    record = results.held_out_errors(split, names)
    assert record and (record["images"], record["figures"]) == (3, 2)
    assert [record["confusion"][k][j] for k, j in ((0, 0), (1, 2), (3, 3), (2, 2), (4, 3))] == [1, 1, 1, 0, 0]
    assert (
        results.held_out_errors(
            split, dict.fromkeys(("validation", "test"), ["a"] * 3) | {"train": ["a"], "test": ["a", "a"]}
        )
        is None
    )


def test_the_page_leads_with_corrected_shares(tmp_path):
    out = str(tmp_path)
    world = study_tables.make_world(out)
    unlabelled = make_faces(str(tmp_path / "new"), figures=15, labelled=False)
    record = held_out(rates([0.85] * 7), 20, 3, np.random.default_rng(5)).as_dict()
    training = make_training(out, world["dataset"], TrainConfig(network="arm", size=96), 20, held_out=record)
    predictions = study_tables.make_predictions(out, [unlabelled], f"ARM {training.manifest.fingerprint[:6]}", 0.9)
    report = run_stage(report_job([predictions], faces=[unlabelled], models=[training], config=ReportConfig()), out)
    first = report.results["answer"][0]
    assert (
        "answered for 15 of them; corrected for how it errs, the most frequent is" in first and "95 % interval" in first
    )
    page = storage.read_bytes(report.path("index.html")).decode()
    assert (
        "corrected by how the model erred on 420 held-out images of 20 figures" in page
        and "no labelled face here can confirm" in page
    )
    header, row, *_ = storage.read_bytes(report.path("groups.csv")).decode().splitlines()
    assert header == "\ufeffcolumn,group,faces,figures,expression,answered,of,share,low,high,labelled,labels"
    assert row.split(",")[4] == EXPRESSIONS[0] and row.endswith(",,")
