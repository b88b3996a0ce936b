"""Requested and measured Action Units."""

import numpy as np
import pytest

from twfer_dist.core.prototypes import prototype
from twfer_dist.core.taxonomy import ACTION_UNITS, EXPRESSIONS
from twfer_dist.synthesis.evaluation import control


def test_correlation_of_requested_and_measured_change() -> None:
    random = np.random.default_rng(0)
    requested = random.normal(0, 2, (200, 17))
    requested[:, 2] = 0  # never requested
    measured = 0.5 * requested + random.normal(0, 0.001, requested.shape)
    measured[:, 3] *= -1
    measured[:, 4] = 0  # never varies
    measured[7] = np.nan  # no face found
    scores = control.correlations(requested, measured, np.repeat(np.arange(20), 10))
    by_au = scores["by_au"]
    assert list(by_au) == list(ACTION_UNITS) and (scores["n"], scores["figures"]) == (199, 20)
    assert by_au["AU01"] == pytest.approx(1, abs=1e-3) and by_au["AU05"] == pytest.approx(-1, abs=1e-3)
    assert by_au["AU04"] is None and by_au["AU06"] == 0
    assert scores["mean"] == pytest.approx((14 - 1 + 0) / 16, abs=1e-3)
    assert scores["low"] == pytest.approx(scores["mean"], abs=1e-3) == scores["high"]


def test_correlation_is_numpys_with_an_interval_by_figure() -> None:
    random = np.random.default_rng(1)
    requested = random.normal(0, 2, (240, 17))
    measured = (requested + random.normal(0, 2, requested.shape)).astype(np.float32)
    alone = control.correlations(requested, measured, np.arange(240))
    for unit, name in enumerate(ACTION_UNITS):
        expected = np.corrcoef(requested[:, unit], measured[:, unit])[0, 1]
        assert alone["by_au"][name] == pytest.approx(expected, abs=1e-4)
    assert alone["low"] < np.sqrt(0.5) < alone["high"] and alone["high"] - alone["low"] < 0.06
    # Each picture twice, of one figure: nothing more is known.
    twice = control.correlations(requested.repeat(2, 0), measured.repeat(2, 0), np.arange(240).repeat(2))
    assert (twice["low"], twice["high"]) == pytest.approx((alone["low"], alone["high"]), abs=1e-4)
    of_one = control.correlations(requested, measured, np.zeros(240))
    assert of_one["mean"] == alone["mean"] and of_one["low"] is None
    no_face = control.correlations(requested, np.full_like(measured, np.nan), np.arange(240))
    assert no_face["mean"] is None and no_face["n"] == 0


def test_strength_is_the_length_along_the_prototype() -> None:
    for label, expression in enumerate(EXPRESSIONS[:-1], start=1):
        full = prototype(expression)
        assert control.strengths(0.4 * full, label) == pytest.approx(0.4 * np.linalg.norm(full))
    across = np.zeros(17)
    across[ACTION_UNITS.index("AU12")] = 5
    assert control.strengths(across, 1) == pytest.approx(0)


def test_a_tie_does_not_rise() -> None:
    rows = np.array([[0, 1, 2], [0, 1, 1], [0, 2, 1], [0, 0, 0], [0, np.nan, 2]])
    assert control.rises(rows).tolist() == [True, False, False, False, False]


def test_references_that_give_the_same_have_no_effect() -> None:
    effect = control.reference_effect(np.arange(6.0)[:, None] + np.zeros(3))
    assert effect == {"references": 3, "lowest": 2.5, "highest": 2.5, "share_of_variance": 0.0}


def test_references_explain_their_share_of_the_variance() -> None:
    alone = control.reference_effect(np.zeros((6, 1)) + np.array([1, 4]))
    assert (alone["lowest"], alone["highest"], alone["share_of_variance"]) == (1, 4, 1)
    half = control.reference_effect(np.array([[0.0, 2.0], [2.0, 4.0]]))
    assert half["share_of_variance"] == pytest.approx(0.5)
