"""Whether models are right as often as they say."""

import numpy as np
import pytest
from report_pages import csv_of, html_of, json_of, words_of

from twfer_dist.core.intervals import wilson
from twfer_dist.engine.artifact import Artifact
from twfer_dist.study.reliability import LEAST_ANSWERS, Reliability, reliability


def found(confidence: np.ndarray, right: np.ndarray, figure: np.ndarray | None = None) -> Reliability:
    figure = np.arange(len(right)) if figure is None else figure
    result = reliability("m", "images", "test", confidence, right, figure)
    assert result
    return result


def calibrated(n: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(3)
    confidence = random.uniform(0.4, 0.98, n)
    return confidence, (random.random(n) < confidence - shift).astype(int)


def test_the_calibration_error_by_hand() -> None:
    """Two bins: 24 of 40 right at 0.5, 20 of 40 at 0.9: (40 * 0.1 + 40 * 0.4) / 80."""
    confidence = np.repeat([0.5, 0.9], 40)
    right = np.concatenate([np.arange(40) < 24, np.arange(40) < 20]).astype(int)
    result = found(confidence, right)
    assert result.error == pytest.approx(0.25)
    assert [(b.confidence, b.right["k"], b.right["n"]) for b in result.bins] == [(0.5, 24, 40), (0.9, 20, 40)]
    assert (result.bins[1].right["low"], result.bins[1].right["high"]) == pytest.approx(wilson(20, 40), abs=1e-6)
    by_chance = np.sqrt(2 / np.pi) * (np.sqrt(40 * 0.5 * 0.5) + np.sqrt(40 * 0.9 * 0.1)) / 80
    assert result.by_chance == pytest.approx(by_chance, abs=1e-6)


def test_a_calibrated_model_errs_as_chance_says() -> None:
    few, many = found(*calibrated(100)), found(*calibrated(4000))
    assert few.by_chance > 4 * many.by_chance
    assert few.error <= few.by_chance_95 and many.error <= many.by_chance_95 and few.low == many.low == 0


def test_an_overconfident_model_is_found() -> None:
    result = found(*calibrated(1000, shift=0.15))
    assert result.error > result.by_chance_95 and result.low and result.high and result.low < 0.15 < result.high
    assert result.confidence > result.right["high"]


def test_images_of_one_figure_leave_more_to_chance() -> None:
    confidence, right = calibrated(100)
    five, fivefold = np.repeat(np.arange(100), 5), (np.repeat(confidence, 5), np.repeat(right, 5))
    assert found(*fivefold, five).by_chance == pytest.approx(np.sqrt(5) * found(*fivefold).by_chance, rel=1e-4)


def test_equal_confidences_stay_in_one_bin() -> None:
    confidence = np.repeat([0.6, 0.8], [90, 30])
    assert [b.right["n"] for b in found(confidence, (np.arange(120) % 2)).bins] == [90, 30]


def test_nothing_is_said_about_few_answers() -> None:
    confidence, right = calibrated(2 * LEAST_ANSWERS - 1)
    assert reliability("m", "images", "test", confidence, right, np.arange(len(right))) is None


def test_the_report_shows_each_model_on_each_kind_of_images(report: Artifact) -> None:
    stated = json_of(report)["reliability"]
    assert {(r["model"], r["split"]) for r in stated} == {
        (model, split) for model in ("ARM", "ResNet-18") for split in ("test", "figures new to the model")
    }
    assert html_of(report).count('<svg class="reliability"') == len(stated)
    rows = csv_of(report, "reliability.csv")
    assert [float(row["error"]) for row in rows if row["error"]] == [r["error"] for r in stated]
    r = stated[0]
    words = f"The expected calibration error is {r['error']:.3f} (95 % interval {r['low']:.3f} to {r['high']:.3f})."
    assert words in words_of(report)
