"""What a table of corrections changes."""

import csv
import io
import json
import re
import shutil
from pathlib import Path

import pytest
import study_tables
from click.testing import CliRunner

from twfer_dist.annotation.corrections import CorrectedConfig, corrected_spec
from twfer_dist.annotation.page import page
from twfer_dist.cli.main import main
from twfer_dist.core.errors import UserError
from twfer_dist.core.schema import ANIMATED, FACES, PHOTOGRAPHS
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.corpus.votes_table import read_votes
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact, Reused
from twfer_dist.measurement.analyzer import SHIPPED, open_analyzer
from twfer_dist.recipe.load import load_recipe
from twfer_dist.recipe.run import run_recipe
from twfer_dist.recipe.status import find_faces
from twfer_dist.recipe.study import study_recipe
from twfer_dist.recognition.train_config import TrainConfig

HEAD = "face_id,path,fault,label\n"


def test_faces_with_corrections_detects_nothing_again(faces: Artifact, tmp_path: Path) -> None:
    photographs, out = Path(faces.uri).parent.parent / "photographs", str(tmp_path / "out")
    shutil.copytree(Path(faces.uri).parent, out)
    marked = faces.table("faces", FACES)["face_id"][0].as_py()
    (tmp_path / "marks.csv").write_text(f"{HEAD}{marked},,wrong points,\n")
    result = CliRunner().invoke(
        main, ["faces", str(photographs), "--out", out, "--corrections", str(tmp_path / "marks.csv"), "--json"]
    )
    assert result.exit_code == 0, result.output
    first, second = json.loads(result.stdout)["stages"]
    assert (first["state"], second["state"], second["counts"]["faces"]["rejected"]) == ("finished", "made", 1)
    assert find_faces(out) == second["output"]  # its page now shows the corrected faces
    rows = csv.DictReader(io.StringIO((Path(second["output"]) / "faces.csv").read_text(encoding="utf-8-sig")))
    assert {row["face_id"] for row in rows if row["status"] == "rejected"} == {marked}
    run = CliRunner().invoke(main, ["inspect", out])
    assert run.exit_code == 0 and "corrected" in run.stdout and "2 finished, 0 unfinished" in run.stdout


def test_a_study_with_corrections_reads_corrected_faces(faces: Artifact, tmp_path: Path) -> None:
    photographs, out = str(Path(faces.uri).parent.parent / "photographs"), str(tmp_path / "out")
    world = study_tables.make_world(str(tmp_path / "world"))
    training = study_tables.make_training(
        str(tmp_path / "world"), world.dataset, TrainConfig(network="arm", size=96), 20
    )
    (tmp_path / "marks.csv").write_text(HEAD)
    study = study_recipe([photographs], {}, (), out, str(tmp_path / "marks.csv"), model=training.uri)
    (tmp_path / "study.yaml").write_text(study.text)
    for one in (study, load_recipe(str(tmp_path / "study.yaml"))):  # as run, and as the report prints it
        stages = {stage.name: stage for stage in one.stages}
        assert list(stages) == ["faces", "corrected", "read", "explain", "report"]
        assert stages["corrected"].settings == {"corrections": str(tmp_path / "marks.csv")}
        assert stages["read"].inputs["inputs"] == stages["report"].inputs["faces"] == ["corrected"]
    assert [stage.name for stage in study_recipe([photographs], {}, (), out, None, model=training.uri).stages] == [
        "faces",
        "read",
        "explain",
        "report",
    ]


def test_a_saved_table_changes_only_what_was_marked(faces: Artifact, tmp_path: Path) -> None:
    before = faces.table("faces", FACES).to_pylist()
    crop, label = before[0], before[1]
    other = next(name for number, name in enumerate(EXPRESSIONS, start=1) if number != label["label"])
    table = tmp_path / "corrections.csv"
    seen = dict(re.findall(r'data-id="([^"]+)".* data-crop="([^"]+)"', page(faces)))
    marks = (crop, "wrong crop", ""), (label, "", other)
    lines = [
        ",".join(f'"{v}"' for v in (f["face_id"], f["path"], fault, new_label, seen[f["face_id"]]))
        for f, fault, new_label in marks
    ]
    table.write_text("\n".join(["face_id,path,fault,label,crop", *lines, ""]))
    text = (
        f"name: fixed\nout: {tmp_path}/out\nstages:\n  fixed: {{kind: corrected, faces: {faces.uri}, "
        f"corrections: {table}}}\n"
    )
    (tmp_path / "fixed.yaml").write_text(text)
    (outcome,) = run_recipe(load_recipe(str(tmp_path / "fixed.yaml")))
    assert (after := outcome.artifact) is not None
    changed: dict[str, dict[str, object]] = {
        crop["face_id"]: {"status": "rejected", "error": f"{crop['path']}: marked by a person: wrong crop"},
        label["face_id"]: {"label": EXPRESSIONS.index(other) + 1},
    }
    assert after.table("faces", FACES).to_pylist() == [{**row, **changed.get(row["face_id"], {})} for row in before]
    assert after.table("photographs", PHOTOGRAPHS) == faces.table("photographs", PHOTOGRAPHS)
    assert after.results["network"] == open_analyzer(SHIPPED).sha256
    assert (
        after.results["summary"] == ["faces rejected: 1, labels corrected: 1"]
        and after.results["detector"] == faces.results["detector"]
    )
    assert storage.exists(after.path("sheet.jpg"))
    votes = [storage.read_bytes(output.path("votes.csv")) for output in (faces, after)]
    assert votes[0] == votes[1] and {len(cast) for cast in read_votes(votes[0]).values()} == {6}


