"""What the report says of studies that are not like the demo: no face, no label, refused faces, notes, other people's
Action Units.
"""

import re

import pyarrow as pa
import pytest
from study_tables import answer_to, face_picture, make_faces, make_predictions, make_training, make_world, output

from twfer_dist.core.schema import FACES, PHOTOGRAPHS, PREDICTIONS
from twfer_dist.core.status import LOW_QUALITY, OK
from twfer_dist.core.taxonomy import ACTION_UNITS
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import run_stage
from twfer_dist.measurement.analyzer import SHIPPED, open_analyzer
from twfer_dist.recipe.study import study_recipe
from twfer_dist.recognition.training import TrainConfig
from twfer_dist.study.groups import distributions
from twfer_dist.study.metrics import COUNTED, GROUP
from twfer_dist.study.report import ReportConfig, report_job
from twfer_dist.study.units import action_units

AGREEMENT = {"kappa": 0.561, "low": 0.5, "high": 0.62, "photographs": 40, "annotators": 6}


def page_of(report: Artifact) -> str:
    return storage.read_bytes(report.path("index.html")).decode()


def words_of(page: str) -> str:
    text = re.sub(r"<[^>]+>", " ", page.partition("<main>")[2]).replace("&nbsp;", " ").replace("&rsquo;", "’")
    return re.sub(r"\s+([.,;)])", r"\1", re.sub(r"\s+", " ", text))


def written(out: str, faces: Artifact, predictions: Artifact, **config: object) -> Artifact:
    return run_stage(report_job([predictions], faces=[faces], config=ReportConfig(**config)), out)  # type: ignore[arg-type]


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


def test_every_link_of_a_study_without_labels_leads_somewhere(tmp_path) -> None:
    faces = make_faces(str(tmp_path), figures=9, labelled=False)
    page = page_of(written(str(tmp_path), faces, make_predictions(str(tmp_path), [faces], "ARM", 0.9)))
    links = set(re.findall(r'href="#([^"]+)"', page))
    assert links and links <= set(re.findall(r' id="([^"]+)"', page))
    assert "no interval is claimed for what the faces show" in words_of(page)


@pytest.mark.parametrize(
    ("statuses", "says"),
    [
        (["no_face"] * 3, "No face was found in 3 photographs, so there is no answer."),
        (["no_face", "missing"], "No face was found in 1 photograph; 1 more could not be read, so there is no answer."),
        (["missing", "unreadable"], "None of the 2 photographs could be read, so there is no answer"),
        (["missing"], "The photograph could not be read, so there is no answer"),
    ],
)
def test_a_folder_without_a_face_says_just_that(tmp_path, statuses: list[str], says: str) -> None:
    rows = [
        {"photo_id": f"{k}", "corpus": "c", "path": f"{k}.jpg", "status": s, "error": "why", "faces": 0}
        for k, s in enumerate(statuses)
    ]
    faces = output(str(tmp_path), "faces", {"photographs": (PHOTOGRAPHS, rows), "faces": (FACES, [])}, detector="drawn")
    report = written(str(tmp_path), faces, output(str(tmp_path), "predictions", {".": (PREDICTIONS, [])}, [faces]))
    assert [sentence.startswith(says) for sentence in report.results["answer"]] == [True]
    seen = statuses.count("no_face")
    assert f"It saw {seen} photograph{'' if seen == 1 else 's'} and found 0 faces." in words_of(page_of(report))


def test_faces_that_no_model_was_asked_about_are_not_denied(tmp_path) -> None:
    report = run_stage(
        report_job([], faces=[make_faces(str(tmp_path), figures=9)], config=ReportConfig()), str(tmp_path)
    )
    assert report.results["answer"][0].startswith("No photographs were given to a model")


def test_photographs_that_are_missing_are_not_counted_as_seen(tmp_path) -> None:
    faces = make_faces(str(tmp_path), figures=9)
    report = written(str(tmp_path), faces, make_predictions(str(tmp_path), [faces], "ARM", 0.9))
    assert report.results["answer"][0].startswith(
        "In 10 photographs the program found 9 faces"
    )  # 11 rows, one of a broken file


