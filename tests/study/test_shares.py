"""Shares of expressions that are corrected for the model's errors."""

import numpy as np
import pytest
from study_errors import held_out, rates

from twfer_dist.core.intervals import share, simultaneous
from twfer_dist.recognition.calibration import Confusion
from twfer_dist.study.shares import agreement, corrected, solve

TRUTHS = {
    "even": np.full(7, 1 / 7),
    "mostly neutral": np.array([0.02, 0.03, 0.05, 0.1, 0.1, 0.1, 0.6]),
    "four expressions": np.array([0, 0, 0.2, 0.3, 0, 0.1, 0.4]),
    "neutral alone": np.array([0, 0, 0, 0, 0, 0, 1.0]),
}


def test_corrected_intervals_cover_the_true_shares() -> None:
    """All seven shares are in their intervals in 95 % of draws, zeros too; those of the answers alone seldom are."""
    random, together, each, answers_alone = np.random.default_rng(1), [], [], []
    for right in ([0.85] * 7, [0.9, 0.6, 0.7, 0.95, 0.5, 0.8, 0.7]):
        for truth in TRUTHS.values():
            for faces in (30, 170, 500):
                for _ in range(4):
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


def test_shares_are_recovered_from_answers_without_noise() -> None:
    of = rates([0.9, 0.6, 0.7, 0.95, 0.5, 0.8, 0.7])
    truths = np.stack(list(TRUTHS.values()))
    assert solve(np.broadcast_to(of, (4, 7, 7)), truths @ of) == pytest.approx(truths, abs=1e-6)


def test_intervals_are_as_wide_as_the_number_of_figures_asks() -> None:
    random, of = np.random.default_rng(2), rates([0.85] * 7)
    answers = np.stack([random.multinomial(1, of[k]) for k in random.choice(7, 200)])
    width = [float(np.mean(c.high - c.low)) for c in (corrected(answers, held_out(of, n, 3, random)) for n in (6, 60))]
    assert width[1] < 0.8 * width[0]
    alike = corrected(20 * answers[:10], held_out(of, 60, 3, random))
    assert np.mean(alike.high - alike.low) > 2 * width[1]  # 200 faces, but ten figures


def test_agreement_tells_different_errors_apart() -> None:
    def p(one: Confusion, other: Confusion) -> float:
        test = agreement(one, other)
        assert test
        return test["p"]

    random = np.random.default_rng(3)
    good, poor = rates([0.85] * 7), rates([0.4] * 7)
    same = [p(held_out(good, 20, 3, random), held_out(good, 20, 3, random)) for _ in range(20)]
    assert np.mean(np.array(same) < 0.05) <= 0.15
    assert p(held_out(good, 20, 3, random), held_out(poor, 20, 3, random)) < 0.01
    halves = [Confusion(np.diag(row), 1.0, 7) for row in ([9, 9, 9, 0, 0, 0, 0], [0, 0, 0, 9, 9, 9, 9])]
    assert agreement(*halves) is None
