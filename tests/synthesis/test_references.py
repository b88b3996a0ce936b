"""The rule that chooses the faces that an expression is copied from."""

import numpy as np
import pyarrow as pa
import pytest

from twfer_dist.core.prototypes import prototype
from twfer_dist.core.status import OK
from twfer_dist.core.taxonomy import NEUTRAL
from twfer_dist.synthesis import references


@pytest.fixture
def faces() -> pa.Table:
    fear = prototype("fear")
    smile = np.zeros(17, np.float32)
    smile[[6, 8, 9]] = 4
    rows = [
        ("a-0", "x", 2, 0.9 * fear),
        ("b-0", "x", 2, 0.8 * fear),  # less clear, of the same figure
        ("c-0", "y", 2, 0.5 * fear),
        ("d-0", "z", 2, 0.9 * fear + smile),  # strong, but mixed with a smile
        ("e-0", "w", None, fear),
        ("n-0", "x", NEUTRAL, 0 * fear),
        ("m-0", "y", NEUTRAL, 0.1 * fear),
    ]
    return pa.table(
        {
            "face_id": [r[0] for r in rows],
            "corpus": ["k"] * len(rows),
            "figure_id": [r[1] for r in rows],
            "label": pa.array([r[2] for r in rows], pa.int8()),
            "action_units": pa.array([list(map(float, r[3])) for r in rows], pa.list_(pa.float32(), 17)),
            "status": [OK] * len(rows),
        }
    )


def test_the_clearest_faces_of_different_figures_are_chosen(faces: pa.Table) -> None:
    chosen = references.choose([faces], 2)
    assert [r.reference_id for r in chosen if r.label == 2] == ["a-0", "c-0"]
    assert [r.reference_id for r in chosen if r.label == NEUTRAL] == ["n-0", "m-0"]


def test_figures_of_two_corpora_may_share_an_id(faces: pa.Table) -> None:
    fear = faces.slice(0, 3)
    other = fear.set_column(0, "face_id", pa.array(["f-0", "g-0", "h-0"]))
    other = other.set_column(1, "corpus", pa.array(["l"] * 3))
    chosen = references.choose([fear, other], 4)
    assert [r.reference_id for r in chosen if r.label == 2] == ["a-0", "f-0", "c-0", "h-0"]


def test_without_a_labelled_face_the_prototype_is_the_reference(faces: pa.Table) -> None:
    chosen = references.choose([faces], 2)
    assert [r.reference_id for r in chosen if r.label == 1] == ["prototype-surprise"]
    assert {r.reference_id.split("-")[0] for r in references.choose([faces], 1, ("elsewhere",))} == {"prototype"}
