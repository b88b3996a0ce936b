"""The clearest face of each expression, and the reading relative to the median face."""

from pathlib import Path

import pyarrow as pa
from study_roads import PAPER, make_road
from study_tables import images_of, make_faces

from twfer_dist.core.schema import FACES
from twfer_dist.study.answers import answers_of, clearest, relative_readings
from twfer_dist.study.roads import READER


def table(*rows: tuple[str, int | None, float, bool]) -> pa.Table:
    figures, labels, confidence, accepted = zip(*rows, strict=True)
    return pa.table(
        {
            "image_id": [f"{figure}-{k}" for k, figure in enumerate(figures)],
            "figure": figures,
            "predicted": pa.array(labels, pa.int8()),
            "confidence": confidence,
            "accepted": accepted,
        }
    )


def test_each_figure_shows_one_expression() -> None:
    first = table(("a", 4, 0.9, True), ("a", 5, 0.8, True), ("b", 5, 0.7, True), ("c", 6, 0.99, False))
    second = table(("a", 6, 0.9, True), ("d", 6, 0.6, True), ("e", 4, 0.95, True), ("f", None, 0.0, False))
    chosen = [(c["expression"], c["face_id"], c["model"]) for c in clearest([("one", first), ("other", second)])]
    assert chosen == [("happiness", "a-0", "one"), ("sadness", "b-2", "one"), ("anger", "d-1", "other")]


def test_answers_are_those_of_one_model(tmp_path: Path) -> None:
    faces = make_faces(str(tmp_path), figures=6)
    roads = [
        make_road(str(tmp_path), faces, READER, {0: (4, 0.9), 1: (7, 0.8), 2: (5, 0.4)}),
        make_road(str(tmp_path), faces, PAPER, {0: (5, 0.9)}),
    ]
    found = answers_of(roads, images_of(roads[0]), READER)
    assert found["image_id"].to_pylist() == faces.table("faces", FACES)["face_id"].to_pylist()
    assert sorted(filter(None, found["predicted"].to_pylist())) == [4, 5, 7] and sum(found["accepted"].to_pylist()) == 2
    relative = relative_readings(roads, found)
    assert relative and (relative["n"], relative["changed"]) == (3, 2)
    assert relative["first"] == [0, 0, 0, 1, 1, 0, 1] and relative["relative"] == [0, 0, 0, 0, 0, 0, 3]
    assert relative["most"] == {"from": "happiness", "to": "neutral", "k": 1}
