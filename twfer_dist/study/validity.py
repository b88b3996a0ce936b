"""The paper's validity test (Table 7) and its mirror: does an animated face show its expression as a real one does?

A recogniser that learned from real faces is asked about real expressive faces and about animated neutral ones. In the
mirror, one that learned from animated faces is asked about real ones, beside the one that learned from real ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from twfer_dist.core.errors import UserError
from twfer_dist.core.schema import DATASET, figures
from twfer_dist.core.status import OK
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.config import Settings
from twfer_dist.engine.kind import Input, StageKind
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.spec import StageSpec
from twfer_dist.recognition.recogniser import name_of
from twfer_dist.study import metrics

VERSION = 1
ORIGINS = {"real": "photograph", "animated": "animated"}
"""What the images of the two data sets are (DATASET's column origin)."""


@dataclass(frozen=True)
class ValidityConfig(Settings):
    """Nothing is set: the inputs decide."""


def validity_job(
    real: Artifact,
    animated: Artifact,
    models: Sequence[Artifact],
    predictions: Sequence[Artifact],
    config: ValidityConfig,
) -> StageSpec:
    """Score each model on the test images of both data sets: per expression, both averages, n, 95 % intervals.

    real: a data set of labelled photographs. animated: one of animated neutral faces. models: trainings on either, one
    on `real` at least. predictions: the models' answers to both data sets. A test image whose figure is among the
    model's own training images is left out. `results["scores"]`: for each model, those on `real` first, and each data
    set, `tables.scores`, with trained_on and asked_about ("real" or "animated") and left_out. Problem where an input is
    of another kind, or answers are missing.
    """
    datasets = {"real": real, "animated": animated}
    for name, dataset in datasets.items():
        if dataset.manifest.stage != "dataset":
            raise UserError(
                f"{dataset.uri} is given as the {name} faces and is the output of stage "
                f"'{dataset.manifest.stage}': name a data set."
            )
    known = {dataset.digest: name for name, dataset in datasets.items()}
    for model in models:
        if model.manifest.stage != "train" or model.manifest.inputs["dataset"] not in known:
            raise UserError(
                f"{model.uri} is no training on the real or on the animated faces of this validity test: name others."
            )
    learned = sorted(((known[m.manifest.inputs["dataset"]], m) for m in models), key=lambda pair: pair[0] != "real")
    if not learned or learned[0][0] != "real":
        raise UserError(
            f"The validity test has no model that learned from {real.uri}: name a training on the real faces."
        )

    def do(work: StageOutput) -> None:
        asked = {name: _images(name, dataset) for name, dataset in datasets.items()}
        found = [
            {"trained_on": trained_on, **_score(model, datasets[trained_on], name, images, predictions)}
            for trained_on, model in learned
            for name, images in asked.items()
        ]
        work.results = {"scores": found, "summary": [_say(one) for one in found]}

    inputs = {
        **datasets,
        **{f"model-{k}": m for k, m in enumerate(models)},
        **{f"predictions-{k}": p for k, p in enumerate(predictions)},
    }
    return StageSpec("validity", VERSION, inputs, config, {}, {}, do)


def _images(name: str, dataset: Artifact) -> pa.Table:
    """The test images of a data set: image_id, figure (with its corpus). Problem where there are none, or of another
    origin.
    """
    columns = ["image_id", "corpus", "figure_id", "origin", "split"]
    rows = dataset.scan(".", DATASET).to_table(
        columns=columns, filter=(pc.field("status") == OK) & (pc.field("split") == "test")
    )
    if not len(rows):
        raise UserError(f"{dataset.uri} has no test images: split it into train and test at least.")
    if foreign := sorted(set(rows["origin"].to_pylist()) - {ORIGINS[name]}):
        raise UserError(
            f"{dataset.uri} is given as the {name} faces and holds images of origin '{foreign[0]}': name another "
            "data set."
        )
    return pa.table({"image_id": rows["image_id"], "figure_id": figures(rows)})


def _score(
    model: Artifact, learned_from: Artifact, name: str, images: pa.Table, predictions: Sequence[Artifact]
) -> dict[str, Any]:
    """How the model answers those of `images` whose figures it did not learn from."""
    train = learned_from.scan(".", DATASET).to_table(
        columns=["corpus", "figure_id"], filter=pc.field("split") == "train"
    )
    new = images.filter(pc.invert(pc.is_in(images["figure_id"], pc.unique(figures(train)))))
    left_out = len(images) - len(new)
    if not len(new):
        raise UserError(
            f"Every figure of the {name} test images is among the training images of {model.uri}: split both data "
            "sets by the same figures."
        )
    asked = pa.table({"image_id": new["image_id"], "split": pa.array([name] * len(new), pa.string())})
    counts = metrics.count(predictions, asked)
    answers = metrics.evaluate(counts.filter(pc.equal(counts["model"], name_of(model))))
    told_of = int(answers[0].total.sum()) + answers[0].unanswered if answers else 0
    if told_of != len(new):
        raise UserError(
            f"The predictions hold {told_of} answers of {name_of(model)} to {len(new)} {name} test images: let one "
            "predict stage ask it "
            "about both data sets."
        )
    (told,) = metrics.scores(answers)
    return {"asked_about": name, **told, "left_out": left_out}


def _say(one: dict[str, Any]) -> str:
    images, mean = one["images"], one["mean"]
    return (
        f"{one['model']}, trained on {one['trained_on']}, asked about {one['asked_about']}: "
        f"{100 * images['share']:.1f} % "
        f"({images['k']} of {images['n']}), mean of classes {mean['value']:.3f} ({mean['low']:.3f} to "
        f"{mean['high']:.3f})"
    )


KIND = StageKind(
    "validity",
    config=ValidityConfig,
    inputs=(
        Input("real", ("dataset",)),
        Input("animated", ("dataset",)),
        Input("models", ("train",), several=True),
        Input("predictions", ("predict",), several=True),
    ),
    build=lambda request: validity_job(
        request.one("real"), request.one("animated"), request.all("models"), request.all("predictions"), request.config
    ),
)
