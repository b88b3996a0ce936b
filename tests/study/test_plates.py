"""Plates of the faces that show a unit most and least."""

from pathlib import Path

from measured_faces import face, faces_output, units

from twfer_dist.core.taxonomy import ACTION_UNITS
from twfer_dist.study.measured import read_measured
from twfer_dist.study.plates import PICTURES, Plate, plates

SMILE = ACTION_UNITS.index("AU12")


def plate(tmp_path: Path, rows: list[dict]) -> Plate:
    outputs = [faces_output(tmp_path, rows)]
    return plates(read_measured(outputs), outputs)[SMILE]


def test_faces_are_in_order_and_one_of_each_figure(tmp_path: Path) -> None:
    rows = [face(str(k // 2), units(AU12=k / 10)) for k in range(40)]  # two faces of each figure
    found = plate(tmp_path, rows)
    assert [f.value for f in found.strongest] == [3.9, 3.7, 3.5, 3.3, 3.1, 2.9]
    assert [f.value for f in found.weakest] == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert (found.strongest[0].low, found.strongest[0].high, found.weakest[0].low) == (3.7, 4.1, 0.0)
    assert found.strongest[0].path == "39.jpg" and found.strongest[0].image


def test_a_doubtful_measurement_wins_on_neither_side(tmp_path: Path) -> None:
    rows = [face(str(k), units(AU12=1 + k / 10)) for k in range(2 * PICTURES)]
    rows += [face("high", units(AU12=3.0), half_width=2.9), face("low", units(AU12=0.5), half_width=2.9)]
    found = plate(tmp_path, rows)
    assert found.strongest[0].value == 2.1 and found.weakest[0].value == 1.0


def test_of_equal_ends_the_larger_value_wins(tmp_path: Path) -> None:
    rows = [face("nothing", units(AU12=0.1), half_width=0.1), face("maybe", units(AU12=2.0), half_width=2.1)]
    assert plate(tmp_path, rows).strongest[0].value == 2.0  # nothing is certain of either, but less of the first


def test_a_refused_face_is_on_no_plate(tmp_path: Path) -> None:
    rows = [face("a", units(AU12=1.0)), face("b", units(AU12=5.0), status="low_quality"), face("c", units())]
    assert [f.value for f in plate(tmp_path, rows).strongest] == [1.0]


def test_few_figures_are_on_one_side_alone(tmp_path: Path) -> None:
    three = plate(tmp_path, [face(str(k), units(AU12=k)) for k in range(3)])
    assert ([f.value for f in three.strongest], [f.value for f in three.weakest]) == ([2.0, 1.0], [0.0])
    one = plate(tmp_path, [face("a", units(AU12=1.0))])
    assert (len(one.strongest), len(one.weakest)) == (1, 0)
    assert plates(read_measured([]), []) == []
