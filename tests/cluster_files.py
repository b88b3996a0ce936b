"""The files of clusters/, parsed; and the command that such a file tells a person to type."""

from pathlib import Path
from typing import Any

import click
import yaml

from twfer_dist.cli.main import main

ROOT = Path(__file__).resolve().parents[1]
CLUSTERS = ROOT / "clusters"
DOCKERFILE = (CLUSTERS / "Dockerfile").read_text()
AWS = yaml.safe_load((CLUSTERS / "aws.yaml").read_text())
GCP = yaml.safe_load((CLUSTERS / "gcp.yaml").read_text())
MLFLOW = list(yaml.safe_load_all((CLUSTERS / "mlflow.yaml").read_text()))
CONFIGMAP, POLICY, RAYJOB = yaml.safe_load_all((CLUSTERS / "rayjob.yaml").read_text())
RAYCLUSTER = RAYJOB["spec"]["rayClusterSpec"]


def groups() -> list[dict[str, Any]]:
    return [RAYCLUSTER["headGroupSpec"], *RAYCLUSTER["workerGroupSpecs"]]


def pod(name: str) -> dict[str, Any]:
    """The pod of a deployment in mlflow.yaml."""
    (found,) = [one for one in MLFLOW if (one["kind"], one["metadata"]["name"]) == ("Deployment", name)]
    return found["spec"]["template"]["spec"]


def parse(command: list[str]) -> None:
    """Parse `twfer COMMAND` with the real parser and run nothing; click.UsageError where it is wrong."""
    inner: click.Command = main
    rest = command
    while isinstance(inner, click.Group):
        _, found, rest = inner.resolve_command(click.Context(inner), rest)
        assert found
        inner = found
    inner.make_context(command[0], list(rest))
