"""The whole road by the command line, on a few of the shipped photographs: recipes, resume, status, a study, wrong
input.
"""

import csv
import html
import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from mlflow.tracking import MlflowClient
from s3_server import Server

import twfer_dist
from twfer_dist.cli.main import main
from twfer_dist.engine import artifact, storage
from twfer_dist.recipe.status import find_recogniser
from twfer_dist.synthesis import checkpoints
from twfer_dist.synthesis.networks import Generator

DEMO = Path(twfer_dist.__file__).parent / "demo"
FIGURES = 6

STAGES: dict[str, dict] = {"faces": {"kind": "faces", "corpora": ["little"], "size": 64, "detector":
    "haar"}, "animated": {"kind": "animate", "faces": ["faces"], "size": 64, "levels": 3}, "set":
    {"kind": "dataset", "animated": ["animated"], "per_expression": 6, "ratios": [4, 1, 1]}, "network":
    {"kind": "train", "dataset": "set", "network": "resnet18", "size": 64, "epochs": 1}, "read": {"kind":
    "predict", "inputs": ["set", "faces"], "model": "network"}, "report": {"kind": "report",
    "predictions": ["read"], "faces": ["faces"], "animated": ["animated"], "datasets": ["set"], "models":
    ["network"], }, }  # fmt: skip


