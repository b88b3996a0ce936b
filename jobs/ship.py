"""Copy a trained network into the package, with its training log, settings and scores.

twfer train-faces jobs/faces.yaml;   python jobs/ship.py runs/faces
twfer run jobs/faces-photographs.yaml; python jobs/ship.py runs/faces
twfer train-gan jobs/generator.yaml; python jobs/ship.py runs/generator
twfer run jobs/reader.yaml;          python jobs/ship.py runs/reader
twfer run jobs/identity.yaml;        python jobs/ship.py runs/identity

`python jobs/ship.py --generator-test` renders the figures that `twfer evaluate gan` uses by default, from head.npz, and
ships them without a training; do so after a change of the renderer.

`python jobs/ship.py --units` only measures the test heads that ship, and records in faces.json how strongly each Action
Unit is read.

`python jobs/ship.py --head` makes the small head model that ships from head.npz, ICT-FaceKit's as `twfer corpus head`
packs it.
"""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

import twfer_dist
from twfer_dist.engine import artifact, storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.measurement import analyzer, evaluate, identity
from twfer_dist.measurement import train_stage as faces_train
from twfer_dist.reading import reader as reading
from twfer_dist.recipe.load import load_recipe
from twfer_dist.recipe.run import run_recipe
from twfer_dist.rendering.head import load_head, save_head
from twfer_dist.similarity.networks import SHIPPED as SHIPPED_IDENTITY
from twfer_dist.synthesis import checkpoints
from twfer_dist.synthesis import train_stage as generator_train
from twfer_dist.synthesis.evaluation import inputs
from twfer_dist.training.observer import LOG


def ship_faces(
    test: Artifact, makehuman_test: Artifact, photographs: Artifact | None = None, **others: Artifact
) -> Path:
    """The network of jobs/faces.yaml, or the `consistent` one of jobs/faces-photographs.yaml."""
    network, heads = others.pop("consistent" if photographs else "network"), others
    weights = Path(analyzer.SHIPPED)
    shutil.copyfile(network.path(analyzer.WEIGHTS), weights)
    log = weights.with_suffix(".jsonl")
    earlier = log.read_text() if photographs else ""  # of the training that this one goes on from
    log.write_text(earlier + Path(network.path(faces_train.LOG)).read_text())
    for shipped, rendered in ((evaluate.TEST, test), (evaluate.SECOND_TEST, makehuman_test)):
        _copy_output(rendered, shipped)
    first, second = (
        evaluate.evaluate(str(weights), artifact.open_artifact(uri)) for uri in (evaluate.TEST, evaluate.SECOND_TEST)
    )
    shown = {"photographs": photographs.manifest.digest} if photographs else {}
    _write_facts(weights, network, *heads.values(), evaluation=first, evaluation_makehuman=second, **shown)
    return ship_units()


def ship_units() -> Path:
    """Write what the network that ships reads on the heads that ship into its facts."""
    weights = Path(analyzer.SHIPPED)
    facts = json.loads(weights.with_suffix(".json").read_text())
    facts["measured_units"] = evaluate.measured_units(str(weights), artifact.open_artifact(evaluate.TEST))
    weights.with_suffix(".json").write_text(storage.json_text(facts, indent=2) + "\n")
    return weights


def ship_generator(generator: Artifact, pairs: Artifact, makehuman: Artifact, test: Artifact) -> Path:
    weights = Path(checkpoints.SHIPPED)
    shutil.copyfile(generator.path(generator_train.GENERATOR), weights)
    shutil.copyfile(generator.path(generator_train.LOG), weights.with_suffix(".jsonl"))
    shutil.copyfile(generator.path(generator_train.SHEET), weights.with_suffix(".png"))
    _copy_output(test, inputs.TEST)
    _write_facts(weights, generator, pairs, makehuman)
    return weights