@pytest.mark.long
def test_only_what_depends_on_a_corrected_face_is_redone(faces: Artifact, tmp_path: Path) -> None:
    """The reference of fear is rejected and another face gets that label: images of other references are reused."""
    fear = EXPRESSIONS.index("fear") + 1
    labels = {
        row["face_id"]: row["label"] for row in faces.table("faces", FACES, columns=["face_id", "label"]).to_pylist()
    }
    first = next(face for face, label in labels.items() if label == fear)
    second = next(face for face, label in labels.items() if label != fear)
    (tmp_path / "corrections.csv").write_text(f"{HEAD}{first},,wrong crop,\n{second},,,fear\n")
    animated = (
        "{kind: animate, faces: [INPUT], generator: package:weights/generator.safetensors, levels: 2, "
        "select: all, size: 64}"
    )
    corrected = f"{{kind: corrected, faces: {faces.uri}, corrections: {tmp_path}/corrections.csv}}"
    before = f"  before: {animated.replace('INPUT', faces.uri)}\n"
    after = f"  fixed: {corrected}\n  after: {animated.replace('INPUT', 'fixed')}\n"

    def made(out: str, stages: str) -> dict[str, Artifact]:
        (tmp_path / "recipe.yaml").write_text(f"out: {tmp_path}/{out}\nstages:\n{stages}")
        return {o.stage.name: o.artifact for o in run_recipe(load_recipe(str(tmp_path / "recipe.yaml"))) if o.artifact}

    known, fresh = made("known", before + after), made("fresh", after)["after"]
    rows = known["after"].table(".", ANIMATED).to_pylist()
    assert {row["reference_id"] for row in rows if row["label"] == fear} == {second}
    assert not any(row["face_id"] == first for row in rows)
    earlier = {row["image_id"]: row["reference_id"] for row in known["before"].table(".", ANIMATED).to_pylist()}
    same = [row for row in rows if row["reference_id"] == earlier[row["image_id"]]]
    assert {EXPRESSIONS[row["label"] - 1] for row in same} == set(EXPRESSIONS) - {
        "fear",
        EXPRESSIONS[labels[second] - 1],
    }
    assert known["after"].manifest.reused == Reused(known["before"].name, len(same)) and fresh.manifest.reused is None
    assert fresh.table(".", ANIMATED).to_pylist() == rows


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("face_id,fault\n", "column 'label' is missing"),
        (f"{HEAD}FACE,,wrong crop,\nFACE,,,fear\n", "line 3: .* appears twice"),
        (f"{HEAD}FACE,,wrong nose,\n", "'wrong nose' is not a known fault: use wrong crop or wrong points"),
        (f"{HEAD}FACE,,,joy\n", "line 2: .*joy"),
        (f"{HEAD}abc-00,,wrong crop,\n", "has no face abc-00"),
        (
            "face_id,fault,label,crop\nFACE,wrong crop,,01234567\n",
            r"the crop of .*-00 in .* has changed since it was marked",
        ),
    ],
)
def test_a_wrong_table_is_one_sentence(faces: Artifact, tmp_path: Path, text: str, words: str) -> None:
    face = faces.table("faces", FACES, columns=["face_id"])["face_id"][0].as_py()
    (tmp_path / "corrections.csv").write_text(text.replace("FACE", face))
    with pytest.raises(UserError, match=words):
        corrected_spec(faces, CorrectedConfig(), str(tmp_path / "corrections.csv"))
    with pytest.raises(UserError, match="none.csv does not exist: save the table"):
        corrected_spec(faces, CorrectedConfig(), str(tmp_path / "none.csv"))
