"""The results of a trained recogniser."""

import numpy as np

from twfer_dist.recognition import results
from twfer_dist.recognition.predictions import Predictions


def test_errors_are_recorded_on_new_figures_only() -> None:
    def predicted(labels: list[int], classes: list[int]) -> Predictions:
        return Predictions(np.eye(7, dtype=np.float32)[classes], np.array(labels), np.zeros((0, 2)), np.zeros(0))

    split = {
        "train": predicted([0], [0]),
        "validation": predicted([0, 1, 2], [0, 2, 2]),
        "test": predicted([3, 4], [3, 3]),
    }
    names = {"train": ["a"], "validation": ["b", "b", "a"], "test": ["c", "a"]}
    record = results.held_out_errors(split, names)
    assert record and (record["images"], record["figures"]) == (3, 2)
    assert [record["confusion"][k][j] for k, j in ((0, 0), (1, 2), (3, 3), (2, 2), (4, 3))] == [1, 1, 1, 0, 0]
    names = {"train": ["a"], "validation": ["a"] * 3, "test": ["a", "a"]}
    assert results.held_out_errors(split, names) is None