def ship_generator_test() -> str:
    """Render the stage `test` of jobs/generator.yaml, its first, and ship it."""
    (outcome,) = run_recipe(load_recipe("jobs/generator.yaml"), until="test")
    assert outcome.artifact
    _copy_output(outcome.artifact, inputs.TEST)
    return inputs.TEST


def ship_head() -> Path:
    """The head model that ships: 40 of ICT-FaceKit's 100 identity modes, which hold 98 % of the variance, and lengths
    rounded to a fiftieth and, in expressions, to a twenty-fifth of a millimetre, which compresses better.
    """
    head, out = load_head("head.npz"), Path(twfer_dist.__file__).parent / "demo" / "head.npz"
    small = replace(
        head,
        identity_names=head.identity_names[:40],
        identity_deltas=_rounded(head.identity_deltas[:40], 1 / 512),
        expression_deltas=_rounded(head.expression_deltas, 1 / 256),
    )
    save_head(small, str(out))
    return out


def _rounded(deltas: np.ndarray, step: float) -> np.ndarray:
    return (np.round(deltas.astype(np.float32) / step) * step).astype(np.float16)


def ship_reader(reader: Artifact, heads: Artifact, **_: Artifact) -> Path:
    weights = Path(reading.SHIPPED)
    shutil.copyfile(reader.path(reading.WEIGHTS), weights)
    shutil.copyfile(reader.path(LOG), weights.with_suffix(".jsonl"))
    _write_facts(weights, reader, heads, threshold=reader.results["threshold"])
    return weights


def ship_identity(network: Artifact, **heads: Artifact) -> Path:
    weights = Path(SHIPPED_IDENTITY)
    shutil.copyfile(network.path(identity.WEIGHTS), weights)
    shutil.copyfile(network.path(LOG), weights.with_suffix(".jsonl"))
    _write_facts(weights, network, *heads.values())
    return weights


def _copy_output(output: Artifact, folder: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(output.uri, folder)


def _write_facts(weights: Path, network: Artifact, *rendered: Artifact, **more: object) -> None:
    facts = {
        "file": weights.name,
        "sha256": storage.sha256_file(str(weights)),
        **{key: getattr(network.manifest, key) for key in ("stage", "fingerprint", "version", "config", "seconds")},
        "rendered": [
            {key: getattr(heads.manifest, key) for key in ("fingerprint", "digest", "config", "models", "rows")}
            for heads in rendered
        ],
        "scores": network.results["scores"],
        **more,
    }
    weights.with_suffix(".json").write_text(storage.json_text(facts, indent=2) + "\n")


def main(folder: str) -> None:
    if folder == "--units":
        print(f"{ship_units()} and what it reads on the heads, in the facts beside it")
        return
    if folder == "--head":
        print(f"{ship_head()} is the head model. Next: look at what it renders")
        return
    if folder == "--generator-test":
        print(f"{ship_generator_test()} has the rendered figures. Next: twfer evaluate gan")
        return
    index = json.loads(storage.read_bytes(storage.join(storage.absolute(folder), artifact.INDEX)))
    ships: dict[str, Callable[..., Path]] = {
        "faces": ship_faces,
        "faces-photographs": ship_faces,
        "generator": ship_generator,
        "reader": ship_reader,
        "identity": ship_identity,
    }
    if (ship := ships.get(index["recipe"])) is None:
        sys.exit(
            f"{folder} was last made by the recipe {index['recipe']}, of which nothing ships: run jobs/faces.yaml, "
            "jobs/faces-photographs.yaml, jobs/generator.yaml, jobs/reader.yaml or jobs/identity.yaml."
        )
    weights = ship(
        **{
            name: artifact.open_artifact(storage.absolute(f"{folder}/{output}"))
            for name, output in index["stages"].items()
        }
    )
    print(f"{weights} and beside it its settings, log and scores. Next: look at them, and make test")


if __name__ == "__main__":
    main(sys.argv[1])
