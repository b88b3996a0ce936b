"""An upgrade must not make anyone compute again what has not changed: the fingerprints of the demo's stages are held
here.

A change of these numbers is a change that makes every user's outputs stale: it belongs into CHANGELOG.md.
"""

import os
import shutil
from pathlib import Path

import twfer_dist
from twfer_dist.corpus.corpus import open_corpus
from twfer_dist.engine.artifact import Artifact
from twfer_dist.recipe.kinds import job_of
from twfer_dist.recipe.load import load_recipe

ROOT = Path(__file__).resolve().parents[1]
FINGERPRINTS = {
    "faces-tw58": "5646fe00b22b",
    "faces-postures": "82e5b9b719ac",
    "animated": "5834dee4b26d",
    "arm-1": "ed1628e9499d",
    "arm-2": "67a10687602a",
    "resnet18": "cc6f0a57d6af",
    "sweep": "11f22128b9b5",
    "generator": "7a5c17054370",
    "report": "3fd868661eaf",
}
"""Of every stage whose job can be described without the weights of a recogniser."""


def test_fingerprints_of_the_demo(tmp_path: Path) -> None:
    corpora = {}
    for name in ("tw58", "postures"):
        shutil.copytree(Path(twfer_dist.__file__).parent / "demo" / name, tmp_path / name)
        for file in (tmp_path / name).rglob("*"):
            os.utime(file, (0, 0))  # a photograph is the same one as long as its path, size and time of change are
        corpora[name] = open_corpus(str(tmp_path / name), name)
    recipe = load_recipe(str(ROOT / "jobs" / "demo.yaml"), out=str(tmp_path / "out"))
    outputs: dict[str, Artifact] = {}
    found = {}
    for stage in recipe.stages:
        inputs = {
            key: [corpora[name] if key == "corpora" else outputs[name] for name in names]
            for key, names in stage.inputs.items()
        }
        if stage.name in FINGERPRINTS:
            found[stage.name] = job_of(recipe, stage, inputs).fingerprint
        manifest = {"digest": f"content of {stage.name}", "build_id": "0", "stage": stage.kind}
        outputs[stage.name] = Artifact(f"/nowhere/{stage.name}", manifest)
    assert found == FINGERPRINTS
