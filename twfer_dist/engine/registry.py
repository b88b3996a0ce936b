"""Registered models as inputs of stages: `models:/NAME@ALIAS` or `models:/NAME/VERSION` in MLflow's registry."""

import json
import os
import re
import tempfile
from pathlib import Path

from twfer_dist.core.errors import UserError
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import MANIFEST
from twfer_dist.engine.mlflow_store import CHECK_TIMEOUT_S, REJECTED, Store, Unavailable, explain, request_timeout

FOLDER = "_models"
"""The folder beside the outputs of a recipe that keeps the models which it took from a registry."""
IN_MODEL = "artifacts/recogniser"
"""Where a logged model keeps the output of its training."""

_ADDRESS = re.compile(r"models:/([^/@]+)(?:@([^/@]+)|/(\d+))")
_OUTPUT = re.compile(r"[a-z0-9-]+-[0-9a-f]{12}")


def is_registered(uri: str) -> bool:
    """Whether an address names a registered model, and no file or directory."""
    return uri.startswith("models:")


def fetch(uri: str, out: str, store: Store | None) -> str:
    """The directory of the output of the training that a registered model holds, copied to `out` once.

    It is looked up in MLflow at MLFLOW_TRACKING_URI or, where that is not set, in `store`. The copy is the output as it
    was, with its digest: stages made from either are the same. UserError where there is no such model.
    """
    match = _ADDRESS.fullmatch(uri)
    if not match:
        raise UserError(
            f"{uri} is not the address of a registered model: write models:/NAME@champion or models:/NAME/2."
        )
    name, alias, number = match.groups()
    store = _store(uri, store)
    try:
        with request_timeout(CHECK_TIMEOUT_S):
            client = store.client
            version = (
                client.get_model_version_by_alias(name, alias) if alias else client.get_model_version(name, number)
            )
            kept = storage.join(out, FOLDER, f"{name}-{version.version}-{version.model_id}")
            if not (finished := _finished(kept)):
                finished = _copy(store, f"models:/{name}/{version.version}", kept)
    except Exception as error:  # the client raises errors of requests, SQLAlchemy and Alembic too
        if getattr(error, "error_code", None) in REJECTED or isinstance(error, FileNotFoundError):
            raise UserError(
                f"{uri} is not a registered recogniser in MLflow at {store.shown}: name one that twfer registered, "
                "or set MLFLOW_TRACKING_URI to the MLflow that holds it."
            ) from None
        raise explain(error, store.uri) from None
    return finished


def _store(uri: str, store: Store | None) -> Store:
    address = os.environ.get("MLFLOW_TRACKING_URI")
    if address:
        return Store(address, "")
    if store is None:
        raise Unavailable(
            f"{uri} is looked up in MLflow, and its address is not known: set MLFLOW_TRACKING_URI to it, such as "
            "http://host:5000 or sqlite:////data/runs/demo/mlflow.db."
        )
    return store


def _finished(kept: str) -> str | None:
    folders = [storage.join(kept, name) for name in storage.list_folders(kept)]
    return next((folder for folder in folders if storage.exists(storage.join(folder, MANIFEST))), None)


def _copy(store: Store, uri: str, kept: str) -> str:
    """Copy the output in a logged model, its manifest last. FileNotFoundError where there is none."""
    from mlflow.artifacts import download_artifacts

    with tempfile.TemporaryDirectory() as folder:
        download_artifacts(
            artifact_uri=f"{uri}/{IN_MODEL}", dst_path=folder, tracking_uri=store.uri, registry_uri=store.uri
        )
        manifest = next(Path(folder).rglob(MANIFEST), None)
        if manifest is None:
            raise FileNotFoundError(uri)
        target = storage.join(kept, _output_name(manifest.read_bytes(), f"{uri} in MLflow at {store.shown}"))
        files = [path for path in manifest.parent.rglob("*") if path.is_file() and path != manifest]
        for path in [*files, manifest]:
            storage.write_bytes(storage.join(target, path.relative_to(manifest.parent).as_posix()), path.read_bytes())
    return target


def _output_name(manifest: bytes, shown: str) -> str:
    """The name of the output that a manifest describes. UserError where it names none: the name becomes part of a path,
    and a stranger's model must not decide where files are written.
    """
    try:
        known = json.loads(manifest)
        name = f"{known['stage']}-{known['fingerprint']}"
    except (ValueError, KeyError, TypeError):
        name = ""
    if not _OUTPUT.fullmatch(name):
        raise UserError(
            f"{shown} holds no output of a training, as its {MANIFEST} does not name a stage and a fingerprint: name a "
            "model that twfer registered."
        )
    return name