def test_refused_faces_look_refused_and_get_no_answer(tmp_path) -> None:
    faces = make_faces(str(tmp_path), figures=9)
    rows = []
    for number, face in enumerate(faces.table("faces", FACES).to_pylist()):
        status = [LOW_QUALITY, "out_of_distribution", OK][number % 3]
        answer = {} if status == LOW_QUALITY else answer_to(face["label"], number, 1.0)
        error = f"{face['path']}: The face is too small." if status == LOW_QUALITY else ""
        kept = {key: face[key] for key in ("figure_id", "corpus", "label", "groups")}
        rows.append({**kept, **answer, "image_id": face["face_id"], "model": "ARM", "status": status, "error": error})
    predictions = output(str(tmp_path), "predictions", {".": (PREDICTIONS, rows)}, [faces])
    page = page_of(written(str(tmp_path), faces, predictions))
    cards = {
        kind: re.findall(rf'<figure class="{kind}">.*?</figure>', page, re.DOTALL)
        for kind in ("read", "unsure", "refused")
    }
    assert {kind: len(several) for kind, several in cards.items()} == {"read": 3, "unsure": 3, "refused": 3}
    assert all(' first"><span>' in card and "lip corner" not in card.partition("<details")[0] for card in cards["read"])
    assert not any(' first"><span>' in card for card in cards["unsure"])  # no bar stands out as if it were the answer
    assert all('class="units"' not in card and "The face is too small." in card for card in cards["refused"])


def test_where_every_face_is_refused_no_other_model_is_advised(tmp_path) -> None:
    faces = make_faces(str(tmp_path), figures=9)
    rows = [
        {
            **{key: face[key] for key in ("figure_id", "corpus", "label", "groups")},
            "image_id": face["face_id"],
            "model": "ARM",
            "status": LOW_QUALITY,
        }
        for face in faces.table("faces", FACES).to_pylist()
    ]
    report = written(str(tmp_path), faces, output(str(tmp_path), "predictions", {".": (PREDICTIONS, rows)}, [faces]))
    first, second, _ = report.results["answer"]
    assert first.startswith(
        "In 10 photographs the program found 9 faces, and none of them is fit to be read: the reasons are below"
    )
    assert second == "No groups could be compared, because no face has an answer."


def test_action_units_have_names(tmp_path) -> None:
    faces = make_faces(str(tmp_path), figures=9)  # each shows one unit
    page = page_of(written(str(tmp_path), faces, make_predictions(str(tmp_path), [faces], "ARM", 0.9)))
    assert "<summary>AU09 nose wrinkler 4.0</summary>" in page


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


@pytest.mark.parametrize(
    ("values", "groups"),
    [
        (["kneeling", "general"], 2),
        (["1", "2", "3"], 3),  # pits, annotators
        (["640", "480"], 0),  # widths
        (["1974", "1998"], 0),  # years
        (["0,5", "1,5"], 0),
        ([str(k) for k in range(9)], 0),
        ([f"inventory {k}" for k in range(18)], 0),
    ],
)
def test_columns_of_numbers_and_names_are_no_groups(values: list[str], groups: int) -> None:
    rows = [
        {
            **dict.fromkeys(COUNTED),
            "model": "m",
            "corpus": "c",
            "figure_id": f"{k}",
            "predicted": 1 + k % 2,
            "status": OK,
            "n": 1,
        }
        | {GROUP + "column": values[k % len(values)]}
        for k in range(36)
    ]
    counts = pa.Table.from_pylist(rows).set_column(
        5, "predicted", pa.array([row["predicted"] for row in rows], pa.int8())
    )
    (entry,) = distributions(counts)
    assert (len(entry["values"]), entry["distinct"]) == (groups, len(values))
    (named,) = distributions(counts, asked=["column"])
    assert len(named["values"]) == len(values)


def test_a_study_of_a_bucket_prints_no_key(tmp_path) -> None:
    world = make_world(str(tmp_path))
    training = make_training(str(tmp_path), world["dataset"], TrainConfig(network="arm", size=96), 20)
    text = study_recipe("s3://key:secret@bucket/heads", training.uri, {}, (), None, None).text
    assert "s3://bucket/heads" in text and "secret" not in text
