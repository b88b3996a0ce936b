"""How far two models agree: Cohen's kappa, its interval, and the faces on which they differ."""

import pyarrow as pa
import pytest

from twfer_dist.study.agreement import DIFFERING, Comparison, compare

NAMES = ("one", "other")


def answers(labels: list[int], figures: list[str] | None = None, confidence: list[float] | None = None) -> pa.Table:
    count = range(len(labels))
    return pa.table(
        {
            "image_id": pa.array([f"i{k:03d}" for k in count], pa.string()),
            "predicted": pa.array(labels, pa.int8()),
            "confidence": pa.array(confidence or [0.9] * len(labels), pa.float32()),
            "figure": pa.array(figures or [f"f{k}" for k in count], pa.string()),
            "accepted": pa.array([c >= 0.5 for c in confidence or [0.9] * len(labels)], pa.bool_()),
        }
    )


def compared(*tables: pa.Table) -> Comparison:
    found = compare(NAMES, tables[0], tables[1])
    assert found
    return found


def test_kappa_as_cohen_defines_it() -> None:
    """20 and 15 faces on the diagonal of 50: agreement 0.7, by chance 0.5."""
    first, second = [4] * 25 + [7] * 25, [4] * 20 + [7] * 5 + [4] * 10 + [7] * 15
    found = compared(answers(first), answers(second))
    assert found.same["k"] == 35 and found.kappa == pytest.approx(0.4)
    assert found.low is not None and found.high is not None and 0.1 < found.low < 0.4 < found.high < 0.65
    assert found.table[3][6] == 5 and found.table[6][3] == 10


def test_faces_of_one_figure_count_once() -> None:
    first, second = [4, 4, 4, 7, 7, 7] * 5, [4, 4, 4, 4, 4, 4, 7, 7, 7, 7, 7, 7] * 2 + [4, 4, 4, 7, 7, 7]
    alone = compared(answers(first), answers(second))
    figures = [f"f{k // 3}" for k in range(len(first))]
    together = compared(answers(first, figures), answers(second, figures))
    assert together.kappa == alone.kappa
    assert together.low is not None and alone.low is not None and together.low < alone.low


def test_full_agreement_on_few_faces_is_not_certain() -> None:
    found = compared(answers([1, 4, 7, 7, 4, 1, 5, 6]), answers([1, 4, 7, 7, 4, 1, 5, 6]))
    assert found.kappa == found.high == 1.0 and found.low is not None and found.low < 0.7
    assert compared(answers([7] * 9), answers([7] * 9)).kappa is None
    assert compare(NAMES, answers([]), answers([])) is None


def test_the_clearest_differences_come_first() -> None:
    first = answers([1, 1, 1, 1, 1], confidence=[0.9, 0.6, 0.9, 0.95, 0.9])
    second = answers([1, 2, 2, 2, 2], confidence=[0.9, 0.7, 0.8, 0.4, 0.3])
    found = compared(first, second)
    assert found.differing == ["i002", "i001", "i003", "i004"] and found.accepted == {"k": 1, "n": 3}
    assert len(compared(answers([1] * 30), answers([2] * 30)).differing) == DIFFERING
