"""Where a run comes from, as MLflow's own tags: who started which recipe and stage, with which revision of the code."""

import contextlib
import functools
import getpass
import subprocess
from pathlib import Path

import twfer_dist


def origin_tags(recipe: str, stage: str) -> dict[str, str]:
    """The tags of a run of a recipe's stage. MLflow shows source, commit, user and description beside each run."""
    tags = {
        "mlflow.source.name": f"recipe {recipe}",
        "mlflow.source.type": "LOCAL",
        "mlflow.note.content": f"Stage `{stage}` of the recipe `{recipe}`, by twfer_dist {twfer_dist.__version__}.",
        "twfer.recipe": recipe,
        "twfer.stage": stage,
        "twfer.version": twfer_dist.__version__,
    }
    if commit := _commit():
        tags["mlflow.source.git.commit"] = commit
    with contextlib.suppress(OSError, KeyError):  # a container's user without a name
        tags["mlflow.user"] = getpass.getuser()
    return tags


@functools.cache
def _commit() -> str:
    """The git commit of the work tree that the package is imported from; empty where it is installed without one."""
    package = Path(twfer_dist.__file__).resolve().parent
    try:
        tracked = ["git", "-C", str(package), "ls-files", "--error-unmatch", "__init__.py"]
        subprocess.run(tracked, check=True, capture_output=True, timeout=10)
        head = ["git", "-C", str(package), "rev-parse", "HEAD"]
        return subprocess.run(head, check=True, capture_output=True, timeout=10, text=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
