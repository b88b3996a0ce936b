"""The page of faces, and what a table that was saved with it changes."""

import csv
import io
import json
import re
import shutil
from pathlib import Path

import pytest
import study_tables
from click.testing import CliRunner

from twfer_dist.annotation.corrections import CorrectedConfig, corrected_job
from twfer_dist.annotation.page import page
from twfer_dist.cli.main import main
from twfer_dist.core.errors import UserError
from twfer_dist.core.schema import ANIMATED, FACES, PHOTOGRAPHS
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.engine import artifact, storage
from twfer_dist.engine.artifact import Artifact, Reused
from twfer_dist.engine.config import package_path
from twfer_dist.measurement.analyzer import SHIPPED, open_analyzer
from twfer_dist.recipe.load import load_recipe
from twfer_dist.recipe.run import run_recipe
from twfer_dist.recipe.status import find_faces
from twfer_dist.recipe.study import study_recipe
from twfer_dist.recognition.training import TrainConfig

HEAD = "face_id,path,fault,label\n"


@pytest.fixture(scope="module")
def faces(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Six photographs of the demo, and one that shows nothing."""
    folder = tmp_path_factory.mktemp("corrections")
    (folder / "photographs").mkdir()
    shipped = Path(package_path("package:demo/tw58"))
    lines = (shipped / "manifest.csv").read_text().splitlines()
    (folder / "photographs" / "manifest.csv").write_text(
        "\n".join(lines[:7]) + "\nblank.png" + "," * lines[0].count(",") + "\n"
    )
    for name in [line.split(",")[0] for line in lines[1:7]]:
        place = folder / "photographs" / name
        place.parent.mkdir(exist_ok=True, parents=True)
        place.write_bytes((shipped / name).read_bytes())
    (folder / "photographs" / "blank.png").write_bytes(b"nothing")
    result = CliRunner().invoke(main, ["faces", str(folder / "photographs"), "--out", str(folder / "the out")])
    assert result.exit_code == 0, result.output
    assert re.search(r"made +faces .* 7 photographs \(1 unreadable\), \d faces( \(\d low_quality\))?\n", result.stdout)
    assert f"twfer inspect '{folder}/the out' --html faces.html" in result.stdout  # quoted, to be pasted
    return artifact.open_artifact(find_faces(str(folder / "the out")))


def test_the_page_shows_each_face_and_each_photograph_without_one(faces: Artifact, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["inspect", str(Path(faces.uri).parent), "--html", str(tmp_path / "page.html")])
    assert result.exit_code == 0 and "again with --corrections corrections.csv added" in result.stdout
    text = (tmp_path / "page.html").read_text()
    rows = faces.table("faces", FACES).to_pylist()
    assert re.findall(r'<figure data-id="([^"]+)"', text) == [row["face_id"] for row in rows]
    assert text.count("<circle") == 68 * len(rows) and text.count("data:image/jpeg") == len(rows)
    assert "again with --corrections corrections.csv added" in text
    assert "blank.png" in text and "unreadable" in text and "http" not in text  # nothing is fetched from elsewhere


def test_both_tables_are_there_as_csv_too(faces: Artifact) -> None:
    for name, schema, key in (("faces", FACES, "face_id"), ("photographs", PHOTOGRAPHS, "photo_id")):
        rows = list(csv.DictReader(io.StringIO(storage.read_bytes(faces.path(f"{name}.csv")).decode("utf-8-sig"))))
        assert [row[key] for row in rows] == faces.table(name, schema)[key].to_pylist()
        assert {row["status"] for row in rows} == set(faces.manifest.counts[name]) and rows[0]["group material"]
    assert faces.results["corpora"]["photographs"]["photographs"] == 7


def test_faces_with_corrections_adds_a_stage_and_finds_nothing_again(faces: Artifact, tmp_path: Path) -> None:
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
    assert find_faces(out) == second["output"]  # its page shows the corrected faces from now on
    rows = csv.DictReader(io.StringIO((Path(second["output"]) / "faces.csv").read_text(encoding="utf-8-sig")))
    assert {row["face_id"] for row in rows if row["status"] == "rejected"} == {marked}
    run = CliRunner().invoke(main, ["inspect", out])
    assert run.exit_code == 0 and "corrected" in run.stdout and "2 finished, 0 unfinished" in run.stdout


def test_a_study_with_corrections_reads_the_corrected_faces(faces: Artifact, tmp_path: Path) -> None:
    photographs, out = str(Path(faces.uri).parent.parent / "photographs"), str(tmp_path / "out")
    world = study_tables.make_world(str(tmp_path / "world"))
    training = study_tables.make_training(
        str(tmp_path / "world"), world["dataset"], TrainConfig(network="arm", size=96), 20
    )
    (tmp_path / "marks.csv").write_text(HEAD)
    study = study_recipe(photographs, training.uri, {}, (), out, str(tmp_path / "marks.csv"))
    (tmp_path / "study.yaml").write_text(study.text)
    for one in (study, load_recipe(str(tmp_path / "study.yaml"))):  # as it is run, and as the report prints it
        stages = {stage.name: stage for stage in one.stages}
        assert list(stages) == ["faces", "corrected", "read", "report"]
        assert stages["corrected"].settings == {"corrections": str(tmp_path / "marks.csv")}
        assert stages["read"].inputs["inputs"] == stages["report"].inputs["faces"] == ["corrected"]
    assert [stage.name for stage in study_recipe(photographs, training.uri, {}, (), out, None).stages] == [
        "faces",
        "read",
        "report",
    ]


def test_a_saved_table_changes_what_was_marked_and_nothing_else(faces: Artifact, tmp_path: Path) -> None:
    before = faces.table("faces", FACES).to_pylist()
    crop, label = before[0], before[1]
    other = next(name for number, name in enumerate(EXPRESSIONS, start=1) if number != label["label"])
    table = tmp_path / "corrections.csv"
    seen = dict(re.findall(r'data-id="([^"]+)".* data-crop="([^"]+)"', page(faces)))
    marks = (crop, "wrong crop", ""), (label, "", other)
    lines = [
        ",".join(f'"{v}"' for v in (f["face_id"], f["path"], fault, said, seen[f["face_id"]]))
        for f, fault, said in marks
    ]
    table.write_text("\n".join(["face_id,path,fault,label,crop", *lines, ""]))
    text = (
        f"name: mended\nout: {tmp_path}/out\nstages:\n  mended: {{kind: corrected, faces: {faces.uri}, "
        f"corrections: {table}}}\n"
    )
    (tmp_path / "mended.yaml").write_text(text)
    (outcome,) = run_recipe(load_recipe(str(tmp_path / "mended.yaml")))
    assert (after := outcome.artifact) is not None
    changed: dict[str, dict[str, object]] = {
        crop["face_id"]: {"status": "rejected", "error": f"{crop['path']}: a person marked it: wrong crop"},
        label["face_id"]: {"label": EXPRESSIONS.index(other) + 1},
    }
    assert after.table("faces", FACES).to_pylist() == [{**row, **changed.get(row["face_id"], {})} for row in before]
    assert after.table("photographs", PHOTOGRAPHS) == faces.table("photographs", PHOTOGRAPHS)
    assert after.results["network"] == open_analyzer(SHIPPED).sha256  # corrected faces are warned of as others are
    assert (
        after.results["summary"] == ["1 faces rejected, 1 labels corrected"]
        and after.results["detector"] == faces.results["detector"]
    )
    assert storage.exists(after.path("sheet.jpg"))


def test_what_depends_on_a_corrected_face_is_done_again_and_nothing_else(faces: Artifact, tmp_path: Path) -> None:
    """The face that fear was copied from is rejected, and another is said to show it: other references' pictures are
    kept.
    """
    fear = EXPRESSIONS.index("fear") + 1
    labels = {
        row["face_id"]: row["label"] for row in faces.table("faces", FACES, columns=["face_id", "label"]).to_pylist()
    }
    first = next(face for face, label in labels.items() if label == fear)
    second = next(face for face, label in labels.items() if label != fear)
    (tmp_path / "corrections.csv").write_text(f"{HEAD}{first},,wrong crop,\n{second},,,fear\n")
    animated = (
        "{kind: animate, faces: [INPUT], generator: package:weights/generator.safetensors, levels: 2, "
        "figures: all, size: 64}"
    )
    corrected = f"{{kind: corrected, faces: {faces.uri}, corrections: {tmp_path}/corrections.csv}}"
    before = f"  before: {animated.replace('INPUT', faces.uri)}\n"
    after = f"  mended: {corrected}\n  after: {animated.replace('INPUT', 'mended')}\n"

    def made(out: str, stages: str) -> dict[str, Artifact]:
        (tmp_path / "recipe.yaml").write_text(f"out: {tmp_path}/{out}\nstages:\n{stages}")
        return {o.stage.name: o.artifact for o in run_recipe(load_recipe(str(tmp_path / "recipe.yaml"))) if o.artifact}

    known, anew = made("known", before + after), made("anew", after)["after"]
    rows = known["after"].table(".", ANIMATED).to_pylist()
    assert {row["reference_id"] for row in rows if row["label"] == fear} == {second}
    assert not any(row["face_id"] == first for row in rows)
    earlier = {row["image_id"]: row["reference_id"] for row in known["before"].table(".", ANIMATED).to_pylist()}
    same = [row for row in rows if row["reference_id"] == earlier[row["image_id"]]]
    assert {EXPRESSIONS[row["label"] - 1] for row in same} == set(EXPRESSIONS) - {
        "fear",
        EXPRESSIONS[labels[second] - 1],
    }
    assert known["after"].manifest.reused == Reused(known["before"].name, len(same)) and anew.manifest.reused is None
    assert anew.table(".", ANIMATED).to_pylist() == rows


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("face_id,label\n", "there is no column 'fault'"),
        (f"{HEAD}FACE,,wrong crop,\nFACE,,,fear\n", "line 3: .* is there already"),
        (f"{HEAD}FACE,,wrong nose,\n", "'wrong nose' is no fault: say wrong crop or wrong points"),
        (f"{HEAD}FACE,,,joy\n", "line 2: .*joy"),
        (f"{HEAD}abc-00,,wrong crop,\n", "abc-00 is no face of"),
        (
            "face_id,fault,label,crop\nFACE,wrong crop,,01234567\n",
            r"the crop of .*-00 is another one in .* than when it was marked",
        ),
    ],
)
def test_a_wrong_table_is_one_sentence(faces: Artifact, tmp_path: Path, text: str, words: str) -> None:
    face = faces.table("faces", FACES, columns=["face_id"])["face_id"][0].as_py()
    (tmp_path / "corrections.csv").write_text(text.replace("FACE", face))
    with pytest.raises(UserError, match=words):
        corrected_job(faces, CorrectedConfig(), str(tmp_path / "corrections.csv"))
    with pytest.raises(UserError, match="none.csv is not there: name the table"):
        corrected_job(faces, CorrectedConfig(), str(tmp_path / "none.csv"))


def test_a_page_of_something_else_is_refused(faces: Artifact, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    text = storage.read_bytes(faces.path("_manifest.json")).decode().replace('"stage": "faces"', '"stage": "dataset"')
    (tmp_path / "other" / "_manifest.json").write_text(text)
    result = CliRunner().invoke(main, ["inspect", str(tmp_path / "other"), "--html", str(tmp_path / "page.html")])
    assert result.exit_code == 2 and "the output of stage 'dataset'" in result.stderr
