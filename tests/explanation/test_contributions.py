"""What each Action Unit adds to the reader's answer, against the definition."""

from itertools import permutations

import numpy as np
import pytest

from twfer_dist.core.prototypes import prototype
from twfer_dist.core.taxonomy import ACTION_UNITS, label_of
from twfer_dist.explanation.contributions import contributions
from twfer_dist.reading.reader import Reader, open_reader

HAPPINESS = label_of("happiness")
RAISED = [ACTION_UNITS.index(unit) for unit in ("AU06", "AU12", "AU25")]


@pytest.fixture(scope="module")
def reader() -> Reader:
    return open_reader()


def smile(reader: Reader) -> np.ndarray:
    """A face at rest but for the three units of a smile."""
    units = reader.rest.copy()
    units[RAISED] = prototype("happiness")[RAISED]
    return units


def test_contributions_are_shapley_values(reader: Reader) -> None:
    """With three units away from rest, the mean over their six orders can be written out."""

    def probability(raised: tuple[int, ...]) -> float:
        units = reader.rest.copy()
        units[list(raised)] = smile(reader)[list(raised)]
        return float(reader.read(units, None).probabilities[HAPPINESS - 1])

    expected = np.zeros(17)
    for order in permutations(RAISED):
        for place, unit in enumerate(order):
            expected[unit] += (probability(order[: place + 1]) - probability(order[:place])) / 6
    found, at_rest = contributions(reader, smile(reader), None, HAPPINESS, "face")
    assert at_rest == pytest.approx(probability(()), abs=1e-5)
    assert np.allclose(found, expected, atol=0.06)
    assert np.allclose(np.delete(found, RAISED), 0, atol=1e-6)


def test_contributions_add_up_to_the_answer(reader: Reader) -> None:
    units, half_width = np.linspace(0, 3, 17, dtype=np.float32), np.full(17, 0.5, np.float32)
    probabilities = reader.read(units, half_width).probabilities
    for label in (1, 7):
        found, at_rest = contributions(reader, units, half_width, label, "face")
        assert found.sum() + at_rest == pytest.approx(probabilities[label - 1], abs=1e-4)


def test_contributions_depend_on_the_face_alone(reader: Reader) -> None:
    units = smile(reader)
    first = contributions(reader, units, None, HAPPINESS, "face")[0]
    contributions(reader, units, None, HAPPINESS, "another")
    assert np.array_equal(first, contributions(reader, units, None, HAPPINESS, "face")[0])
