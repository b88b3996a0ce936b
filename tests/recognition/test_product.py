"""A trained recogniser as an MLflow model: what it takes, what it answers, where it loads."""

import ast
import base64
import importlib.metadata
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from recognition_data import SMALL, dataset, picture

import twfer_dist
from twfer_dist.core import images
from twfer_dist.core.errors import UserError
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.dataset import loader
from twfer_dist.engine import intact, registry
from twfer_dist.engine.artifact import MANIFEST, Artifact, open_artifact
from twfer_dist.engine.mlflow_store import sqlite_uri
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import run_stage
from twfer_dist.engine.tracking import Tracking
from twfer_dist.recipe.load import parse_recipe
from twfer_dist.recipe.recipe import Recipe
from twfer_dist.recipe.walk import walk
from twfer_dist.recognition import product
from twfer_dist.recognition.recogniser import WEIGHTS, open_recogniser
from twfer_dist.recognition.train_stage import train_spec

pytestmark = pytest.mark.usefixtures("one_thread")

ADDRESS = "models:/spots@champion"
PHOTOGRAPH = Path(twfer_dist.__file__).parent / "demo" / "terracottas" / "cat-04.jpg"
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def registered(migrated_database: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Artifact, str]:
    """A registered ResNet-18, and the MLflow store that holds it."""
    out = tmp_path_factory.mktemp("product")
    (out / "mlflow.db").write_bytes(migrated_database.read_bytes())
    uri = sqlite_uri(str(out / "mlflow.db"))
    made = dataset(str(out), {"train": 6, "validation": 2, "test": 2})
    spec = train_spec(made, SMALL, Tracking(uri, "product"), register="spots")
    return run_stage(spec, str(out), quiet=True), uri


@pytest.fixture(autouse=True)
def store(registered: tuple[Artifact, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registered[1])
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    mlflow.set_tracking_uri(registered[1])
    yield
    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]


def test_a_finished_training_is_registered_by_a_new_name(registered: tuple[Artifact, str], tmp_path: Path) -> None:
    """And once under each."""
    output, uri = registered
    dataset_of = open_artifact(str(next(Path(output.uri).parent.glob("dataset-*"))))
    for name in ("spots", "stains", "stains"):
        spec = train_spec(dataset_of, SMALL, Tracking(uri, "product"), register=name)
        assert run_stage(spec, str(Path(output.uri).parent), quiet=True).build_id == output.build_id
    versions = MlflowClient(uri).search_model_versions()
    assert sorted((version.name, version.version) for version in versions) == [("spots", 1), ("stains", 1)]
    again = MlflowClient(uri).get_model_version_by_alias("stains", "champion")
    assert again.run_id == output.results["run_id"] and "models:/stains@champion" in (again.description or "")


def probabilities(answers: pd.DataFrame) -> np.ndarray:
    return answers[list(EXPRESSIONS)].to_numpy(float)


def test_one_image_alone_in_64_and_through_pyfunc(registered: tuple[Artifact, str]) -> None:
    encoded = [picture(1 + k % 7, k) for k in range(64)]
    decoded = [loader.decode(image, SMALL.size) for image in encoded]
    pixels = np.stack([image for image in decoded if image is not None])
    recogniser = open_recogniser(registered[0])
    together, alone = recogniser.predict(pixels)[0], recogniser.predict(pixels[5:6])[0]
    model = mlflow.pyfunc.load_model(ADDRESS)
    np.testing.assert_allclose(alone[0], together[5], atol=TOLERANCE)
    np.testing.assert_allclose(probabilities(model.predict(encoded)), together, atol=TOLERANCE)
    answer = model.predict([encoded[5]])
    np.testing.assert_allclose(probabilities(answer)[0], together[5], atol=TOLERANCE)
    assert answer["expression"][0] == EXPRESSIONS[together[5].argmax()]
    limit, confidence = recogniser.threshold.confidence, together[5].max()
    assert answer["accepted"][0] == (limit is not None and confidence >= limit and answer["status"][0] == "ok")


