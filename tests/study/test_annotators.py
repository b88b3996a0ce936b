"""The annotators of a corpus in the report, every number counted again from its votes."""

from pathlib import Path

import pytest
from report_pages import html_of, json_of, report_on, words_of
from study_tables import Row, make_faces, make_predictions

from twfer_dist.core.schema import FACES, PHOTOGRAPHS, PREDICTIONS
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.corpus.agreement import agreement
from twfer_dist.corpus.votes import Vote
from twfer_dist.corpus.votes import words_of as labels_of
from twfer_dist.corpus.votes_table import FILE, read_votes
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.spreadsheet import rows_to_csv
from twfer_dist.engine.stage import run_stage

NAMES = ("Li", "Wu", "<b>Zhao")


def votes_on(number: int, label: int) -> dict[str, Vote]:
    """Li names the truth, Wu something else on every fourth face, Zhao two labels on every fifth, and nothing on every
    seventh.
    """
    wrong = label % 7 + 1
    votes = {"Li": frozenset([label]), "Wu": frozenset([wrong if number % 4 == 0 else label])}
    return votes | ({} if number % 7 == 0 else {"<b>Zhao": frozenset([label, wrong] if number % 5 == 0 else [label])})


def with_votes(out: str, figures: int) -> tuple[Artifact, dict[str, dict[str, Vote]]]:
    """The drawn faces with votes.csv beside them, and the votes by face_id."""
    drawn = make_faces(out, figures=figures)
    photographs, faces = drawn.table("photographs", PHOTOGRAPHS), drawn.table("faces", FACES)
    rows: list[Row] = []
    votes = {}
    for number, face in enumerate(faces.to_pylist()):
        votes[face["face_id"]] = votes_on(number, face["label"])
        known = {key: face[key] for key in ("photo_id", "corpus", "path", "figure_id")}
        rows += [{**known, "annotator": a, "label": labels_of(v)} for a, v in votes[face["face_id"]].items()]

    def do(output: StageOutput) -> None:
        output.results = dict(drawn.results)
        output.write_table("photographs", photographs)
        output.write_table("faces", faces)
        output.write_file(FILE, rows_to_csv(list(rows[0]), rows))

    tables = {"photographs": PHOTOGRAPHS, "faces": FACES}
    return run_stage(StageSpec("faces", 2, {}, {"figures": figures}, {}, tables, do), out, quiet=True), votes


def test_annotators_and_models_side_by_side(tmp_path: Path) -> None:
    faces, votes = with_votes(str(tmp_path), 40)
    predictions = make_predictions(str(tmp_path), [faces], "ARM", 0.8)
    report = report_on(str(tmp_path), faces, predictions)
    (of_corpus,) = json_of(report)["annotators"]
    found = of_corpus["found"]
    expected = agreement([list(cast.values()) for cast in votes.values()], list(votes))
    assert expected and found["agreement"]["alpha"] == expected.alpha and found["agreement"]["annotators"] == 3
    assert (of_corpus["corpus"], found["faces"], [a["name"] for a in found["annotators"]]) == (
        "warriors",
        40,
        sorted(NAMES),
    )
    truth = {row["face_id"]: row["label"] for row in faces.table("faces", FACES).to_pylist()}
    answers = predictions.table(".", PREDICTIONS, columns=["image_id", "predicted"]).to_pylist()
    # Where Wu errs, Zhao decides for the truth, unless he names both or nothing: faces 0, 20 and 28 are ties.
    assert found["labels"] == {"one vote": 0, "majority": 37, "tie decided": 0, "tie": 3}
    decided = [row for number, row in enumerate(answers) if number % 20 and number % 28]
    (model,) = found["models"]
    right = sum(row["predicted"] == truth[row["image_id"]] for row in decided)
    assert (model["majority"]["k"], model["majority"]["n"]) == (right, 37)
    assert sum(map(sum, found["confusion"])) == pytest.approx(sum(map(len, votes.values())), abs=0.02)
    words = words_of(report)
    assert f"Krippendorff's alpha is {expected.alpha:.2f} ({expected.interval}; 40 faces" in words
    assert "ARM gives that label in" in words and "The annotators two by two" in words
    assert "<b>Zhao" not in html_of(report) and "&lt;b&gt;Zhao" in html_of(report)
    assert "How far the annotators agree" in words and all(name in words for name in EXPRESSIONS)


def test_a_corpus_without_several_annotators_has_no_section(tmp_path: Path) -> None:
    faces = make_faces(str(tmp_path), figures=5)
    report = report_on(str(tmp_path), faces)
    assert json_of(report)["annotators"] == [] and 'id="annotators"' not in html_of(report)
    assert read_votes(b"photo_id,corpus,path,figure_id,annotator,label\n") == {}
