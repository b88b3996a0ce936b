"""Action Units of all faces and by group, with figures as samples."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from measured_faces import face, faces_output, units
from report_pages import csv_of, html_of, json_of, report_on, words_of

from twfer_dist.core.errors import UserError
from twfer_dist.core.status import LOW_QUALITY
from twfer_dist.core.taxonomy import ACTION_UNITS
from twfer_dist.study.measured import MeasuredFaces, read_measured
from twfer_dist.study.profile import Profile, profile, units_sentence

SMILE, FROWN = ACTION_UNITS.index("AU12"), ACTION_UNITS.index("AU04")


def profile_of(tmp_path: Path, rows: list[dict[str, Any]], **options: Any) -> Profile:
    return profile(read_measured([faces_output(tmp_path, rows)]), **options)


def of_unit(entry: dict[str, Any] | None, unit: int = SMILE) -> dict[str, Any]:
    assert entry
    return entry["units"][unit]


def test_a_figure_counts_once_with_its_average(tmp_path: Path) -> None:
    often = [face("one", units(AU12=value)) for value in (4.0, 3.0, 2.0)]
    found = profile_of(tmp_path, [*often, face("two", units(AU12=1.0)), face("two", units(), status=LOW_QUALITY)])
    assert found.overall and (found.overall["figures"], found.overall["faces"]) == (2, 4)
    assert of_unit(found.overall)["mean"] == 2.0  # of 3 and 1; the refused face does not count
    assert (of_unit(found.overall)["name"], of_unit(found.overall)["present"]["k"]) == ("lip corners pulled", 2)


def test_equal_names_in_two_corpora_are_two_figures(tmp_path: Path) -> None:
    rows = [face("1", units(AU12=3.0), corpus="warriors"), face("1", units(AU12=1.0), corpus="busts")]
    found = profile_of(tmp_path, rows)
    assert found.overall and found.overall["figures"] == 2
    assert [(c["column"], [v["value"] for v in c["values"]]) for c in found.columns] == [
        ("corpus", ["busts", "warriors"])
    ]


def test_a_unit_is_clear_where_its_low_end_is(tmp_path: Path) -> None:
    rows = [
        face("sure", units(AU12=1.0), half_width=0.4),
        face("doubtful", units(AU12=3.0), half_width=2.9),
        face("openface", units(AU12=0.6), half_width=None),  # has no interval: the value counts
    ]
    present = of_unit(profile_of(tmp_path, rows).overall)["present"]
    assert (present["k"], present["n"]) == (2, 3) and present["low"] < 2 / 3 < present["high"]


def test_the_intervals_of_means_cover() -> None:
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        values = random.normal(2.0, 0.5, (6, 17)).astype(np.float32)
        faces = MeasuredFaces(
            pa.chunked_array([[""] * 6]), np.zeros(6, int), np.arange(6), values, values, frozenset(), {}
        )
        entry = profile(faces).overall
        covered += sum(u["low"] <= 2.0 <= u["high"] for u in (entry or {})["units"])
    assert 0.94 < covered / (400 * 17) < 0.96


def test_groups_that_differ_are_found(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    rows = [
        face(f"{posture}{k}", random.normal(1, 0.3, 17).clip(0) + np.array(units(AU12=up)), groups={"posture": posture})
        for posture, up in (("general", 2.0), ("civil", 0.0), ("kneeling", 0.0))
        for k in range(10)
    ]
    (column,) = profile_of(tmp_path, rows).columns
    assert [v["value"] for v in column["values"]] == ["kneeling", "general", "civil"]  # the paper's order
    assert [t["unit"] for t in column["tests"] if t["differs"]] == ["AU12"]
    smile = column["tests"][SMILE]
    assert (smile["p"], smile["highest"]) == (0.001, "general") and smile["difference"] > 1.5


def test_groups_of_one_figure_prove_nothing(tmp_path: Path) -> None:
    rows = [face("a", units(AU12=5.0), groups={"posture": "general"}) for _ in range(20)]
    rows += [face("b", units(), groups={"posture": "civil"}) for _ in range(20)]
    (column,) = profile_of(tmp_path, rows).columns
    assert column["tests"][SMILE]["p"] == 1.0 and not column["tests"][SMILE]["differs"]
    assert of_unit(column["values"][0])["low"] is None  # no interval from one figure
    assert column["tests"][FROWN]["p"] is None  # it does not vary at all


def test_only_named_columns_are_compared(tmp_path: Path) -> None:
    rows = [face(str(k), units(), groups={"pit": str(k % 2), "year": str(1974 + k % 2)}) for k in range(8)]
    assert [c["column"] for c in profile_of(tmp_path, rows).columns] == ["pit"]  # years are no groups
    assert [c["column"] for c in profile_of(tmp_path, rows, named=["year"]).columns] == ["year"]
    with pytest.raises(UserError, match="no column 'posture' to group by: choose one of pit, year"):
        profile_of(tmp_path, rows, named=["posture"])


def test_the_sentence_names_the_unit_and_its_doubt(tmp_path: Path) -> None:
    rows = [face(str(k), units(AU12=3.0 if k < 3 else 0.0, AU20=4.0)) for k in range(12)]
    said = units_sentence(profile_of(tmp_path, rows, doubtful=["AU20"]))
    assert (
        "lip corners pulled (AU12): it is clearly present in 3 of 12 figures (25.0 %, 95 % interval 8.9 to 53.2 %)"
        in said
    )
    assert "Lips stretched (AU20) may be measured too high on these faces" in said
    assert units_sentence(profile_of(tmp_path, [face("a", units())])).startswith("No movement is clearly present")


def test_a_report_on_faces_alone_answers(tmp_path: Path) -> None:
    rows = [
        face(
            f"{k}",
            units(AU12=3.0 + k % 3 / 10 if k < 8 else k % 3 / 10),
            groups={"posture": "general" if k < 8 else "civil"},
        )
        for k in range(16)
    ]
    report = report_on(str(tmp_path), faces_output(tmp_path, rows))
    found, movements = report.results["answer"]
    assert "found 16 faces in 16 photographs, and could measure the movements of 16." in found
    assert "clearly present in 8 of 16 figures" in movements
    assert "it is 3.0 of 5 higher in general than in civil, more than other light and another view alone" in movements
    assert "Which movements the faces show" in words_of(report)
    study = json_of(report)
    assert study["profile"]["columns"][0]["tests"][SMILE]["beyond"] is True
    assert len(study["plates"]) == 17 and "image" not in study["plates"][0]["strongest"][0]
    row = next(r for r in csv_of(report, "units_by_group.csv") if (r["group"], r["unit"]) == ("general", "AU12"))
    assert (row["present"], row["of"], row["p"], row["differs"]) == ("8", "8", "0.001", "true")


def test_a_suspicious_unit_is_marked_in_its_rows(tmp_path: Path) -> None:
    report = report_on(str(tmp_path), faces_output(tmp_path, [face(str(k), units(AU20=4.0)) for k in range(11)]))
    assert html_of(report).count("may be wrong</span>") == 2  # in the table and at the plate
    assert "No movement is clearly present in any of 11 figures." in report.results["answer"][1]


@pytest.mark.parametrize("faces", [0, 1])
def test_a_folder_with_few_faces_or_units(tmp_path: Path, faces: int) -> None:
    without = face("nothing", units())
    without |= {"action_units": None, "action_units_half_width_90": None, "action_units_from": None}
    report = report_on(str(tmp_path), faces_output(tmp_path, [without, *[face("a", units(AU12=2.0))] * faces]))
    assert ("Which movements the faces show" in words_of(report)) == bool(faces)
    assert len(csv_of(report, "units_by_group.csv")) == 17 * faces
    if not faces:
        assert report.results["answer"][1].startswith("No face was good enough to be measured")