def test_an_image_may_come_in_any_form() -> None:
    model = mlflow.pyfunc.load_model(ADDRESS)
    encoded = picture(3, 1)
    text = base64.b64encode(encoded).decode()
    pixels = images.decode(encoded)
    assert pixels is not None
    forms = [encoded, text, f"data:image/jpeg;base64,{text}", pixels, pixels.tolist()]
    listed, column = model.predict(forms), model.predict(pd.DataFrame({"image": forms}))
    for answers in (probabilities(listed), probabilities(column)):
        np.testing.assert_allclose(answers, np.repeat(answers[:1], len(forms), 0), atol=TOLERANCE)
    sizes = model.predict([pixels[..., 0], pixels[:40], np.zeros((3, 500, 4), np.uint8)])
    assert sizes["expression"].notna().all() and sizes["reason"].str.len().all()


def test_what_is_no_image_has_a_row_that_says_so() -> None:
    given = ["no base64", b"no image", np.zeros((4, 4, 3), np.float32), None, "Büste", picture(2, 0)]
    answers = mlflow.pyfunc.load_model(ADDRESS).predict(given)
    assert answers["status"].tolist()[:5] == ["unreadable"] * 5
    assert answers["expression"].isna().tolist() == [True] * 5 + [False] and not answers["accepted"][:5].any()
    assert answers["reason"][0] == answers["reason"][4] == "the text is not an image in base64"
    assert "not float32 of shape (4, 4, 3)" in answers["reason"][2]


def test_the_face_of_a_photograph_is_found_when_asked() -> None:
    model = mlflow.pyfunc.load_model(ADDRESS)
    grey = np.full((300, 300), 90, np.uint8)
    found = model.predict([PHOTOGRAPH.read_bytes(), grey], params={"find_faces": True})
    assert found["expression"].notna().tolist() == [True, False] and found["status"][1] == "no_face"
    whole = model.predict([PHOTOGRAPH.read_bytes()])
    assert not np.allclose(probabilities(found)[0], probabilities(whole)[0], atol=1e-3)


def test_the_model_says_what_it_takes_and_how_good_it_is(registered: tuple[Artifact, str]) -> None:
    info = mlflow.models.get_model_info(ADDRESS)
    assert [column.name for column in info.signature.outputs][:1] == ["expression"] and info.signature.params
    version = MlflowClient().get_model_version_by_alias("spots", "champion")
    assert version.run_id == registered[0].results["run_id"]
    described = version.description or ""
    assert "models:/spots@champion" in described and "figures that it never saw" in described
    test = registered[0].results["scores"]["test"]
    right = sum(row[k] for k, row in enumerate(test["confusion"]))
    assert f"it is right in {right} of {test['n']}, " in described


def test_a_registered_model_is_the_output_itself(registered: tuple[Artifact, str], tmp_path: Path) -> None:
    """It has the output's name, digest and build, so that stages made from either are the same."""
    fetched = open_artifact(registry.fetch(ADDRESS, str(tmp_path), None))
    assert (fetched.name, fetched.digest, fetched.build_id) == (
        registered[0].name, registered[0].digest, registered[0].build_id
    )  # fmt: skip
    assert intact.fault(fetched) is None and fetched.uri == registry.fetch("models:/spots/1", str(tmp_path), None)
    assert fetched.results["scores"] == registered[0].results["scores"]


@pytest.mark.parametrize("manifest", [{"stage": "../../escaped/x", "fingerprint": "0" * 12}, {"fingerprint": "0" * 12}])
def test_a_registered_model_cannot_choose_where_it_goes(
    registered: tuple[Artifact, str], tmp_path: Path, manifest: dict[str, str]
) -> None:
    logged, client, name = tmp_path / "logged", MlflowClient(), f"foreign-{len(manifest)}"
    (logged / registry.IN_MODEL).mkdir(parents=True)
    (logged / registry.IN_MODEL / MANIFEST).write_text(json.dumps(manifest))
    client.create_registered_model(name)
    client.create_model_version(name, logged.as_uri())
    with pytest.raises(UserError, match=f"models:/{name}/1 in MLflow at sqlite.* holds no output of a training"):
        registry.fetch(f"models:/{name}/1", str(tmp_path / "out"), None)
    assert list(tmp_path.iterdir()) == [logged]


def fingerprints(recipe: Recipe) -> list[str]:
    specs: list[StageSpec] = []
    list(walk(recipe, lambda _, spec: specs.append(spec)))
    return [spec.fingerprint for spec in specs]


