"""Put a trained network that measures faces into the package: weights, training log, test heads, settings and scores.

twfer train-faces jobs/faces.yaml
python jobs/ship_faces.py runs/faces
"""

import shutil
import sys
from pathlib import Path

from twfer_dist import recipe, storage
from twfer_dist.faces import evaluate, measure, train


def main(folder: str) -> None:
    made = {stage["name"]: storage.open_finished(stage["output"]) for stage in recipe.status(folder)["stages"]}
    network, heads, test = made["network"], made["heads"], made["test"]
    weights = Path(measure.SHIPPED)
    shutil.copyfile(network.path(measure.WEIGHTS), weights)
    shutil.copyfile(network.path(train.LOG), weights.with_suffix(".jsonl"))
    shutil.rmtree(evaluate.TEST, ignore_errors=True)
    shutil.copytree(test.uri, evaluate.TEST)
    facts = {
        "file": weights.name,
        "sha256": storage.sha256_file(str(weights)),
        "recipe": "jobs/faces.yaml",
        **{key: network.manifest[key] for key in ("stage", "fingerprint", "version", "config", "seconds")},
        "rendered": {key: heads.manifest[key] for key in ("fingerprint", "digest", "config", "models", "rows")},
        "scores": network.results["scores"],
        "evaluation": evaluate.evaluate(str(weights), storage.open_finished(evaluate.TEST)),
    }
    weights.with_suffix(".json").write_text(storage.json_text(facts, indent=2) + "\n")
    print(f"{weights} and beside it its settings, log and scores. Next: look at them, and make test")


if __name__ == "__main__":
    main(sys.argv[1])
