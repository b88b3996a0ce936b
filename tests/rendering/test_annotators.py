"""Simulated annotators."""

import numpy as np
import pytest

from twfer_dist.core.prototypes import prototype
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.rendering.annotators import ANNOTATORS, evidence, votes
from twfer_dist.rendering.facs import performed


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_is_nearest_to_its_own_prototype(expression: str) -> None:
    assert EXPRESSIONS[int(evidence(prototype(expression)).argmax())] == expression
    rng = np.random.default_rng(1)
    assert not performed(expression, 0, rng).any()
    nearest = [EXPRESSIONS[int(evidence(performed(expression, 1, rng)).argmax())] for _ in range(50)]
    assert nearest.count(expression) >= 45


def test_annotators_agree_on_strong_expressions_only() -> None:
    def agreement(intensity: float) -> float:
        rng = np.random.default_rng(2)
        shares = []
        for expression in EXPRESSIONS[:-1]:
            for _ in range(20):
                labels = [vote.split("+") for vote in votes(performed(expression, intensity, rng), rng).split(";")]
                assert len(labels) == ANNOTATORS
                assert all(1 <= len(vote) <= 3 and len(set(vote)) == len(vote) for vote in labels)
                shares.append(sum(expression in vote for vote in labels) / ANNOTATORS)
        return float(np.mean(shares))

    assert agreement(1.0) > 0.9 > 0.65 > agreement(0.35) > 0.2