def test_a_recipe_takes_a_registered_model(registered: tuple[Artifact, str], tmp_path: Path) -> None:
    """As the model of predictions, and as initial weights: the stages are those that name the directory."""
    trained = registered[0]
    (source,) = Path(trained.uri).parent.glob("dataset-*")
    names = {"registered": (ADDRESS, ADDRESS), "directory": (trained.uri, trained.path(WEIGHTS))}
    found = []
    for model, weights in names.values():
        stages = {
            "read": {"kind": "predict", "inputs": [str(source)], "model": model},
            "more": {"kind": "train", "dataset": str(source), "network": "resnet18", "size": 32, "initial": weights},
        }
        recipe = parse_recipe({"name": "x", "out": str(tmp_path), "stages": stages}, "here", text="")
        found.append(fingerprints(recipe))
    assert found[0] == found[1] and len(found[0]) == 2
    with pytest.raises(UserError, match="models:/nobody@champion is not a registered recogniser in MLflow at sqlite"):
        registry.fetch("models:/nobody@champion", str(tmp_path), None)


@pytest.mark.long
def test_requirements_are_what_the_code_imports() -> None:
    """Of the modules that `portable` loads; optional readers of formats aside."""
    script = "import sys, twfer_dist.recognition.portable; print([sys.modules[m].__file__ for m in sys.modules if "
    script += "m.startswith('twfer_dist')])"
    files = ast.literal_eval(
        subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    )
    imported = set()
    for file in files:
        for node in ast.walk(ast.parse(Path(file).read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            imported |= {name.partition(".")[0] for name in names}
    imported -= {"twfer_dist", "pillow_heif", "pillow_jxl", *sys.stdlib_module_names}
    packages = importlib.metadata.packages_distributions()
    needed = {packages[name][0].lower() for name in imported}
    assert needed <= {*product.REQUIREMENTS}, needed - {*product.REQUIREMENTS}
    assert all("+" not in line for line in product.requirements())


@pytest.mark.long
def test_the_model_loads_where_the_package_is_not_installed(registered: tuple[Artifact, str], tmp_path: Path) -> None:
    """In a process that finds the libraries alone; and over HTTP the answer is the same."""
    encoded = picture(4, 2)
    (tmp_path / "one.jpg").write_bytes(encoded)
    site = next(path for path in sys.path if path.endswith("site-packages"))
    script = f"""if True:
        import sys
        sys.path.append({site!r})  # without its .pth files, which would add a checkout
        import importlib.util, mlflow
        assert importlib.util.find_spec("twfer_dist") is None
        mlflow.set_tracking_uri({registered[1]!r})
        model = mlflow.pyfunc.load_model({ADDRESS!r})
        image, photograph = (open(name, "rb").read() for name in sys.argv[1:])
        print(model.predict([image]).to_json(double_precision=15), model.predict([photograph],
            params={{"find_faces": True}})["expression"][0] is not None)
    """
    command = [sys.executable, "-I", "-S", "-c", script, str(tmp_path / "one.jpg"), str(PHOTOGRAPH)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    answer, found = done.stdout.rsplit(maxsplit=1)
    assert found == "True"
    here = mlflow.pyfunc.load_model(ADDRESS).predict([encoded])
    there = pd.DataFrame(json.loads(answer))
    np.testing.assert_allclose(probabilities(there), probabilities(here), atol=TOLERANCE)


@pytest.mark.long
def test_mlflow_serves_it(registered: tuple[Artifact, str], tmp_path: Path) -> None:
    encoded = [picture(1 + k % 7, k) for k in range(3)]
    here = mlflow.pyfunc.load_model(ADDRESS).predict(encoded)
    query = json.dumps({"inputs": [base64.b64encode(image).decode() for image in encoded] + ["no image"]}).encode()
    port = free_port()
    bin = str(Path(sys.executable).parent)
    environment = {**os.environ, "PATH": f"{bin}:{os.environ['PATH']}"}
    command = [f"{bin}/mlflow", "models", "serve", "-m", ADDRESS, "--env-manager", "local", "-p", str(port)]
    with open(tmp_path / "log", "wb") as log:
        server = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=log, stderr=log)
    try:
        answers = pd.DataFrame(json.loads(ask(port, query))["predictions"])
    finally:
        server.terminate()
        server.wait()
    np.testing.assert_allclose(probabilities(answers)[:3], probabilities(here), atol=TOLERANCE)
    assert answers["reason"][3] == "the text is not an image in base64" and answers["expression"].isna().tolist() == [
        False
    ] * 3 + [True]


def free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def ask(port: int, query: bytes) -> bytes:
    """What the server answers, once it does."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations", query, {"Content-Type": "application/json"}
    )
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return bytes(response.read())
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.3)
