"""The model card of a trained recogniser, in Markdown: the description of its model in MLflow."""

from collections.abc import Mapping, Sequence
from typing import Any

import twfer_dist
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.mlflow_model import CHAMPION
from twfer_dist.recognition.recogniser import NAMES
from twfer_dist.recognition.train_config import TrainConfig

_USE = """## Use

```python
import mlflow, pathlib
model = mlflow.pyfunc.load_model("{address}")
photograph = pathlib.Path("photograph.jpg").read_bytes()
print(model.predict([photograph], params={{"find_faces": True}}))
```

An image is encoded (bytes, or base64 text) or an array of uint8, of any size. With `find_faces` it is a photograph, of
which the largest face is read; without, it is the crop of a face. Each image has one row: expression, confidence, seven
probabilities, whether the answer is accepted, and why.

`mlflow models serve -m {address} --env-manager local` answers over HTTP; `twfer study FOLDER --model {address}` writes
a report; recipes take the same address where they take a training, and as `initial` weights.
"""


def card(config: TrainConfig, results: Mapping[str, Any], dataset: Artifact, name: str | None) -> str:
    """The card. results: of the training. name: under which the model is registered, if it is."""
    network, measured = NAMES[config.network], "test" if "test" in results["scores"] else "validation"
    scores = results["scores"]
    parts = [
        f"# {network}: the expression of a face",
        f"{network} reads one of seven expressions ({', '.join(EXPRESSIONS)}) in the crop of a face, at {config.size} "
        f"x {config.size} pixels, and says how sure it is and whether its answer is to be accepted.",
        f"On {measured} images{_new(results, measured)} it is right in {_of(scores[measured]['share'])}.",
        "## How often it is right\n\n" + _scores(scores),
        f"By expression, on the {measured} images:\n\n" + _by_expression(scores[measured]["by_expression"]),
        "## When it answers\n\n" + _acceptance(results),
        "## Training\n\n" + _training(config, results, dataset),
        "## Limits\n\nIt was measured on images like those that it was trained on. On other faces (of people where it "
        "was trained on sculpture, of another period, in another light) nothing is known until it is measured there: "
        "`twfer study` does so on photographs with labels.",
        _USE.format(address=f"models:/{name or 'NAME'}@{CHAMPION}"),
    ]
    return "\n\n".join(parts)


def _new(results: Mapping[str, Any], part: str) -> str:
    """Whether these images are of new figures; nothing where it is not known of all of them."""
    new = results["held_out"] and results["held_out"]["images"] >= results["scores"][part]["n"]
    return " of figures that it never saw" if new else ""


def _scores(scores: Mapping[str, Any]) -> str:
    rows = [(part, _of(measured["share"]), str(measured["share"]["figures"])) for part, measured in scores.items()]
    return _table(("part", "right (95 % interval)", "figures"), rows)


def _by_expression(shares: Sequence[Mapping[str, Any] | None]) -> str:
    rows = [(name, _of(share)) for name, share in zip(EXPRESSIONS, shares, strict=True) if share]
    return _table(("expression", "right (95 % interval)"), rows)


def _acceptance(results: Mapping[str, Any]) -> str:
    threshold = results["threshold"]
    if threshold["confidence"] is None:
        return (
            f"No confidence was high enough for {100 * threshold['target']:g} of 100 answers to be right on held-out "
            "images, so no answer is accepted."
        )
    return (
        f"An answer is accepted if the face is like the training images and the calibrated confidence is at least "
        f"{threshold['confidence']:.2f}. Of {threshold['n']} held-out images {threshold['accepted']} reach it, and "
        f"{threshold['right']} of these are right."
    )


def _training(config: TrainConfig, results: Mapping[str, Any], dataset: Artifact) -> str:
    alpha = f"alpha {config.alpha:g}" if config.loss == "sigmoid" else f"alphas {config.class_alphas}"
    figures = results["scores"]["train"]["share"]["figures"]
    return (
        f"{results['images']['train']} images of {figures} figures, of the data set "
        f"`{dataset.name}` (digest `{dataset.digest}`). {config.loss.capitalize()} focal loss, {alpha}, gamma "
        f"{config.gamma:g}, learning rate {config.learning_rate:g}, batches of {config.batch}, epoch "
        f"{results['best_epoch']} of {config.epochs}, seed {config.seed}. Made by twfer_dist {twfer_dist.__version__}."
    )


def _of(share: Mapping[str, Any]) -> str:
    k, n, low, high = (share[name] for name in ("k", "n", "low", "high"))
    return f"{k} of {n}, {100 * k / n:.0f} % ({100 * low:.0f} to {100 * high:.0f} %)"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
