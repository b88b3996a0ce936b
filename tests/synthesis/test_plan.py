"""The planned images of the animate stage."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from synthesis_tables import face_rows

from twfer_dist.core.errors import UserError
from twfer_dist.core.schema import FACES
from twfer_dist.core.taxonomy import NEUTRAL
from twfer_dist.synthesis import references
from twfer_dist.synthesis.plan import Ways, combinations, planned_images, reachable


@pytest.fixture(scope="module")
def table() -> pa.Table:
    """Three figures with seven expressions each, as the animate stage reads them."""
    rows = pa.Table.from_pylist(face_rows(), schema=FACES)
    return rows.append_column("input", pa.array([0] * len(rows))).append_column("image_digest", rows["face_id"])


def test_planned_counts_are_exact_and_spread_evenly(table: pa.Table) -> None:
    neutral = table.filter((pc.field("label") == NEUTRAL) & (pc.field("status") == "ok"))
    ways = Ways(references.choose([table], 2), [0.2, 0.4, 0.6, 0.8], 19)
    planned = planned_images(neutral, ways)
    assert ways.images(len(neutral)) == len(planned)
    assert len(planned) == 7 * 19 == pc.count_distinct(planned["image_id"]).as_py()
    for label in range(1, 8):
        rows = planned.filter(pc.equal(planned["label"], label))
        faces = Counter(rows["face_id"].to_pylist())
        used = Counter(zip(rows["reference_id"].to_pylist(), rows["level"].to_pylist(), strict=True))
        assert len(faces) == 3 and max(faces.values()) - min(faces.values()) <= 1
        assert len(used) == 8 and max(used.values()) - min(used.values()) <= 1


@pytest.mark.parametrize("per_expression", [None, 5, 19])
def test_faces_planned_apart_give_the_same_images(table: pa.Table, per_expression: int | None) -> None:
    """As workers plan them, some faces each."""
    faces = table.filter(pc.field("status") == "ok").sort_by("face_id")
    ways = Ways(references.choose([table], 2), [0.25, 0.5], per_expression)
    together = planned_images(faces, ways).sort_by("image_id")
    apart = [planned_images(faces.slice(k, 4), ways, k, len(faces)) for k in range(0, len(faces), 4)]
    assert pa.concat_tables(apart).sort_by("image_id").equals(together)
    assert len(together) == ways.images(len(faces))


def test_too_many_images_are_refused() -> None:
    ways = Ways(references.choose([], 0), [0.25, 0.5, 0.75, 1.0], 13)
    with pytest.raises(UserError, match="per_expression is 13 .* only 12 images of surprise"):
        ways.images(3)


@pytest.mark.parametrize(
    ("faces", "ways", "count"), [(58, 46, 2670 // 7), (6, 4, 24), (4, 6, 17), (1, 5, 5), (7, 1, 3)]
)
def test_each_combination_is_taken_once_and_evenly(faces: int, ways: int, count: int) -> None:
    face, way = combinations(faces, np.full(ways, 3), count, 0, faces)
    assert len(set(zip(face.tolist(), way.tolist(), strict=True))) == count
    for taken, of in ((face, faces), (way, ways)):
        counts = np.bincount(taken, minlength=of)
        assert counts.max() - counts.min() <= 1


def test_at_most_takes_what_there_is(table: pa.Table) -> None:
    neutral = table.filter((pc.field("label") == NEUTRAL) & (pc.field("status") == "ok"))
    chosen = references.choose([table], 0)
    assert {reference.reference_id.partition("-")[0] for reference in chosen} == {"prototype"}
    for at_most, images in ((5, 5), (10_000, 4 * len(neutral))):
        assert reachable(at_most, len(neutral), chosen, levels=4) == images
