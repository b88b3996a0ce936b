"""How much of a grid's compute ASHA needs, and what it finds: `measure_sweep.py DATASET OUT`.

Both try the same 18 points of alpha, gamma and learning rate with ResNet-18 at 32 pixels; one trains all of them to the
end, the other stops those that fall behind. Killed, it continues where it was.
"""

import dataclasses
import sys

from twfer_dist.engine.artifact import Artifact, open_artifact
from twfer_dist.engine.mlflow_store import sqlite_uri
from twfer_dist.engine.stage import run_stage
from twfer_dist.engine.storage import absolute, join
from twfer_dist.engine.tracking import Tracking
from twfer_dist.recognition.search import SweepConfig
from twfer_dist.recognition.sweep_stage import sweep_spec
from twfer_dist.recognition.train_config import TrainConfig

EPOCHS = 4
TRAIN = TrainConfig(network="resnet18", size=32, epochs=EPOCHS, batch=32)
ALPHA, GAMMA, LEARNING_RATE = (0.1, 0.25, 0.5), (0.0, 2.0), (1e-4, 3e-4, 1e-3)
FULL = SweepConfig(TRAIN, "grid", alpha=ALPHA, gamma=GAMMA, learning_rate=LEARNING_RATE, patience=EPOCHS)
SEARCHES = {"full grid": FULL, "grid with ASHA": dataclasses.replace(FULL, patience=1)}


def main(dataset: str, out: str) -> None:
    images, tracking = open_artifact(absolute(dataset)), Tracking(sqlite_uri(join(absolute(out), "mlflow.db")), "sweep")
    for name, config in SEARCHES.items():
        describe(name, run_stage(sweep_spec(images, config, tracking), absolute(out)))


def describe(name: str, sweep: Artifact) -> None:
    results = sweep.results
    best, epochs = results["trials"][results["best"]], sum(trial.get("epochs", 0) for trial in results["trials"])
    score, images = 100 * best["balanced_accuracy/validation"], results["validation_images"]
    print(f"{name}: {epochs} epochs of {EPOCHS * len(results['trials'])}, {sweep.manifest.seconds:.0f} s")
    print(f"  best balanced accuracy {score:.1f} % on {images} validation images, after epoch {best['best_epoch']}, by")
    print("  " + ", ".join(f"{key} {best[key]:g}" for key in results["swept"]))


if __name__ == "__main__":
    main(*sys.argv[1:])
