"""Where Action Units come from, and which of them may be wrong."""

from pathlib import Path

from report_pages import report_on, words_of
from study_tables import face_picture, make_predictions, output

from twfer_dist.core.schema import FACES, PHOTOGRAPHS
from twfer_dist.core.status import OK
from twfer_dist.core.taxonomy import ACTION_UNITS
from twfer_dist.engine.artifact import Artifact
from twfer_dist.measurement.analyzer import SHIPPED, open_analyzer
from twfer_dist.study.units import action_units


def make_measured(
    out: str, network: str, values: list[list[float]], measured_by: str = "network", of_figure: int = 1
) -> Artifact:
    """An output of faces: a face for each list of Action Units, `of_figure` of one figure after another."""
    image = face_picture(0, 1)
    rows = [
        {
            "face_id": f"{k:02d}-00",
            "photo_id": f"{k:02d}",
            "corpus": "warriors",
            "path": f"{k}.jpg",
            "rank": 0,
            "figure_id": f"{k // of_figure}",
            "status": OK,
            "action_units": units,
            "action_units_from": measured_by,
            "image": image,
            "width": 96,
            "height": 96,
        }
        for k, units in enumerate(values)
    ]
    photographs = [{key: row[key] for key in ("photo_id", "corpus", "path", "status")} | {"faces": 1} for row in rows]
    tables = {"photographs": (PHOTOGRAPHS, photographs), "faces": (FACES, rows)}
    return output(out, "faces", tables, detector="drawn", network=network)


def test_a_unit_far_above_the_heads_gives_a_warning(tmp_path: Path) -> None:
    network, stretched = open_analyzer(SHIPPED).sha256, ACTION_UNITS.index("AU20")

    def far(values: list[list[float]], by: str = network, of_figure: int = 1) -> list[tuple[str, int, int]]:
        (sources,) = action_units([make_measured(str(tmp_path), by, values, of_figure=of_figure)])
        return [(unit.unit, unit.high, unit.figures) for unit in sources.far]

    def figures(high: int, of: int) -> list[list[float]]:
        return [[3.0 if unit == stretched and k < high else 0.1 for unit in range(17)] for k in range(of)]

    assert far(figures(9, 11)) == [("AU20", 9, 11)]
    assert far(figures(4, 11)) == []  # an expression that some share
    assert far(figures(2, 2)) == []  # too few to tell from chance
    assert far(figures(9, 11), "another network") == []  # how it measures the heads is unknown
    assert far(figures(1, 3) * 11, of_figure=3) == []  # every figure shows it in one of three faces
    assert far(figures(3, 3) * 11, of_figure=3) == [("AU20", 11, 11)]
    faces = make_measured(str(tmp_path), network, figures(9, 11))
    words = words_of(report_on(str(tmp_path), faces, make_predictions(str(tmp_path), [faces], "ARM", 0.9)))
    assert "AU20 (lips stretched) is 2.5 on average in warriors." in words
    assert "In 9 of 11 figures it is higher than in 75 of 100 rendered heads" in words


def test_action_units_of_openface_are_attributed_to_it(tmp_path: Path) -> None:
    faces = make_measured(str(tmp_path), "any", [[1.0] * 17] * 4, measured_by="openface")
    words = words_of(report_on(str(tmp_path), faces, make_predictions(str(tmp_path), [faces], "ARM", 0.9)))
    source = "come from openface.csv beside the photographs, not from the network."
    assert f"The Action Units of 4 faces in warriors {source}" in words