def twfer(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def refused(*words: object) -> str:
    """The one sentence on standard error of a run that must end with exit code 2."""
    result = twfer(*words)
    assert result.exit_code == 2, result.output
    sentence = result.stderr.strip()
    assert sentence.startswith("twfer: ") and "\n" not in sentence
    return sentence


@pytest.fixture(scope="module")
def little(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photographs of a few figures of the demo corpus, and a recipe with a generator that has learned nothing."""
    folder = tmp_path_factory.mktemp("road")
    with (DEMO / "tw58" / "manifest.csv").open() as file:
        rows = list(csv.DictReader(file))
    figures = sorted({row["figure_id"] for row in rows})[:FIGURES]
    rows = [row for row in rows if row["figure_id"] in figures]
    (folder / "little" / "photographs").mkdir(parents=True)
    for row in rows:
        shutil.copy(DEMO / "tw58" / row["path"], folder / "little" / row["path"])
    shutil.copy(DEMO / "tw58" / "action_units.csv", folder / "little" / "openface.csv")
    with (folder / "little" / "manifest.csv").open("w") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (folder / "generator.safetensors").write_bytes(checkpoints.save(Generator(8), size=64))
    STAGES["animated"]["generator"] = str(folder / "generator.safetensors")
    given = {
        "name": "road",
        "out": str(folder / "out"),
        "corpora": {"little": str(folder / "little")},
        "stages": STAGES,
    }
    (folder / "road.yaml").write_text(yaml.safe_dump(given, sort_keys=False))
    return folder


@pytest.fixture(scope="module")
def made(ray_cluster: None, little: Path) -> dict:
    """What the first run of the recipe printed."""
    result = twfer("run", little / "road.yaml", "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def states(summary: dict) -> dict[str, str]:
    return {stage["name"]: stage["state"] for stage in summary["stages"]}


def test_run_ends_with_a_report_and_the_tracked_runs(made: dict, little: Path) -> None:
    assert states(made) == dict.fromkeys(STAGES, "made")
    page = Path(made["report"])
    assert page == little / "out" / "report" / "index.html" and "<html" in page.read_text()
    assert made["mlflow"].startswith("mlflow ui --backend-store-uri sqlite:///")
    rows = {stage["name"]: stage["rows"] for stage in made["stages"]}
    assert rows["faces"] == {"photographs": 7 * FIGURES, "faces": rows["faces"]["faces"]}
    assert rows["set"] == {".": 7 * 6}
    assert rows["read"] == {".": 7 * 6 + rows["faces"]["faces"]}


def test_runs_are_named_after_their_stages(made: dict, little: Path) -> None:
    client = MlflowClient(f"sqlite:///{little}/out/mlflow.db")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    names = {run.info.run_name for run in client.search_runs(experiments)}
    assert names == {"faces", "animated", "set", "network", "read"}


def test_second_run_does_nothing(made: dict, little: Path) -> None:
    again = json.loads(twfer("run", little / "road.yaml", "--json").stdout)
    assert states(again) == dict.fromkeys(STAGES, "finished")
    assert [stage["output"] for stage in again["stages"]] == [stage["output"] for stage in made["stages"]]


def test_status_lists_the_stages(made: dict, little: Path) -> None:
    status = json.loads(twfer("status", little / "out", "--json").stdout)
    assert [stage["name"] for stage in status["stages"]] == list(STAGES)
    assert status["finished"] == len(STAGES) and status["unfinished"] == 0
    assert all(stage["counts"] == told["counts"] for stage, told in zip(status["stages"], made["stages"], strict=True))


@pytest.mark.long
def test_deleted_output_and_its_dependents_are_made_again(made: dict, little: Path) -> None:
    outputs = {stage["name"]: stage["output"] for stage in made["stages"]}
    shutil.rmtree(outputs["read"])
    again = json.loads(twfer("run", little / "road.yaml", "--json").stdout)
    assert states(again) == dict.fromkeys(STAGES, "finished") | {"read": "made", "report": "made"}
    assert {stage["name"]: stage["output"] for stage in again["stages"]} == outputs  # the same bytes: the same names


def test_study_of_a_folder_records_broken_photographs(made: dict, little: Path, tmp_path: Path) -> None:
    folder = tmp_path / "my photographs"
    folder.mkdir()
    for photograph in sorted((little / "little" / "photographs").iterdir())[:3]:
        shutil.copy(photograph, folder)
    (folder / "broken.jpg").write_bytes(b"no picture")
    result = twfer(
        "study", folder, "--model", little / "out", "--detector", "haar", "--out", tmp_path / "out", "--json"
    )
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["stages"][0]["counts"]["photographs"]["unreadable"] == 1
    assert summary["stages"][0]["rows"]["photographs"] == 4
    assert "broken.jpg" in Path(summary["report"]).read_text()
    (again,) = re.findall("<pre[^>]*>(name: my photographs.*?)</pre>", Path(summary["report"]).read_text(), re.S)
    (tmp_path / "again.yaml").write_text(html.unescape(again))
    planned = json.loads(twfer("run", tmp_path / "again.yaml", "--plan", "--json").stdout)
    assert states(planned) == dict.fromkeys(["faces", "read", "explain", "report"], "finished")
    same = ["study", folder, "--model", little / "out", "--detector", "haar", "--out", tmp_path / "out"]
    assert "has no column 'posture' to group by: it has none" in refused(*same, "--group", "posture", "--json")


def test_studies_of_two_folders_of_one_name_stay_apart(
    made: dict, little: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("here/photos.2024", "there/photos.2024"):
        Path(name).mkdir(parents=True)
    (index := Path("runs/study-photos.2024/stages.json")).parent.mkdir(parents=True)
    index.write_text(json.dumps({"stages": {}, "corpora": {"photos.2024": f"{tmp_path}/there/photos.2024"}}))
    said = refused("study", "here/photos.2024", "--model", little / "out")
    assert (
        f"runs/study-photos.2024 holds the study of {tmp_path}/there/photos.2024: choose another folder for "
        "this one with --out"
    ) in said
    assert "holds no image" in refused("study", "there/photos.2024", "--model", little / "out")


def test_plan_says_what_is_to_do_and_does_nothing(little: Path, tmp_path: Path) -> None:
    result = twfer("run", little / "road.yaml", "--out", tmp_path / "new", "--plan")
    assert result.exit_code == 0 and result.output.count("to do") == len(STAGES) + 1
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("stage", "change", "sentence"),
    [
        ("faces", {"sise": 64}, "'sise' is not a setting here"),
        ("faces", {"size": "large"}, 'size is "large"; use a whole number, 16 to 2048'),
        ("faces", {"detector": "eyes"}, "'eyes' is not a face detector"),
        ("faces", {"corpora": ["others"]}, "'corpora' names 'others', which is not defined above"),
        ("faces", {"kind": "magic"}, "'kind' must be one of"),
        ("faces", {"kind": ["faces"]}, "'kind' must be one of"),
        ("network", {"epoch": 8}, "'epoch' is not a setting here"),
        ("animated", {"generator": "nowhere.safetensors"}, "nowhere.safetensors"),
        ("set", {"per_expression": 10_000}, "10,?000"),
        ("set", {"split": "by_luck"}, "by_luck"),
    ],
)
def test_wrong_recipe_is_one_sentence_and_exit_code_2(
    made: dict, little: Path, tmp_path: Path, stage: str, change: dict, sentence: str
) -> None:
    given = yaml.safe_load((little / "road.yaml").read_text())
    given["stages"][stage] |= change
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(given, sort_keys=False))

    assert re.search(sentence, refused("run", tmp_path / "wrong.yaml"))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"corpora": ["b"]}, "'corpora' is [\"b\"]"),
        ({"compute": 8}, "'compute' is 8"),
        ({"corpora": {"little": None}}, "'little' is null: give the path"),
        ({"stages": {}}, "has no 'stages'"),
        ({"out": 5}, "'out' is 5: write a string"),
        ({"name": ["a"]}, "'name' is [\"a\"]: write a string"),
        ({"tracking": "banana"}, "banana is not an MLflow address"),
        ({"compute": {"actors": 0}}, "actors is 0; use 1 to 100,000"),
        ({"compute": {"gpus": 3}}, "asks for 3 GPU per actor and the cluster has"),
        ({"stages": {"a/b": {"kind": "faces"}}}, "also the name of a folder"),
    ],
)
def test_recipe_of_the_wrong_shape_is_one_sentence(little: Path, tmp_path: Path, change: dict, sentence: str) -> None:
    given = yaml.safe_load((little / "road.yaml").read_text()) | change
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(given, sort_keys=False))
    assert sentence in refused("run", tmp_path / "wrong.yaml")


def test_runs_are_not_logged_to_a_file_in_a_bucket(little: Path, tmp_path: Path, s3: Server) -> None:
    """Which shows before any work."""
    given = yaml.safe_load((little / "road.yaml").read_text()) | {"out": s3.uri("out")}
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(given, sort_keys=False))
    assert "the runs of stage 'network'" in refused("run", tmp_path / "wrong.yaml")
    assert not storage.list_files(s3.uri("out"), recursive=True)


def test_duplicate_key_in_a_recipe_is_one_sentence(little: Path, tmp_path: Path) -> None:
    text = (little / "road.yaml").read_text()
    (tmp_path / "twice.yaml").write_text(text + "  faces: {kind: faces, corpora: [little]}\n")
    assert f"line {text.count(chr(10)) + 1}: 'faces' appears twice" in refused("run", tmp_path / "twice.yaml")


def test_unreachable_mlflow_is_reported_and_loses_nothing(
    made: dict, little: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    given = yaml.safe_load((little / "road.yaml").read_text()) | {"tracking": "http://127.0.0.1:9"}
    given["stages"]["network"]["seed"] = 1
    (tmp_path / "deaf.yaml").write_text(yaml.safe_dump(given, sort_keys=False))
    out = shutil.copytree(little / "out", tmp_path / "out")
    result = twfer("run", tmp_path / "deaf.yaml", "--out", out, "--until", "network", "--json")
    assert result.exit_code == 0, result.output
    assert "recipe road continues without MLflow and keeps its log to send it later: MLflow at http" in result.stderr
    assert result.stderr.count("continues without") == 1 and "entries of runs are kept in" in result.stderr
    assert states(json.loads(result.stdout))["network"] == "made" and list((out / "_mlflow").glob("*/*.entry.json"))


def test_missing_files_are_named(little: Path, tmp_path: Path) -> None:
    assert "nowhere.yaml does not exist" in refused("run", "nowhere.yaml")
    assert "holds no recogniser" in refused("study", little / "little", "--model", tmp_path)
    assert "does not exist" in refused("status", tmp_path / "nothing")
    assert "has no stage of kind 'sweep'" in refused("sweep", little / "road.yaml")
    assert "does not exist" in refused("corpus", "show", tmp_path / "nothing")
    assert "or is a folder" in refused("run", tmp_path)
    assert "holds no output of a stage" in refused("status", tmp_path)
    (tmp_path / "file").write_text("")
    assert "is a file: name a folder" in refused("run", little / "road.yaml", "--out", tmp_path / "file", "--json")


def test_study_takes_the_model_best_on_validation(made: dict, tmp_path: Path) -> None:
    network = Path(next(stage["output"] for stage in made["stages"] if stage["name"] == "network"))
    stages = {}
    for name, score in (("first", 0.4), ("better", 0.6), ("last", 0.5)):
        shutil.copytree(network, tmp_path / f"train-{name}")
        manifest = json.loads((network / artifact.MANIFEST).read_text())
        manifest["results"]["scores"]["validation"]["balanced_accuracy"] = score
        (tmp_path / f"train-{name}" / artifact.MANIFEST).write_text(json.dumps(manifest))
        stages[name] = f"train-{name}"
    (tmp_path / "stages.json").write_text(json.dumps({"recipe": "several", "stages": stages}))
    assert find_recogniser(str(tmp_path)) == str(tmp_path / "train-better")


def test_damaged_index_is_named(made: dict, little: Path, tmp_path: Path) -> None:
    (tmp_path / "stages.json").write_text("{")
    for words in (("status", tmp_path), ("study", little / "little", "--model", tmp_path)):
        assert "stages.json is damaged" in refused(*words)


def test_corpus_show_describes_how_a_folder_is_read(little: Path) -> None:
    notes = json.loads(twfer("corpus", "show", little / "little", "--json").stdout)
    assert notes["photographs"] == 7 * FIGURES and notes["figures"] == FIGURES and notes["missing"] == 0


def test_output_of_another_recipe_is_named_by_directory(made: dict, little: Path, tmp_path: Path) -> None:
    faces = made["stages"][0]["output"]
    stages = {
        "set": {"kind": "dataset", "faces": [faces], "include": ["photographs"], "ratios": [2, 1], "split": "by_figure"}
    }
    (tmp_path / "other.yaml").write_text(yaml.safe_dump({"out": str(tmp_path / "out"), "stages": stages}))
    summary = json.loads(twfer("run", tmp_path / "other.yaml", "--json").stdout)
    made_set = artifact.open_artifact(summary["stages"][0]["output"])
    assert made_set.manifest.inputs == {"photographs-0": artifact.open_artifact(faces).digest}
