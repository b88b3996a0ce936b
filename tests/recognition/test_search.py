"""Which settings a sweep tries."""

import importlib.util

import pytest

from twfer_dist.core.errors import UserError
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.recognition.search import SweepConfig, check_optuna
from twfer_dist.recognition.train_config import TrainConfig

SOFTMAX = TrainConfig(loss="softmax")


def test_trials_are_spread_evenly_over_the_ranges() -> None:
    points = SweepConfig(trials=50).points()
    assert all(0.1 <= p["alpha"] <= 0.9 and 0 <= p["gamma"] <= 4 and 3e-5 <= p["learning_rate"] <= 1e-3 for p in points)
    assert sorted(int((p["alpha"] - 0.1) / 0.8 * 50) for p in points) == pytest.approx(list(range(50)), abs=1)
    assert SweepConfig(trials=50, search="random").points() != points


def test_a_grid_has_every_combination() -> None:
    config = SweepConfig(search="grid", alpha=(0.25, 0.5), gamma=(0.0, 1.0, 2.0), learning_rate=(1e-4,))
    points = config.points()
    assert len(points) == config.count == 6 and points[0] == {"alpha": 0.25, "gamma": 0.0, "learning_rate": 1e-4}
    assert config.trial(points[5]) == TrainConfig(alpha=0.5, gamma=2.0, learning_rate=1e-4)


def test_each_expression_may_have_its_own_alpha() -> None:
    config = SweepConfig(train=SOFTMAX, class_alphas=(0.5, 2.0), trials=3)
    point = config.points()[0]
    assert list(point) == [*(f"alpha_{name}" for name in EXPRESSIONS), "gamma", "learning_rate"]
    assert config.trial(point).class_alphas == tuple(point[f"alpha_{name}"] for name in EXPRESSIONS)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"train": SOFTMAX}, "a sweep needs the sigmoid loss, or class_alphas"),
        ({"class_alphas": (0.5, 2.0)}, "class_alphas are of the softmax loss"),
        ({"train": SOFTMAX, "class_alphas": (0.5, 2.0), "search": "grid"}, "too many points"),
        ({"alpha": (0.1, 0.2, 0.3)}, "use two numbers, the lowest and the highest"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused(settings: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SweepConfig(**settings)


def test_without_optuna_one_sentence_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    check_optuna(SweepConfig(search="latin"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"search: tpe needs Optuna.* pip install 'twfer_dist\[optuna\]'"):
        check_optuna(SweepConfig(search="tpe"))
