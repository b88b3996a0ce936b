"""The sentences on similarity: they name the direction, the doubt, and too few figures."""

import pytest

from twfer_dist.core.language import use_language
from twfer_dist.similarity import answer
from twfer_dist.similarity.means import BETWEEN, DIFFERENCE, SAME_FIGURE, WITHIN, Similarity


def mean(measure: str, value: float, low: float | None = None, high: float | None = None) -> Similarity:
    second = "people" if measure in (BETWEEN, DIFFERENCE) else "statues"
    return Similarity(measure, "statues", second, value, low, high, pairs=1234, faces=60, figures=50)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (mean(DIFFERENCE, 0.26, 0.2, 0.32), "more like each other than like those of people, by 0.26 (0.20 to 0.32)"),
        (
            mean(DIFFERENCE, -0.26, -0.32, -0.2),
            "less like each other than like those of people, by 0.26 (0.20 to 0.32)",
        ),
        (mean(DIFFERENCE, 0.02, -0.1, 0.14), "not measurably more or less like each other"),
        (mean(DIFFERENCE, 0.26), "Too few figures to say"),
    ],
)
def test_a_difference_is_said_with_its_doubt(row: Similarity, words: str) -> None:
    assert words in answer.difference(row)


def test_each_mean_is_said_in_every_language() -> None:
    rows = [mean(WITHIN, 0.54, 0.5, 0.58), mean(BETWEEN, 0.28), mean(DIFFERENCE, 0.26, 0.2, 0.32)]
    within, between = answer.answer(rows)
    assert within == "Within statues: 0.54 (0.50 to 0.58); 1,234 pairs of 60 faces, 50 figures."
    assert between.startswith("Between statues and people: 0.28 (too few figures for an interval); 1,234 pairs")
    assert between.endswith(
        "Faces of statues are more like each other than like those of people, by 0.26 (0.20 to 0.32)."
    )
    with use_language("zh"):
        chinese = answer.answer(rows)[0]
    assert "0.54" in chinese and "1,234" in chinese and "Within" not in chinese


def test_a_group_stands_between_others_and_one_figure() -> None:
    said = answer.scale(mean(WITHIN, 0.54), mean(BETWEEN, 0.28), mean(SAME_FIGURE, 0.8))
    assert said.endswith("two figures of statues stand at 50.")
