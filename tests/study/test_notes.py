"""Notes on how photographs were found and read, and where Action Units come from."""

import re
import pyarrow as pa
import pytest
from study_tables import answer_to, face_picture, make_faces, make_predictions, make_training, make_world, output
from twfer_dist.core.schema import FACES, PHOTOGRAPHS, PREDICTIONS
from twfer_dist.core.status import OK
from twfer_dist.core.taxonomy import ACTION_UNITS
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import run_stage
from twfer_dist.measurement.analyzer import SHIPPED, open_analyzer
from twfer_dist.measurement.quality import LOW_QUALITY
from twfer_dist.recipe.study import study_recipe
from twfer_dist.recognition.training import TrainConfig
from twfer_dist.study.groups import distributions
from twfer_dist.study.metrics import COUNTED, GROUP
from twfer_dist.study.report import ReportConfig, report_job
from twfer_dist.study.units import action_units

AGREEMENT = {"kappa": 0.561, "low": 0.5, "high": 0.62, "photographs": 40, "annotators": 6}


def measured(
    out: str, network: str, values: list[list[float]], figure_id: str = "network", of_figure: int = 1
) -> Artifact:
    """An output of faces: a face for each list of Action Units, `of_figure` of one figure after another."""
    rows = [{"face_id": f"{k:02d}-00", "photo_id": f"{k:02d}", "corpus": "warriors", "path": f"{k}.jpg",
        "rank": 0, "figure_id": f"{k // of_figure}", "status": OK, "action_units": units,
        "action_units_from": figure_id, "image": face_picture(k, 1), "width": 96, "height": 96, } for k,
        units in enumerate(values) ]  # fmt: skip
    photographs = [
        {"photo_id": row["photo_id"], "corpus": "warriors", "path": row["path"], "status": OK, "faces": 1}
        for row in rows
    ]
    tables = {"photographs": (PHOTOGRAPHS, photographs), "faces": (FACES, rows)}

    def do(work: StageOutput) -> None:
        work.results = {"detector": "drawn", "network": network}
        for name, (schema, several) in tables.items():
            work.write_table(
                name, pa.Table.from_pylist([{n: row.get(n) for n in schema.names} for row in several], schema=schema)
            )

    kinds = {"photographs": PHOTOGRAPHS, "faces": FACES}
    return run_stage(
        StageSpec(
            "faces",
            1,
            {},
            {"values": values, "figure_id": figure_id, "network": network, "of": of_figure},
            {},
            kinds,
            do,
        ),
        out,
    )


def test_notes_and_agreement_are_told(tmp_path) -> None:
    made = make_faces(str(tmp_path), figures=9)
    photographs, rows = (
        made.table(name, schema).to_pylist() for name, schema in (("photographs", PHOTOGRAPHS), ("faces", FACES))
    )
    for row in photographs[:2]:
        row["note"] = "The first of 3 pages was read."
    rows[0]["note"] = "Found in the photograph turned by 90 degrees."
    tables = {"photographs": (PHOTOGRAPHS, photographs), "faces": (FACES, rows)}
    about = {
        "warriors": {
            "agreement": AGREEMENT,
            "said": ["warriors: 13 files passed over: notes.txt and 12 of other kinds"],
        },
        "others": {},
    }
    faces = output(str(tmp_path), "faces", tables, detector="drawn", corpora=about)
    report = written(str(tmp_path), faces, make_predictions(str(tmp_path), [faces], "ARM", 0.9))
    text = words_of(page_of(report))
    assert "warriors: 13 files passed over: notes.txt and 12 of other kinds." in text
    assert re.search(r"The first of 3 pages was read\. \(warriors: [^)]* and 1 more\)", text)
    assert "Found in the photograph turned by 90 degrees. (warriors:" in text
    assert (
        "How far annotators agree on warriors Fleiss’ kappa is 0.56 (95 % interval 0.50 to 0.62) on 40 photographs"
        in text
    )


def test_a_unit_far_above_the_heads_is_warned_of(tmp_path) -> None:
    network, stretched = open_analyzer(SHIPPED).sha256, ACTION_UNITS.index("AU20")

    def far(values: list[list[float]], made_by: str = network, of_figure: int = 1) -> list[tuple[str, int, int]]:
        (entry,) = action_units([measured(str(tmp_path), made_by, values, of_figure=of_figure)])
        return [(unit["unit"], unit["high"], unit["figures"]) for unit in entry["far"]]

    def figures(high: int, of: int) -> list[list[float]]:
        return [[3.0 if unit == stretched and k < high else 0.1 for unit in range(17)] for k in range(of)]

    assert far(figures(9, 11)) == [("AU20", 9, 11)]
    assert far(figures(4, 11)) == []  # an expression that some share
    assert far(figures(2, 2)) == []  # too few to tell from chance
    assert far(figures(9, 11), "another network") == []  # of which nobody knows what it reads on the heads
    assert far(figures(1, 3) * 11, of_figure=3) == []  # every figure shows it in one of three faces
    assert far(figures(3, 3) * 11, of_figure=3) == [("AU20", 11, 11)]
    faces = measured(str(tmp_path), network, figures(9, 11))
    text = words_of(page_of(written(str(tmp_path), faces, make_predictions(str(tmp_path), [faces], "ARM", 0.9))))
    assert (
        "AU20 (lip stretcher) is read at 2.5 on average in warriors, and in 9 of 11 figures higher than in 75 of 100"
        in text
    )


def test_action_units_of_openface_are_said_to_be_openface_s(tmp_path) -> None:
    faces = measured(str(tmp_path), "any", [[1.0] * 17] * 4, figure_id="openface")
    text = words_of(page_of(written(str(tmp_path), faces, make_predictions(str(tmp_path), [faces], "ARM", 0.9))))
    assert (
        "The Action Units of 4 faces of warriors come from openface.csv beside the photographs, not from the network."
        in text
    )
