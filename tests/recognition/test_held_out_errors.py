"""The errors on held-out figures that a training records."""

import numpy as np

from twfer_dist.recognition import train_stage
from twfer_dist.recognition.training import Answers


def test_errors_are_recorded_on_new_figures_only() -> None:
    def answered(labels: list[int], answers: list[int]) -> Answers:
        return Answers(np.eye(7, dtype=np.float32)[answers], np.array(labels), np.zeros((0, 2)), np.zeros(0))

    split = {
        "train": answered([0], [0]),
        "validation": answered([0, 1, 2], [0, 2, 2]),
        "test": answered([3, 4], [3, 3]),
    }
    names = {"train": ["a"], "validation": ["b", "b", "a"], "test": ["c", "a"]}
    record = train_stage._held_out(split, names)
    assert record and (record["images"], record["figures"]) == (3, 2)
    assert [record["confusion"][k][j] for k, j in ((0, 0), (1, 2), (3, 3), (2, 2), (4, 3))] == [1, 1, 1, 0, 0]
    names = {"train": ["a"], "validation": ["a"] * 3, "test": ["a", "a"]}
    assert train_stage._held_out(split, names) is None
