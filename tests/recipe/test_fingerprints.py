"""An upgrade must not make anyone compute again what has not changed: the fingerprints of the demo's stages are held
here.

A change of these numbers is a change that makes every user's outputs stale: it belongs into CHANGELOG.md.
"""

import os
import shutil
from pathlib import Path

from engine_stages import make_artifact

import twfer_dist
from twfer_dist.corpus.corpus import open_corpus
from twfer_dist.engine.artifact import Artifact
from twfer_dist.recipe.kinds import spec_of
from twfer_dist.recipe.load import load_recipe

FINGERPRINTS = {
    "faces-tw58": "ba4d78ceca3a",
    "faces-postures": "ca88312c119e",
    "animated": "e13aa9380222",
    "arm-1": "ca56812b8d78",
    "arm-2": "ddb9aa0d859b",
    "resnet18": "b663dadfffa9",
    "sweep": "5ac0eabdb01b",
    "generator": "3610316734da",
}
"""Of the stages that can be described without the weights of a recogniser; a report's changes with its page."""


def test_fingerprints_of_the_demo(tmp_path: Path) -> None:
    corpora = {}
    for name in ("terracottas", "tw58", "postures"):
        shutil.copytree(Path(twfer_dist.__file__).parent / "demo" / name, tmp_path / name)
        for file in (tmp_path / name).rglob("*"):
            os.utime(file, (0, 0))  # a photograph is the same one as long as its path, size and time of change are
        corpora[name] = open_corpus(str(tmp_path / name), name)
    recipe = load_recipe("package:recipes/demo.yaml", out=str(tmp_path / "out"))
    outputs: dict[str, Artifact] = {}
    found = {}
    for stage in recipe.stages:
        inputs = {
            key: [corpora[name] if name in corpora else outputs[name] for name in names]
            for key, names in stage.inputs.items()
        }
        if stage.name in FINGERPRINTS:
            found[stage.name] = spec_of(recipe, stage, inputs).fingerprint
        uri, digest = f"/nowhere/{stage.name}", f"content of {stage.name}"
        outputs[stage.name] = make_artifact(uri, stage=stage.kind, digest=digest, build_id="0")
    assert found == FINGERPRINTS
