"""How much of a grid's compute ASHA needs, and what it finds: `measure_sweep.py DATASET OUT`.

Both try the same 27 points of alpha, gamma and learning rate with ResNet-18 at 48 pixels; one trains all of them to the
end, the other stops those that fall behind. Killed, it continues where it was.
"""

import sys

from twfer_dist.engine.artifact import Artifact, open_artifact
from twfer_dist.engine.mlflow_store import sqlite_uri
from twfer_dist.engine.stage import run_stage
from twfer_dist.engine.storage import absolute, join
from twfer_dist.engine.tracking import Tracking
from twfer_dist.recognition.search import SweepConfig
from twfer_dist.recognition.sweep_stage import sweep_spec
from twfer_dist.recognition.training import TrainConfig

EPOCHS = 6
TRAIN = TrainConfig(network="resnet18", size=48, epochs=EPOCHS, batch=32)
GRID = {"alpha": (0.1, 0.25, 0.5), "gamma": (0.0, 2.0, 4.0), "learning_rate": (1e-4, 3e-4, 1e-3)}
SEARCHES = {
    "full grid": SweepConfig(TRAIN, search="grid", patience=EPOCHS, **GRID),
    "grid with ASHA": SweepConfig(TRAIN, search="grid", patience=1, **GRID),
}


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
